"""What a repair would do, and what it is expected to repair and to break, before it is done."""

from __future__ import annotations

import html
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from graphclean.issues import LabelIssues
from graphclean.issues.tables import html_table, text_table
from graphclean.types import InputError

ACTIONS = ("drop", "relabel", "soft", "weight")
MIN_CONFIDENCE = 0.6
MIN_GAIN = 0.0

_VERBS = {
    "drop": "Take the label off",
    "relabel": "Relabel",
    "soft": "Soften the label of",
    "weight": "Weigh down",
}
_MEANING = {
    "drop": "wrong labels removed, {broken} right labels removed",
    "relabel": "labels repaired, {broken} broken",
    "soft": "wrong labels' worth of weight moved away, {broken} right labels' worth",
    "weight": "wrong labels' worth of weight removed, {broken} right labels' worth",
}


@dataclass(frozen=True, eq=False, repr=False)
class RepairPlan:
    r"""What `clean` would do to every judged node, with the expected outcome.

    With p the probability that the given label is wrong and c that the suggested one is right, an
    action takes the share m of a given label away:

    ======= ====================== ===================== ===================
    action  share m                expected repaired     expected broken
    ======= ====================== ===================== ===================
    drop    1 where flagged        :math:`\sum m p`      :math:`\sum m(1-p)`
    relabel 1 where the gate opens :math:`\sum m c`      :math:`\sum m(1-p)`
    soft    p                      :math:`\sum m p`      :math:`\sum m(1-p)`
    weight  p                      :math:`\sum m p`      :math:`\sum m(1-p)`
    ======= ====================== ===================== ===================

    So ``drop`` repairs by removing a wrong label and breaks by removing a right one, ``relabel``
    repairs by setting the true label and breaks by overwriting it, and ``soft`` and ``weight``
    count labels by the weight that they take away. A relabelled node may be neither: wrong before
    and after. Where ``calibrated`` is False p and c are scores, and the expectations are rough.

    Attributes:
        action: ``"drop"``, ``"relabel"``, ``"soft"`` or ``"weight"``.
        decisions: One row per judged node, indexed by node id: ``node``, ``is_label_issue``,
            ``decision`` (the action, or ``"keep"``), ``given_label``, ``new_label`` (``""`` where
            dropped), ``mislabel_probability`` p, ``suggestion_confidence`` c (at most p; 0 where
            the given label is suggested), ``expected_repaired``, ``expected_broken``.
        judged: Number of judged nodes.
        flagged: Number of flagged nodes.
        changed: Number of nodes the action changes.
        kept: Number of flagged nodes that it leaves alone: the gate stayed shut.
        expected_repaired: Expected number of repaired labels.
        expected_broken: Expected number of broken labels.
        min_confidence: Gate of ``relabel``; None for the other actions.
        min_gain: Gate of ``relabel``; None for the other actions.
        calibrated: Whether the detector calibrates its probabilities.
    """

    action: str
    decisions: pd.DataFrame
    judged: int
    flagged: int
    changed: int
    kept: int
    expected_repaired: float
    expected_broken: float
    min_confidence: float | None
    min_gain: float | None
    calibrated: bool

    @property
    def expected_net(self) -> float:
        """Expected repaired minus expected broken labels."""
        return self.expected_repaired - self.expected_broken

    @property
    def per_pair(self) -> pd.DataFrame:
        """The changed labels by given and new label, most frequent first."""
        changed = self.decisions[self.decisions["decision"] != "keep"]
        table = (
            changed.groupby(["given_label", "new_label"])
            .agg(
                count=("node", "size"),
                expected_repaired=("expected_repaired", "sum"),
                expected_broken=("expected_broken", "sum"),
            )
            .rename_axis(["given", "new"])
            .reset_index()
            .sort_values(["count", "given", "new"], ascending=[False, True, True])
        )
        table = table if self.action == "relabel" else table.drop(columns="new")
        return table.reset_index(drop=True)

    def lines(self) -> list[str]:
        """Return the plan as plain phrases, one a line."""
        of = "flagged" if self.action in ("drop", "relabel") else "judged"
        total = self.flagged if of == "flagged" else self.judged
        repaired, broken = f"{self.expected_repaired:,.1f} ", f"{self.expected_broken:,.1f}"
        text = [
            f"{_VERBS[self.action]} {self.changed:,} of {total:,} {of} nodes",
            f"Expected: {repaired}{_MEANING[self.action].format(broken=broken)} "
            f"(net {self.expected_net:+,.1f})",
        ]
        if self.action == "relabel":
            text.append(
                f"Gate: suggestion confidence at least {self.min_confidence:g} and expected gain "
                f"at least {self.min_gain:g}; {self.kept:,} flagged nodes keep their label"
            )
        if not self.calibrated:
            text.append("The probabilities are not calibrated: the expectations are rough")
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the plan without its rows, JSON-able; `clean` leaves it as ``data.cleaning``."""
        names = ("judged", "flagged", "changed", "kept")
        thresholds = {"min_confidence": self.min_confidence, "min_gain": self.min_gain}
        return {
            "action": self.action,
            "counts": {name: getattr(self, name) for name in names},
            "expected_repaired": self.expected_repaired,
            "expected_broken": self.expected_broken,
            "expected_net": self.expected_net,
            "thresholds": thresholds if self.action == "relabel" else {},
            "calibrated": self.calibrated,
        }

    def __repr__(self) -> str:
        return f"RepairPlan({'. '.join(self.lines()[:2])})"

    def __str__(self) -> str:
        return "\n\n".join(filter(None, ["\n".join(self.lines()), text_table(self.per_pair)]))

    def _repr_html_(self) -> str:
        head = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines())
        table = html_table(self.per_pair) if self.changed else ""
        return f"<div><ul>{head}</ul>{table}</div>"


def plan_repair(
    issues: LabelIssues,
    action: str = "relabel",
    *,
    min_confidence: float | None = None,
    min_gain: float | None = None,
) -> RepairPlan:
    """Work out what `clean` would do and what it is expected to repair and to break.

    Relabelling is gated. A flagged node takes its suggested label only if, with p the probability
    that the given label is wrong and c that the suggested one is right,

    ``c >= min_confidence`` and ``c - (1 - p) >= min_gain``,

    and keeps its label otherwise. Setting the suggested label repairs with probability c and
    breaks with probability 1 - p; since c + (1 - p) <= 1, the default of 0.6 makes every
    relabelled node gain at least 0.2 in expectation, so that p and c may both be off by 0.1 before
    relabelling lowers the accuracy.

    Args:
        issues: The label issues. The numbers of a detector that is not calibrated pass through the
            same gate, and the plan says so.
        action: ``"drop"``, ``"relabel"``, ``"soft"`` or ``"weight"``, as in `clean`.
        min_confidence: Least confidence in [0, 1], for ``"relabel"``; None for 0.6.
        min_gain: Least expected gain in [-1, 1], for ``"relabel"``; None for 0.

    Raises:
        InputError: An unknown action, a threshold out of range, or one for an action without gate.
    """
    if not isinstance(issues, LabelIssues):
        raise InputError("issues", f"a {type(issues).__name__}", "Pass LabelIssues.")
    gate = check_policy(action, min_confidence, min_gain)
    frame = issues.frame
    flagged = frame["is_label_issue"].to_numpy()
    wrong = frame["mislabel_probability"].to_numpy()
    other = (frame["suggested_label"] != frame["given_label"]).to_numpy()
    confidence = np.where(other, np.minimum(frame["suggestion_confidence"], wrong), 0.0)
    if gate is not None:
        opens = (confidence >= gate[0]) & (confidence - (1.0 - wrong) >= gate[1])
        share = (flagged & other & opens).astype(float)
    else:
        share = flagged.astype(float) if action == "drop" else wrong
    repaired = share * (confidence if action == "relabel" else wrong)
    broken = share * (1.0 - wrong)
    changed = share > 0
    new = {"drop": "", "relabel": frame["suggested_label"]}.get(action, frame["given_label"])
    decisions = pd.DataFrame(
        {
            "node": frame["node"],
            "is_label_issue": flagged,
            "decision": np.where(changed, action, "keep"),
            "given_label": frame["given_label"],
            "new_label": np.where(changed, new, frame["given_label"]),
            "mislabel_probability": wrong,
            "suggestion_confidence": confidence,
            "expected_repaired": repaired,
            "expected_broken": broken,
        },
        index=frame.index,
    )
    return RepairPlan(
        action=action,
        decisions=decisions,
        judged=len(frame),
        flagged=int(flagged.sum()),
        changed=int(changed.sum()),
        kept=int((flagged & ~changed).sum()),
        expected_repaired=float(repaired.sum()),
        expected_broken=float(broken.sum()),
        min_confidence=None if gate is None else gate[0],
        min_gain=None if gate is None else gate[1],
        calibrated=bool(issues.meta.get("calibrated", False)),
    )


def check_policy(action: str, min_confidence: Any, min_gain: Any) -> tuple[float, float] | None:
    """Return the gate (least confidence, least gain) of an action, None where it has no gate."""
    if action not in ACTIONS:
        raise InputError("action", action, f"Choose one of: {', '.join(ACTIONS)}.")
    asked = {"min_confidence": min_confidence, "min_gain": min_gain}
    if action != "relabel":
        for name, value in asked.items():
            if value is not None:
                raise InputError(name, value, f"It is for action='relabel', not {action!r}.")
        return None
    gate = []
    for (name, value), low, default in zip(
        asked.items(), (0.0, -1.0), (MIN_CONFIDENCE, MIN_GAIN), strict=True
    ):
        least = default if value is None else value
        real = isinstance(least, Real) and not isinstance(least, bool)
        if not real or not low <= float(least) <= 1.0:
            raise InputError(name, value, f"Pass a number in [{low:g}, 1], or None.")
        gate.append(float(least))
    return gate[0], gate[1]
