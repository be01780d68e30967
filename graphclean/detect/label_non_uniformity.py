"""Label non-uniformity: how far the prediction is from saying nothing, and for which label."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphclean.detect.probability import ProbabilityDetector
from graphclean.detect.simple_scores import lowest
from graphclean.nn.params import estimator
from graphclean.noise.confident_joint import expected_issues


@estimator
class LabelNonUniformity(ProbabilityDetector):
    r"""Signed label non-uniformity (after Ji et al., ICML 2023, https://arxiv.org/abs/2305.00139).

    The paper's non-uniformity is the Wasserstein distance between the prediction and the uniform
    distribution under the discrete metric,

    .. math::
        w_i = \tfrac12 \sum_c |\hat p_i(c) - 1/C| \in [0, 1 - 1/C]

    and means trust: nodes of low w lie between classes and are hard. It does not look at the given
    label. The sign is ours: a confident prediction speaks for the label that it agrees with and
    against any other,

    .. math::
        q_i = \tfrac12 \Big(1 + s_i \frac{w_i}{1 - 1/C}\Big), \qquad
        s_i = \begin{cases} +1 & \tilde y_i = \arg\max_c \hat p_i(c) \\ -1 & \text{else}\end{cases}

    so that q is below 1/2 where the prediction is another class, and near 1/2 where it says
    nothing. Of equal probabilities the given class counts as predicted. Flags as many of the lowest
    nodes as confident learning counts label errors (https://arxiv.org/abs/1911.00068).
    """

    name: ClassVar[str] = "label_non_uniformity"

    def _score(
        self, y: np.ndarray, probs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        agrees = probs[np.arange(len(y)), y] >= probs.max(axis=1)
        share = non_uniformity(probs) / (1.0 - 1.0 / probs.shape[1])
        quality = np.clip((1.0 + np.where(agrees, share, -share)) / 2.0, 0.0, 1.0)
        expected = expected_issues(y, probs)
        return quality, lowest(quality, expected), expected, None


def non_uniformity(probs: np.ndarray) -> np.ndarray:
    r"""Return :math:`w_i = \frac12 \sum_c |p_i(c) - 1/C|` ``[n]`` of distributions ``[n, C]``."""
    return np.asarray(np.abs(probs - 1.0 / probs.shape[1]).sum(axis=1) / 2.0)
