"""Seeded draws with exact counts: how many nodes flip, from which class to which, and who."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Expected counts such as 30 * 0.1 carry float dust; anything closer to an integer than this is one.
_DUST = 1e-9


def round_half_up(value: float) -> int:
    """Return ``value`` rounded to the nearest integer, halves upwards (float dust ignored)."""
    return math.floor(value + 0.5 + _DUST)


def largest_remainder(expected: Tensor, total: int, generator: torch.Generator) -> Tensor:
    """Round ``expected`` to integers that sum to ``total`` (Hamilton's method).

    Every entry becomes its floor or its ceiling, the ceilings going to the largest remainders and,
    among equal remainders, to entries drawn at random. So a sum of integers is reproduced exactly.

    Args:
        expected: Non-negative expected counts ``[K]``; their rounded sum should be ``total``.
        total: Number to hand out.
        generator: Breaks ties.

    Returns:
        LongTensor ``[K]`` summing to ``total``.
    """
    expected = expected.to(torch.float64)
    counts = torch.floor(expected + _DUST).long()
    remainder = ((expected - counts) / _DUST).round().clamp(min=0.0)
    shuffled = torch.randperm(len(expected), generator=generator)
    order = shuffled[torch.argsort(remainder[shuffled], descending=True, stable=True)]
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def flip_by_class(
    y: Tensor, nodes: Tensor, flip_rates: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flip labels so that the counts match class-conditional rates as closely as integers allow.

    With ``n_i`` nodes of class i and ``R`` the off-diagonal of a transition matrix,
    ``round(sum_ij n_i R[i, j])`` nodes flip in total. The total is split over the classes, then
    each class over its targets, by largest remainder; nodes are drawn without replacement.

    Args:
        y: Labels ``[N]``, long.
        nodes: Nodes that may flip ``[M]``, long.
        flip_rates: ``R[i, j] = Pr(given = j | true = i)`` for i != j, ``[C, C]``; the diagonal is
            ignored.
        generator: Source of the draws.

    Returns:
        The flipped nodes ``[F]`` and their new labels ``[F]``, both long.
    """
    num_classes = len(flip_rates)
    own = y[nodes]
    rates = flip_rates.to(torch.float64).clone()
    rates.fill_diagonal_(0.0)
    per_node = rates.sum(dim=1)
    expected = torch.bincount(own, minlength=num_classes) * per_node
    per_class = largest_remainder(expected, round_half_up(float(expected.sum())), generator)
    chosen, labels = [nodes[:0]], [nodes[:0]]
    for source in torch.nonzero(per_class).flatten().tolist():
        count = int(per_class[source])
        members = nodes[own == source]
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
        targets = largest_remainder(rates[source] / per_node[source] * count, count, generator)
        labels.append(torch.repeat_interleave(torch.arange(num_classes), targets))
    return torch.cat(chosen), torch.cat(labels)


def weighted_sample(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` positions without replacement, in proportion to ``weights`` (Gumbel top-k).

    The largest of ``log w + Gumbel noise`` are a successive sample without replacement. Positions
    of zero weight come only after all others, in random order.

    Args:
        weights: Non-negative weights ``[M]``.
        count: Number of positions, at most M.
        generator: Source of the draws.

    Returns:
        Positions ``[count]``, long.
    """
    weights = weights.to(torch.float64)
    uniform = torch.rand(len(weights), generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float64).tiny)))
    # -1e6 is below any log of a positive double and still leaves the noise its digits.
    keys = torch.where(weights > 0, torch.log(weights), -1e6) + gumbel
    return torch.topk(keys, count).indices


def draw_classes(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one column per row of ``weights`` ``[F, C]``, in proportion to it; long ``[F]``."""
    if len(weights) == 0:
        return torch.empty(0, dtype=torch.long)
    return torch.multinomial(weights.double(), 1, generator=generator).flatten()
