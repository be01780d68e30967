"""Synthetic mislabels for training a mislabel classifier, and the way back to real prevalence."""

from __future__ import annotations

import numpy as np


def draw_wrong_labels(
    y: np.ndarray, transition: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return a wrong label for every node, drawn from the off-diagonal of T's row of its label.

    A thousandth of uniform noise is mixed in, so a class whose row holds no error can still flip.

    Args:
        y: Labels ``[n]``.
        transition: ``T[i, j] = Pr(given = j | true = i)`` ``[C, C]``, C >= 2.
        rng: Source of randomness.
    """
    classes = len(transition)
    off = 1.0 - np.eye(classes)
    weights = transition * off + 1e-3 * off
    cumulative = (weights / weights.sum(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = (cumulative[y] < rng.random(len(y))[:, None]).sum(axis=1)
    drawn = np.minimum(drawn, classes - 1)
    # Rounding can leave the cumulative sum a hair under one: never return the label itself.
    return np.where(drawn == y, (y + 1) % classes, drawn)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Return ``log(p / (1 - p))`` with p kept 1e-6 away from 0 and 1."""
    kept = np.clip(probability, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def estimate_prior(odds: np.ndarray, steps: int = 200) -> float:
    r"""Return the share of positives that best explains unlabelled data, by EM.

    .. math::
        \pi \leftarrow \frac{1}{n} \sum_i \frac{\pi r_i}{\pi r_i + 1 - \pi}

    where r are the odds of a classifier that was trained at even prevalence. Paper: Saerens et
    al., "Adjusting the outputs of a classifier to new a priori probabilities", Neural
    Computation 14 (2002).

    The estimate stays at or above half a positive, so that the odds keep ranking the rows.

    Args:
        odds: ``[n]``, positive.
        steps: EM steps.
    """
    prior, least = 0.1, 0.5 / len(odds)
    for _ in range(steps):
        prior = max(float(np.mean(shift_prior(odds, prior))), least)
    return prior


def shift_prior(odds: np.ndarray, prior: float) -> np.ndarray:
    """Return probabilities at prevalence ``prior`` from odds at even prevalence."""
    positive = prior * odds
    return np.asarray(positive / (positive + 1.0 - prior))
