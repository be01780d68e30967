"""Counting label errors with cleanlab, which is exact at it."""

from __future__ import annotations

import numpy as np


def confident_joint(y: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return cleanlab's calibrated confident joint ``[given, true]`` (arXiv 1911.00068)."""
    from cleanlab.count import compute_confident_joint

    joint = compute_confident_joint(y, probs, calibrate=True)
    return np.asarray(joint, dtype=np.float64)


def transition_from_joint(joint: np.ndarray) -> np.ndarray:
    """Return ``T[i, j] = Pr(given = j | true = i)`` of a joint ``[given, true]``.

    A class that no node is counted into keeps its labels: its row is that of the identity.
    """
    transition = joint.T.copy()
    total = transition.sum(axis=1)
    empty = total <= 0
    transition[~empty] /= total[~empty, None]
    transition[empty] = np.eye(len(joint))[empty]
    return transition


def expected_issues(y: np.ndarray, probs: np.ndarray) -> float:
    """Return the number of label errors that the off-diagonal of the joint counts."""
    joint = confident_joint(y, probs)
    return float(joint.sum() - np.trace(joint))
