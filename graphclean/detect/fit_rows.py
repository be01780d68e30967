"""The rows that a small model is fitted on: all, or a sample where they are too many."""

from __future__ import annotations

import numpy as np

FIT_ROWS = 100_000
"""Rows that the small models are fitted on at most, drawn at random: their few hundred parameters
need no more, and the time does not grow with the graph beyond it."""


def fit_rows(allowed: np.ndarray, seed: int, most: int = FIT_ROWS) -> np.ndarray:
    """Return the positions of the allowed rows in order, or of a sample of them.

    Args:
        allowed: ``[n]``, bool.
        seed: Seed of the sample.
        most: Rows at most.
    """
    rows = np.flatnonzero(allowed)
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
