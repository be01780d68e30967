"""Label issues against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from graphclean.denoise.match import class_codes
from graphclean.evaluate.decision_metrics import false_discovery_proportion, interval_covers
from graphclean.evaluate.metrics import detection_scores, suggestion_accuracy, transition_error
from graphclean.evaluate.truth import judged_truth
from graphclean.issues import LabelIssues
from graphclean.noise import realised_transition


def evaluate_issues(issues: LabelIssues, data: Any) -> dict[str, float]:
    """Score label issues against ``data.y_clean``, the true labels that `FlipLabels` keeps.

    Every judged node with a known true label counts. A label is wrong where the given label in the
    issues differs from ``y_clean``; ``data.y`` is not read, so a graph that has been cleaned since
    will do as well.

    Args:
        issues: The label issues.
        data: The graph, with ``y_clean`` ``[N]``, integers, -1 = unknown.

    Returns:
        What `detection_scores` gives for the mislabel probability and the flags, and

        - ``fdr``: `false_discovery_proportion` of the flags, 0 where nothing is flagged;
        - ``suggestion_accuracy``: share of true labels among the suggestions for flagged nodes that
          are really mislabelled;
        - ``noise_rate``, ``estimated_noise_rate``, ``noise_rate_error`` (estimated - true);
        - ``noise_rate_low``, ``noise_rate_high``, ``noise_rate_covered``: the interval of the noise
          rate, and 1 if it holds the true rate, else 0; NaN where no truth is known;
        - ``transition_error``: mean absolute error of the estimated T against the realised one, in
          which a class without judged nodes keeps its labels; NaN where none was estimated.

    Raises:
        InputError: The graph has no ``y_clean``, or the issues are not of this graph.
    """
    truth = judged_truth(issues, data)
    frame, given, clean = truth.frame, truth.given, truth.clean
    suggested = class_codes(issues, "suggested_label")[truth.rows]
    flagged = frame["is_label_issue"].to_numpy()
    wrong, estimate = truth.wrong, issues.noise_rate
    rate = float(wrong.mean()) if len(wrong) else float("nan")
    return {
        **detection_scores(wrong, frame["mislabel_probability"].to_numpy(), flagged),
        "fdr": false_discovery_proportion(wrong, flagged),
        "suggestion_accuracy": suggestion_accuracy(suggested, clean, wrong & flagged),
        "noise_rate": rate,
        "estimated_noise_rate": estimate.value,
        "noise_rate_error": estimate.value - rate,
        "noise_rate_low": estimate.low,
        "noise_rate_high": estimate.high,
        "noise_rate_covered": float(interval_covers(estimate, rate)) if len(wrong) else rate,
        "transition_error": _transition_error(issues, clean, given),
    }


def _transition_error(issues: LabelIssues, clean: np.ndarray, given: np.ndarray) -> float:
    classes = len(issues.class_names)
    rows = clean < classes
    if issues.transition is None or not rows.any():
        return float("nan")
    realised = realised_transition(
        torch.from_numpy(clean[rows]), torch.from_numpy(given[rows]), classes
    )
    return transition_error(issues.transition, realised)
