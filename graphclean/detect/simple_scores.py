"""The plain baselines: self-confidence, normalised margin, disagreement."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphclean.detect.probability import ProbabilityDetector
from graphclean.nn.params import estimator
from graphclean.noise.confident_joint import expected_issues


@estimator
class SelfConfidence(ProbabilityDetector):
    r"""Probability of the given label, :math:`\hat p_i(\tilde y_i)`, in [0, 1].

    Flags as many of the lowest nodes as confident learning counts label errors
    (Northcutt et al., https://arxiv.org/abs/1911.00068).
    """

    name: ClassVar[str] = "self_confidence"

    def _score(
        self, y: np.ndarray, probs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        quality = given_probability(y, probs)
        expected = expected_issues(y, probs)
        return quality, lowest(quality, expected), expected, None


@estimator
class NormalizedMargin(ProbabilityDetector):
    r"""Normalised margin of the given label.

    .. math::
        q_i = \tfrac12 \left(\hat p_i(\tilde y_i) - \max_{k \ne \tilde y_i} \hat p_i(k) + 1\right)

    In [0, 1]; below 1/2 the classifier prefers another class. Flags as many of the lowest nodes as
    confident learning counts label errors (https://arxiv.org/abs/1911.00068).
    """

    name: ClassVar[str] = "normalized_margin"

    def _score(
        self, y: np.ndarray, probs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        others = probs.copy()
        others[np.arange(len(y)), y] = -np.inf
        quality = (given_probability(y, probs) - others.max(axis=1) + 1.0) / 2.0
        expected = expected_issues(y, probs)
        return quality, lowest(quality, expected), expected, None


@estimator
class Disagreement(ProbabilityDetector):
    r"""Flags every node whose predicted class is not the given one; ranks by self-confidence.

    .. math::
        \arg\max_k \hat p_i(k) \ne \tilde y_i
    """

    name: ClassVar[str] = "disagreement"

    def _score(
        self, y: np.ndarray, probs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        issue = probs.argmax(axis=1) != y
        return given_probability(y, probs), issue, float(issue.sum()), None


def given_probability(y: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return the probability of each row's given class."""
    return np.asarray(probs[np.arange(len(y)), y])


def lowest(quality: np.ndarray, count: float) -> np.ndarray:
    """Return the mask of the ``round(count)`` lowest entries, ties by position."""
    mask = np.zeros(len(quality), dtype=bool)
    mask[np.argsort(quality, kind="stable")[: round(count)]] = True
    return mask
