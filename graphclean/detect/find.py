"""One call from a graph to its label issues."""

from __future__ import annotations

import inspect
from typing import Any

from graphclean.detect.base import Detector
from graphclean.issues import LabelIssues, flag_policy
from graphclean.types import InputError, Seed

DEFAULT_DETECTOR = "graphcleaner"


def find_label_issues(
    data: Any,
    detector: Detector | str | None = None,
    *,
    pred_probs: Any = None,
    fdr: float | None = None,
    budget: float | int | None = None,
    random_state: Seed = 0,
    n_jobs: int | None = -1,
    progress: bool = False,
    **params: Any,
) -> LabelIssues:
    """Find the label issues of a graph; the defaults are those of ``graphclean clean``.

    Args:
        data: PyG ``Data``: ``x``, ``edge_index``, ``y`` with -1 for unlabelled nodes.
        detector: A registered name (``graphclean list detectors``), a detector object, or None for
            the default, GraphCleaner over all labelled nodes. An object keeps its own seed, jobs
            and progress bars.
        pred_probs: Your own out-of-sample class probabilities ``[N, C]`` in place of a classifier.
        fdr: Flag as many nodes as an expected share of right labels among them of at most this
            number allows, in (0, 1); for calibrated detectors. See ``LabelIssues.flagged``.
        budget: Flag this many nodes (an integer >= 1) or this share of the judged ones (in (0, 1)),
            the most suspicious first. Without ``fdr`` and ``budget`` the detector's own rule flags.
        random_state: Seed; the same seed gives the same issues, bit for bit.
        n_jobs: Processes for the folds; -1 for all cores. It does not change the result.
        progress: Whether to show progress bars.
        **params: Parameters of the detector, by name.

    Returns:
        One row per judged node, worst first with ``.top()``.

    Raises:
        InputError: The graph, the detector or a parameter does not fit; ``fdr`` and ``budget``
            together, out of range, or ``fdr`` of a detector that is not calibrated.

    Example:
        >>> import graphclean as gc
        >>> issues = gc.find_label_issues(gc.load("digits"), "neighbour_agreement")
        >>> len(issues)
        1797
    """
    if isinstance(detector, Detector):
        if params or random_state != 0:
            raise InputError(
                "detector",
                "an object together with parameters",
                "Set the parameters on the object, or name the detector.",
            )
        found = detector
    else:
        name = DEFAULT_DETECTOR if detector is None else detector
        shared = {"random_state": random_state, "n_jobs": n_jobs, "progress": progress}
        method = Detector.registry.get(name)
        if method is not None:
            accepted = inspect.signature(method).parameters
            params = {k: v for k, v in shared.items() if k in accepted} | params
        found = Detector.create(name, **params)
    if fdr is None and budget is None:
        return found.fit(data, pred_probs=pred_probs).find_label_issues()
    policy = flag_policy(fdr=fdr, budget=budget, calibrated=found.calibrated)
    return found.fit(data, pred_probs=pred_probs).find_label_issues().flagged(**policy)
