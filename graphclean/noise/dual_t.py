"""DualT: the classifier's own classes as a stop on the way from true to given labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphclean.noise.anchors import anchor_rows, check_quantile
from graphclean.noise.estimator import (
    Estimate,
    Observed,
    TransitionEstimator,
    row_normalised,
    true_prior,
)


class DualT(TransitionEstimator):
    r"""T as the product of two matrices that are easier to estimate (Yao et al., 2020).

    .. math::
        T = T^\clubsuit T^\spadesuit, \qquad
        T^\clubsuit_{il} = \Pr(\hat y = l \mid y = i) = p(l \mid x^*_i), \qquad
        T^\spadesuit_{lj} = \Pr(\tilde y = j \mid \hat y = l)

    with the predicted class :math:`\hat y = \arg\max_k p(k)`: the first factor by anchors, the
    second by counting. A class that is never predicted keeps its labels in the second. The prior
    solves :math:`T^\top \pi` = shares of the given labels. Paper: https://arxiv.org/abs/2006.07805.

    Args:
        quantile: Of the anchors: the largest p(i) below this quantile; None for the largest of all.

    Raises:
        InputError: On fit: no probabilities, or a quantile outside (0, 1).
    """

    name: ClassVar[str] = "dual_t"

    reads_probs: ClassVar[bool] = True

    def __init__(self, *, quantile: float | None = None) -> None:
        self.quantile = quantile

    def _estimate(self, observed: Observed) -> Estimate:
        check_quantile(self.quantile)
        y, probs = observed.labelled
        classes = probs.shape[1]
        pairs = np.bincount(probs.argmax(axis=1) * classes + y, minlength=classes**2)
        counted = row_normalised(pairs.reshape(classes, classes))
        transition = anchor_rows(probs, self.quantile) @ counted
        return Estimate(transition, true_prior(transition, observed.given_share))
