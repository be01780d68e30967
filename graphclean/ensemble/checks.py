"""Does a stack fool itself? Its score on rows of the folds against that on rows it never saw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_ROWS = 20
"""Fewer held-out rows give no verdict."""


@dataclass(frozen=True)
class Score:
    """How well probabilities fit given labels.

    Attributes:
        accuracy: Share of rows whose most probable class is the given one; NaN without rows.
        log_loss: Mean negative logarithm of the probability of the given label, in nats.
        rows: Number of rows.
    """

    accuracy: float
    log_loss: float
    rows: int


@dataclass(frozen=True)
class Optimism:
    r"""Out-of-fold minus held-out accuracy, both against labels as they were given.

    Attributes:
        gap: The difference; NaN without held-out rows.
        error: Standard error of the difference, :math:`\sqrt{\sum p (1 - p) / n}` over both.
        overfits: Whether the gap exceeds two standard errors, beyond what the plain mean of the
            first layer shows too: rows that differ from the others are no fault of the stack.
    """

    gap: float
    error: float
    overfits: bool


def score(probs: Tensor, target: Tensor, rows: Tensor) -> Score:
    """Return the score of probabilities ``[N, C]`` in some rows, long or bool."""
    found = probs[rows].double()
    if len(found) == 0:
        return Score(math.nan, math.nan, 0)
    hard = (target if target.dim() == 1 else target.argmax(dim=1))[rows]
    own = found.gather(1, hard.unsqueeze(1)).clamp_min(torch.finfo(torch.float32).tiny)
    right = (found.argmax(dim=1) == hard).double().mean()
    return Score(float(right), float(-own.log().mean()), len(found))


def optimism(stack: tuple[Score, Score], mean: tuple[Score, Score]) -> Optimism:
    """Compare scores, out of fold and held out, of a stack and of the mean of its members."""
    gaps = [inside.accuracy - outside.accuracy for inside, outside in (stack, mean)]
    error = math.sqrt(
        sum(each.accuracy * (1.0 - each.accuracy) / max(each.rows, 1) for each in stack)
    )
    verdict = stack[1].rows >= _LEAST_ROWS and gaps[0] - max(gaps[1], 0.0) > 2.0 * error
    return Optimism(gaps[0], error, verdict)
