"""Confident learning with cleanlab's filters."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from graphclean.detect.base import Verdict
from graphclean.detect.probability import ProbabilityDetector
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import estimator
from graphclean.noise.confident_joint import confident_joint, transition_from_joint
from graphclean.types import InputError

FILTERS = (
    "both",
    "confident_learning",
    "low_normalized_margin",
    "low_self_confidence",
    "predicted_neq_given",
    "prune_by_class",
    "prune_by_noise_rate",
)
RANKS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


@estimator
class ConfidentLearning(ProbabilityDetector):
    r"""Count label errors in the confident joint, then filter and rank (cleanlab).

    .. math::
        C_{ij} = \left|\{v : \tilde y_v = i,\; \hat p_v(j) \ge t_j\}\right|, \qquad
        t_j = \mathrm{mean}\{\hat p_v(j) : \tilde y_v = j\}

    The estimated T also holds the classifier's own confusion. Paper: Northcutt et al.,
    https://arxiv.org/abs/1911.00068.

    Args:
        filter_by: One of cleanlab's seven filters.
        rank_by: Label quality score: ``self_confidence``, ``normalized_margin`` or
            ``confidence_weighted_entropy``.
    """

    name: ClassVar[str] = "confident_learning"

    filter_by: str = "prune_by_noise_rate"
    rank_by: str = "self_confidence"

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        if self.filter_by not in FILTERS:
            raise InputError("filter_by", self.filter_by, f"Choose one of: {', '.join(FILTERS)}.")
        if self.rank_by not in RANKS:
            raise InputError("rank_by", self.rank_by, f"Choose one of: {', '.join(RANKS)}.")
        return super()._judge(graph, pred_probs)

    def _score(
        self, y: np.ndarray, probs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        quality = get_label_quality_scores(y, probs, method=self.rank_by)
        with warnings.catch_warnings():
            # A class of one node or none cannot be pruned; the graph's check_notes name it.
            warnings.filterwarnings("ignore", message="May not flag all label issues in class")
            issue = find_label_issues(y, probs, filter_by=self.filter_by, n_jobs=1)
        joint = confident_joint(y, probs)
        expected = float(joint.sum() - np.trace(joint))
        return (
            np.asarray(quality, dtype=np.float64),
            np.asarray(issue, dtype=bool),
            expected,
            transition_from_joint(joint),
        )
