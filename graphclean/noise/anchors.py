"""T from the predictions at one anchor of every class."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np

from graphclean.noise.estimator import Estimate, Observed, TransitionEstimator, true_prior
from graphclean.types import InputError


def anchor_rows(probs: np.ndarray, quantile: float | None) -> np.ndarray:
    r"""Return the prediction at the anchor of every class: row i is ``p(. | x*_i)``.

    :math:`x^*_i = \arg\max_x p(i \mid x)` among the rows below the quantile of p(i), which sets
    outliers aside; among all rows where no row is below it, or for None.

    Args:
        probs: Class probabilities ``[M, K]``, float64.
        quantile: Level in (0, 1), or None.

    Returns:
        ``[K, K]``, float64, rows sum to one.
    """
    candidates = probs.copy()
    if quantile is not None:
        limit = np.quantile(probs, quantile, axis=0, method="higher")
        below = probs < limit
        candidates[~below & below.any(axis=0)] = -1.0
    return np.asarray(probs[candidates.argmax(axis=0)])


def check_quantile(quantile: float | None) -> None:
    """Raise InputError unless ``quantile`` is None or a number in (0, 1)."""
    if quantile is None:
        return
    if isinstance(quantile, bool) or not isinstance(quantile, Real) or not 0 < quantile < 1:
        raise InputError("quantile", quantile, "Pass a number in (0, 1), or None.")


class Anchors(TransitionEstimator):
    r"""T from the prediction for one anchor of every class (Patrini et al., 2017).

    .. math::
        T_{ij} = p(\tilde y = j \mid x^*_i), \qquad x^*_i = \arg\max_x p(\tilde y = i \mid x)

    A node that surely belongs to class i shows in its noisy class probabilities how labels of the
    class go wrong. The prior solves :math:`T^\top \pi` = shares of the given labels. Paper:
    https://arxiv.org/abs/1609.03683; the quantile: https://arxiv.org/abs/1906.00189.

    Args:
        quantile: The anchor is the largest p(i) below this quantile; None for the largest of all.

    Raises:
        InputError: On fit: no probabilities, or a quantile outside (0, 1).
    """

    name: ClassVar[str] = "anchors"

    reads_probs: ClassVar[bool] = True

    def __init__(self, *, quantile: float | None = None) -> None:
        self.quantile = quantile

    def _estimate(self, observed: Observed) -> Estimate:
        check_quantile(self.quantile)
        transition = anchor_rows(observed.labelled[1], self.quantile)
        return Estimate(transition, true_prior(transition, observed.given_share))
