"""CleanLabels: find and repair label issues as a PyG transform."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone
from torch_geometric.transforms import BaseTransform

from graphclean.denoise.plan import check_policy
from graphclean.denoise.repair import clean
from graphclean.detect import Detector, find_label_issues
from graphclean.detect.find import DEFAULT_DETECTOR
from graphclean.types import InputError, Seed, check_seed


class CleanLabels(BaseTransform):  # type: ignore[misc]
    """Find the label issues of a graph and repair them.

    The returned graph is what `clean` makes of it: a shallow copy with a new ``y`` and
    ``cleaning``. The truth that `FlipLabels` leaves behind is carried along unread.

    Args:
        detector: A registered name, a detector (it is cloned, never fitted itself), or None for
            the default.
        action: ``"drop"``, ``"relabel"``, ``"soft"`` or ``"weight"``, as in `clean`.
        min_confidence: As in `clean`.
        min_gain: As in `clean`.
        random_state: Seed of a detector given by name.
        n_jobs: Processes of a detector given by name; -1 for all cores.
        **params: Further parameters of a detector given by name.

    Raises:
        InputError: An unknown detector, parameter or action, or parameters with a ready detector.

    Example:
        >>> T.Compose([FlipLabels("pair", 0.1), CleanLabels("graphcleaner")])  # doctest: +SKIP
    """

    def __init__(
        self,
        detector: Detector | str | None = None,
        action: str = "drop",
        *,
        min_confidence: float | None = None,
        min_gain: float | None = None,
        random_state: Seed = 0,
        n_jobs: int | None = -1,
        **params: Any,
    ) -> None:
        check_policy(action, min_confidence, min_gain)
        if isinstance(detector, Detector):
            given = [*params, *["random_state"] * (random_state != 0), *["n_jobs"] * (n_jobs != -1)]
            if given:
                raise InputError(given[0], "given with a ready detector", "Set it in the detector.")
        else:
            Detector.create(DEFAULT_DETECTOR if detector is None else detector, **params)
        self.detector = detector
        self.action = action
        self.gate = {"min_confidence": min_confidence, "min_gain": min_gain}
        self.random_state = check_seed(random_state)
        self.n_jobs = n_jobs
        self.params = params

    def forward(self, data: Any) -> Any:
        """Return a cleaned shallow copy of ``data``."""
        if isinstance(self.detector, Detector):
            issues = find_label_issues(data, clone(self.detector))
        else:
            issues = find_label_issues(
                data,
                self.detector,
                random_state=self.random_state,
                n_jobs=self.n_jobs,
                **self.params,
            )
        return clean(data, issues, self.action, **self.gate)

    def __repr__(self) -> str:
        detector = DEFAULT_DETECTOR if self.detector is None else self.detector
        asked = {name: value for name, value in self.gate.items() if value is not None}
        shown = "".join(f", {name}={value!r}" for name, value in (asked | self.params).items())
        return f"{type(self).__name__}({detector!r}, action={self.action!r}{shown})"
