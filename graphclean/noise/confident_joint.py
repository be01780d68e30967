"""Counting label errors with cleanlab, which is exact at it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphclean.noise.estimator import Estimate, Observed, TransitionEstimator, row_normalised


def confident_joint(y: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return cleanlab's calibrated confident joint ``[given, true]`` (arXiv 1911.00068)."""
    from cleanlab.count import compute_confident_joint

    joint = compute_confident_joint(y, probs, calibrate=True)
    return np.asarray(joint, dtype=np.float64)


def transition_from_joint(joint: np.ndarray) -> np.ndarray:
    """Return ``T[i, j] = Pr(given = j | true = i)`` of a joint ``[given, true]``.

    A class that no node is counted into keeps its labels: its row is that of the identity.
    """
    return row_normalised(joint.T)


def expected_issues(y: np.ndarray, probs: np.ndarray) -> float:
    """Return the number of label errors that the off-diagonal of the joint counts."""
    joint = confident_joint(y, probs)
    return float(joint.sum() - np.trace(joint))


class ConfidentJoint(TransitionEstimator):
    r"""T from the calibrated confident joint (Northcutt et al., 2021), counted by cleanlab.

    .. math::
        C_{ij} = \left|\{v : \tilde y_v = i,\; \hat p_v(j) \ge t_j\}\right|, \qquad
        t_j = \mathrm{mean}\{\hat p_v(j) : \tilde y_v = j\}, \qquad
        T_{ij} = C_{ji} / \textstyle\sum_k C_{ki}

    T also holds the confusion of the classifier. Paper: https://arxiv.org/abs/1911.00068.
    """

    name: ClassVar[str] = "confident_joint"

    reads_probs: ClassVar[bool] = True

    def _estimate(self, observed: Observed) -> Estimate:
        joint = confident_joint(*observed.labelled)
        return Estimate(transition_from_joint(joint), joint.sum(axis=0))
