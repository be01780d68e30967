"""What a repair promised against what it does, where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphclean.denoise import plan_repair
from graphclean.evaluate.decision_metrics import expected_over_realised
from graphclean.evaluate.truth import judged_truth
from graphclean.issues import LabelIssues


def repair_outcome(
    issues: LabelIssues,
    data: Any,
    action: str = "relabel",
    *,
    min_confidence: float | None = None,
    min_gain: float | None = None,
) -> dict[str, float]:
    r"""Compare the expected counts of `plan_repair` with the realised ones.

    With m the share of a given label that the action takes away (see `RepairPlan`), w whether
    that label is wrong and s whether the new label is the true one, over the judged nodes whose
    true label is known:

    - ``repaired``: :math:`\sum m w`, for ``relabel`` :math:`\sum m w s`;
    - ``broken``: :math:`\sum m (1 - w)`.

    So they count as the plan does: whole labels for ``drop`` and ``relabel``, where they equal
    those of `repair_effect`, and weight moved away for ``soft`` and ``weight``.

    Args:
        issues: The label issues.
        data: The graph, with ``y_clean`` ``[N]``, integers, -1 = unknown.
        action: ``"drop"``, ``"relabel"``, ``"soft"`` or ``"weight"``.
        min_confidence: Gate of ``relabel``, as in `plan_repair`.
        min_gain: Gate of ``relabel``, as in `plan_repair`.

    Returns:
        ``changed`` (nodes), ``expected_repaired``, ``repaired``, ``repaired_ratio``,
        ``expected_broken``, ``broken``, ``broken_ratio`` (expected over realised; see
        `expected_over_realised`), and ``wrong_before``, ``wrong_after``: how many of these nodes
        have a wrong label, for ``drop``, ``soft`` and ``weight`` by the share that is left.

    Raises:
        InputError: The graph has no ``y_clean``, the issues are not of this graph, or the action
            or a threshold does not fit.
    """
    plan = plan_repair(issues, action, min_confidence=min_confidence, min_gain=min_gain)
    truth = judged_truth(issues, data)
    rows = plan.decisions[truth.rows]
    changed = (rows["decision"] != "keep").to_numpy()
    expected = rows[["expected_repaired", "expected_broken"]].to_numpy()
    wrong = truth.wrong
    names = np.array([*issues.class_names, ""], dtype=object)
    # A true class that the issues do not know is no class that a repair could set.
    true_name = names[np.where(truth.clean < len(issues.class_names), truth.clean, -1)]
    # Of every action but relabel the expected counts share m between them, m (p + 1 - p).
    share = changed.astype(float) if action == "relabel" else expected.sum(axis=1)
    right = rows["new_label"].to_numpy(dtype=object) == true_name
    gone = wrong & right if action == "relabel" else wrong
    repaired, broken = float(share[gone].sum()), float(share[~wrong].sum())
    expected_repaired, expected_broken = (float(total) for total in expected.sum(axis=0))
    harm = broken if action == "relabel" else 0.0
    return {
        "changed": int(changed.sum()),
        "expected_repaired": expected_repaired,
        "repaired": repaired,
        "repaired_ratio": expected_over_realised(expected_repaired, repaired),
        "expected_broken": expected_broken,
        "broken": broken,
        "broken_ratio": expected_over_realised(expected_broken, broken),
        "wrong_before": int(wrong.sum()),
        "wrong_after": float(wrong.sum()) - repaired + harm,
    }
