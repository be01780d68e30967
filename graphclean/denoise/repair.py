"""Apply a repair: a new graph, the old one untouched."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.denoise.match import class_codes, match_labels
from graphclean.denoise.plan import RepairPlan, plan_repair
from graphclean.issues import LabelIssues
from graphclean.types import InputError

_MASKS = ("train_mask", "val_mask", "test_mask")


def clean(
    data: Any,
    issues: LabelIssues,
    action: str = "drop",
    *,
    min_confidence: float | None = None,
    min_gain: float | None = None,
) -> Any:
    """Repair the labels of a graph; return a new graph and leave the input untouched.

    With p the probability that the given label is wrong and c that the suggested one is right:

    - ``"drop"``: flagged nodes lose their label (``y = -1``) and leave ``train_mask``,
      ``val_mask`` and ``test_mask`` (``[N]`` or ``[N, splits]``); they stay in the graph.
    - ``"relabel"``: flagged nodes that pass the gate of `plan_repair` get their suggested label;
      the other flagged nodes keep theirs.
    - ``"soft"``: ``y_soft``, float32 ``[N, C]``: 1 - p on the given label, c on the suggested one
      where it differs, the rest of p evenly on the other classes; one-hot for labelled nodes that
      were not judged, zero for unlabelled ones. ``y`` keeps its values.
    - ``"weight"``: ``sample_weight``, float32 ``[N]``: 1 - p for judged nodes, 1 for other labelled
      ones, 0 for unlabelled ones. ``y`` keeps its values.

    The result is a shallow copy with a new ``y`` (long), ``class_names`` (a class keeps its
    number even when its last label goes) and ``cleaning``: a plain dict with the action, counts,
    expected repaired and broken labels, and thresholds. A ``y_soft`` from before describes other
    labels than those that ``drop`` and ``relabel`` leave, so they remove it. Kept truth
    (``y_clean``, ``noise_mask``) is not read and not changed.

    Args:
        data: The graph that the issues were found on.
        issues: The label issues.
        action: What to do.
        min_confidence: Least c to relabel a node, in [0, 1]; None for 0.6.
        min_gain: Least expected gain c - (1 - p) to relabel a node, in [-1, 1]; None for 0.

    Raises:
        InputError: The issues do not belong to the graph (labels, ids, classes, number of nodes),
            the action is unknown, or a threshold is out of range or for another action.

    Example:
        >>> cleaned = clean(data, issues, "relabel")  # doctest: +SKIP
        >>> cleaned.cleaning["expected_repaired"]  # doctest: +SKIP
    """
    plan = plan_repair(issues, action, min_confidence=min_confidence, min_gain=min_gain)
    y = match_labels(issues, data)
    decisions = plan.decisions
    changed = (decisions["decision"] != "keep").to_numpy()
    node = torch.tensor(decisions["node"].to_numpy(), device=y.device)
    rows = node[torch.tensor(changed, device=y.device)]
    out = copy.copy(data)
    if action == "drop":
        y[rows] = -1
        for key in _MASKS:
            if getattr(data, key, None) is not None:
                out[key] = _without(data[key], key, rows, len(y))
    elif action == "relabel":
        y[rows] = torch.tensor(class_codes(issues, "suggested_label")[changed], device=y.device)
    elif action == "soft":
        out.y_soft = _soft_labels(issues, plan, y)
    else:
        weight = (y >= 0).float()
        wrong = decisions["mislabel_probability"].to_numpy()
        weight[node] = torch.tensor(1.0 - wrong, dtype=torch.float32, device=y.device)
        out.sample_weight = weight
    if action in ("drop", "relabel") and "y_soft" in out:
        del out["y_soft"]
    out.y = y
    out.class_names = list(issues.class_names)
    out.cleaning = plan.to_dict()
    return out


def _soft_labels(issues: LabelIssues, plan: RepairPlan, y: Tensor) -> Tensor:
    """Return ``[N, C]``, float32: the judged rows by p and c, the others one-hot or zero."""
    given = class_codes(issues, "given_label")
    suggested = class_codes(issues, "suggested_label")
    wrong = plan.decisions["mislabel_probability"].to_numpy()
    confidence = plan.decisions["suggestion_confidence"].to_numpy()
    other, classes = suggested != given, len(issues.class_names)
    free, rest = classes - 1 - other, wrong - confidence
    row = np.arange(len(given))
    judged = np.tile((rest / np.maximum(free, 1))[:, None], classes)
    judged[row, given] = 1.0 - wrong
    # Of two classes the suggested one is the only other: it takes all of p.
    judged[row, suggested] = np.where(other, confidence, 1.0 - wrong) + rest * (free == 0)
    soft = torch.zeros(len(y), classes, device=y.device)
    labelled = (y >= 0).nonzero().view(-1)
    soft[labelled, y[labelled]] = 1.0
    node = torch.tensor(plan.decisions["node"].to_numpy(), device=y.device)
    soft[node] = torch.tensor(judged, dtype=torch.float32, device=y.device)
    return soft


def _without(mask: Any, key: str, rows: Tensor, count: int) -> Tensor:
    kept = torch.as_tensor(mask).clone()
    if kept.ndim not in (1, 2) or kept.shape[0] != count:
        fix = f"Pass a bool mask [{count}] or [{count}, splits]."
        raise InputError(key, f"shape {list(kept.shape)}", fix)
    kept[rows.to(kept.device)] = False
    return kept
