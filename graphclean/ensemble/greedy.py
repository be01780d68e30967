"""Ensemble selection: greedy steps to the average of models that fits some labels best."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from graphclean.nn.losses.base import as_distribution
from graphclean.nn.params import check_integer
from graphclean.noise.transition import check_transition
from graphclean.types import InputError

SelectionLoss = Literal["log_loss", "brier", "gce", "forward"]

_FLOOR = 1e-6
"""Least probability in a logarithm: one confident error costs at most 13.8."""
_GCE_POWER = 0.7
_SAME = 1e-12
"""Losses that differ by less are equal."""


def greedy_selection(
    probs: Tensor,
    target: Tensor,
    loss: SelectionLoss = "log_loss",
    transition: Any = None,
    rounds: int = 40,
    sample_weight: Tensor | None = None,
) -> Tensor:
    r"""Weigh models by greedy selection with replacement.

    Every round adds the model that lowers the loss of the average of all models added so far most;
    the round with the lowest loss counts, and a model weighs as often as it was added until then.
    The first round takes the best single model, so on these rows the average is never worse. Of
    equal models one that is in already is preferred, then the earlier one: put simple ones first.

    Paper: Caruana et al., *Ensemble Selection from Libraries of Models*, ICML 2004.

    Args:
        probs: Class probabilities of M models for n rows ``[M, n, C]``, of models that have not
            seen the labels of these rows.
        target: Given labels ``[n]``, long, or probabilities ``[n, C]``.
        loss: What the average is judged by: ``"log_loss"``; ``"brier"``, the squared error, and
            ``"gce"``, the generalised cross-entropy with q = 0.7, which no single wrong label can
            make large; ``"forward"``, the log loss of :math:`T^\top p`, the given labels that p
            predicts.
        transition: T ``[C, C]`` of ``"forward"``, ``T[i, j] = Pr(given = j | true = i)``.
        rounds: Models to add at most.
        sample_weight: Weights of the rows ``[n]``; None for equal ones.

    Returns:
        Weights ``[M]``, float64, >= 0 with sum one.

    Raises:
        InputError: A shape does not fit, there is no row, or ``transition`` is missing.
    """
    check_selection(probs, target, loss, rounds)
    matrix = None
    if loss == "forward":
        if transition is None:
            raise InputError("transition", None, "The loss 'forward' needs T [C, C].")
        matrix = check_transition(transition)
    members = probs.double()
    wanted = as_distribution(target, probs.shape[2]).double()
    weight = torch.ones(len(wanted)) if sample_weight is None else torch.as_tensor(sample_weight)
    weight = weight.double() / weight.double().sum()
    total, counts = torch.zeros_like(members[0]), torch.zeros(len(members), dtype=torch.float64)
    best, kept = float("inf"), counts
    for number in range(1, rounds + 1):
        losses = selection_losses((total + members) / number, wanted, loss, matrix) @ weight
        near = losses <= losses.min() + _SAME
        preferred = near & (counts > 0)
        pick = int((preferred if bool(preferred.any()) else near).nonzero()[0])
        total = total + members[pick]
        counts = counts.clone()
        counts[pick] += 1
        if float(losses[pick]) < best - _SAME:
            best, kept = float(losses[pick]), counts
    return kept / kept.sum()


def selection_losses(
    probs: Tensor, target: Tensor, loss: SelectionLoss, transition: Tensor | None = None
) -> Tensor:
    """Return the loss of every row: ``[..., n]`` for ``probs`` ``[..., n, C]``."""
    if loss == "brier":
        return (probs - target).square().sum(dim=-1)
    if loss == "gce":
        return (target * (1.0 - probs.clamp_min(0.0) ** _GCE_POWER) / _GCE_POWER).sum(dim=-1)
    if transition is not None:
        probs = probs @ transition.to(probs)
    return -(target * probs.clamp_min(_FLOOR).log()).sum(dim=-1)


def check_selection(probs: Tensor, target: Tensor, loss: str, rounds: int) -> None:
    """Raise InputError for an argument of `greedy_selection` that does not fit."""
    check_integer("rounds", rounds, 1)
    if loss not in get_args(SelectionLoss):
        raise InputError("loss", loss, f"Choose one of: {', '.join(get_args(SelectionLoss))}.")
    if probs.dim() != 3 or 0 in probs.shape:
        raise InputError("probs", tuple(probs.shape), "Pass [M, n, C], none of them zero.")
    if tuple(target.shape) not in {tuple(probs.shape[1:2]), tuple(probs.shape[1:])}:
        fix = f"Pass {probs.shape[1]} labels, or [{probs.shape[1]}, {probs.shape[2]}]."
        raise InputError("target", tuple(target.shape), fix)
