"""Out-of-fold probabilities of a linear softmax model in closed form, for thousands of fits."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax

_NO_SPREAD = 1e-12


class FoldedDiscriminant:
    r"""Linear discriminant analysis whose folds can be dealt anew at little cost.

    .. math::
        p_i \propto \exp\left( x_i^\top \Sigma^{-1} \mu_c
        - \tfrac12 \mu_c^\top \Sigma^{-1} \mu_c + \log \pi_c \right), \qquad
        \Sigma = (1 - s) W + s \, \frac{\operatorname{tr} W}{d} I

    with the class means, class shares and within-class covariance W of the training rows. Moments
    add up: those of a training set are the sum over its folds, so that K models cost one pass over
    the rows and K Cholesky factorisations of size d.

    Args:
        features: ``[n, d]``, float64.
        y: Labels ``[n]``, long, 0 to C - 1.
        classes: Number of classes C; one without a training row has probability 0.
        shrinkage: s in (0, 1].
    """

    def __init__(self, features: np.ndarray, y: np.ndarray, classes: int, shrinkage: float) -> None:
        self.features, self.shrinkage = features, shrinkage
        self.onehot: np.ndarray = np.eye(classes)[y]

    def out_of_fold(self, fold: np.ndarray) -> np.ndarray:
        """Return ``[n, C]``: every row judged by the model of the other folds.

        Args:
            fold: Fold of every row ``[n]``, 0 to K - 1, K >= 2, none of them empty.
        """
        rows = [np.flatnonzero(fold == k) for k in range(int(fold.max()) + 1)]
        parts = [self._moments(index) for index in rows]
        probs: np.ndarray = np.empty(self.onehot.shape)
        for k, index in enumerate(rows):
            # Summed anew: what is subtracted from a total leaves its rounding behind.
            others = zip(*(part for j, part in enumerate(parts) if j != k), strict=True)
            weights, bias = self._solve(*(np.sum(moment, axis=0) for moment in others))
            probs[index] = softmax(self.features[index] @ weights + bias, axis=1)
        return probs

    def _moments(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, onehot = self.features[index], self.onehot[index]
        return x.T @ x, onehot.T @ x, onehot.sum(axis=0)

    def _solve(
        self, gram: np.ndarray, sums: np.ndarray, count: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return weights ``[d, C]`` and biases ``[C]`` from the moments of the training rows."""
        mean = sums / np.maximum(count, 1.0)[:, None]
        within = (gram - mean.T @ (mean * count[:, None])) / count.sum()
        spread = np.trace(within) / len(within)
        if spread <= _NO_SPREAD * max(np.trace(gram) / gram.size, _NO_SPREAD):
            within, spread = np.zeros_like(within), 1.0  # no row differs from its class mean
        covariance = (1.0 - self.shrinkage) * within
        covariance += self.shrinkage * spread * np.eye(len(within))
        weights = cho_solve(cho_factor(covariance), mean.T)
        share = np.where(count > 0, count, 1.0) / count.sum()
        bias = np.log(share) - 0.5 * (mean.T * weights).sum(axis=0)
        return weights, np.where(count > 0, bias, -np.inf)
