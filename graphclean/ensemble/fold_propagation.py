"""Out-of-fold predictions spread over the graph so that no node's label comes back to it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_integer, check_number
from graphclean.sparse import Propagator
from graphclean.types import InputError

Consistency = Literal["fold", "oof", "none"]


def propagate_folds(
    oof: OutOfFold,
    propagator: Propagator,
    *,
    alpha: float = 0.9,
    hops: int = 3,
    consistency: Consistency = "fold",
) -> Tensor:
    r"""Spread out-of-fold predictions over the graph and keep every step.

    .. math::
        U^{(0)} = F, \qquad U^{(t+1)} = \alpha S U^{(t)} + (1 - \alpha) F

    A node without neighbours keeps its own row. What F is, is the question: the merged out-of-fold
    rows hold, next to node i, rows of models that were fitted on the label of i, and one step of
    spreading brings that label back to i.

    * ``"fold"``: for node i of fold k all of F comes from the model of fold k, which has seen no
      label of fold k: the row of i does not depend on its label, bit for bit, as long as the folds
      do not. A node of no fold gets the mean over all models.
    * ``"oof"``: F is the merged out-of-fold predictions, as published (Chen et al., *A Robust
      Stacking Framework for Training Deep Graph Models with Multifaceted Node Features*,
      https://arxiv.org/abs/2206.08473).
    * ``"none"``: the merged rows themselves, not spread.

    Repeats are averaged. One fold is held in memory at a time.

    Args:
        oof: R repeats, K folds, N nodes, C classes.
        propagator: S ``[N, N]``; ``norm="row"`` keeps rows that sum to one.
        alpha: Share of the neighbours in a step, in [0, 1].
        hops: Steps T >= 0.
        consistency: Which predictions a node's neighbours contribute.

    Returns:
        ``[N, T + 1, C]``, float32, step by step; ``[N, 1, C]`` with ``"none"``.

    Raises:
        InputError: An argument is out of its range.
    """
    check_spreading(alpha, hops, consistency)
    if consistency == "none":
        return oof.pred_probs.unsqueeze(1)
    repeats = range(len(oof.fold))
    if consistency == "oof":
        return _mean([spread(oof.held_out(r), propagator, alpha, hops) for r in repeats])
    return _mean(
        [_of_repeat(oof.model_probs[r], oof.fold[r], propagator, alpha, hops) for r in repeats]
    )


def spread(values: Tensor, propagator: Propagator, alpha: float, hops: int) -> Tensor:
    """Return all steps of the propagation of ``values`` ``[N, F]``: ``[N, hops + 1, F]``."""
    alone = torch.from_numpy(propagator.left == 0)
    steps = [values]
    for _ in range(hops):
        step = alpha * (propagator @ steps[-1]) + (1.0 - alpha) * values
        steps.append(torch.where(alone.unsqueeze(1), values, step))
    return torch.stack(steps, dim=1)


def check_spreading(alpha: float, hops: int, consistency: str) -> None:
    """Raise InputError for an argument of `propagate_folds` that is out of its range."""
    check_number("alpha", alpha, 0, 1)
    check_integer("hops", hops, 0)
    if consistency not in get_args(Consistency):
        raise InputError("consistency", consistency, "Choose 'fold', 'oof' or 'none'.")


def _of_repeat(
    model_probs: Tensor, fold: Tensor, propagator: Propagator, alpha: float, hops: int
) -> Tensor:
    folds, nodes, classes = model_probs.shape
    found = torch.zeros(nodes, hops + 1, classes)
    outside = fold < 0
    for k in range(folds):
        steps = spread(model_probs[k], propagator, alpha, hops)
        inside = fold == k
        found[inside] = steps[inside]
        found[outside] += steps[outside] / folds
    return found


def _mean(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean(dim=0)
