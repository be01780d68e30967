"""Class-conditional label noise with any transition matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphclean.noise._sampling import flip_by_class
from graphclean.noise.base import NoiseModel, check_rate
from graphclean.noise.transition import check_transition
from graphclean.types import InputError


class ClassConditionalNoise(NoiseModel):
    """Labels flip by a given matrix ``T[i, j] = Pr(given = j | true = i)``.

    The number of nodes that go from i to j is ``n_i T[i, j]``, rounded by largest remainder.

    Patrini et al., "Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach",
    CVPR 2017.

    Args:
        transition: ``T``, ``[C, C]``, non-negative, rows sum to one (tensor, array or lists).
        rate: None to use ``T`` as it is. A number in [0, 1] scales all off-diagonal entries by one
            factor so that ``round(rate * eligible)`` labels flip.

    Raises:
        InputError: If ``T`` is not a transition matrix; on sampling, if its size is not the number
            of classes, or no factor reaches ``rate``.
    """

    name = "class_conditional"

    def __init__(self, transition: Any, rate: float | None = None) -> None:
        self.transition = check_transition(transition)
        self.rate = None if rate is None else check_rate(rate)

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if len(self.transition) != num_classes:
            raise InputError(
                "transition",
                f"shape {list(self.transition.shape)}",
                f"The graph has {num_classes} classes: pass one row and column for each.",
            )
        flip_rates = self.transition
        if self.rate is not None:
            flip_rates = _scaled_to(
                flip_rates, torch.bincount(y[nodes], minlength=num_classes), self.rate
            )
        return flip_by_class(y, nodes, flip_rates, generator)


def _scaled_to(transition: Tensor, class_counts: Tensor, rate: float) -> Tensor:
    off_diagonal = transition.clone()
    off_diagonal.fill_diagonal_(0.0)
    flip_probability = off_diagonal.sum(dim=1)
    present = class_counts > 0
    expected = float((class_counts * flip_probability).sum() / class_counts.sum())
    reach = expected / float(flip_probability[present].max()) if expected > 0 else 0.0
    if rate > reach + 1e-6:
        raise InputError(
            "rate", rate, f"This transition matrix can be scaled up to rate {reach:.4g} at most."
        )
    scaled = off_diagonal * (rate / expected if rate > 0 else 0.0)
    return scaled / scaled.sum(dim=1, keepdim=True).clamp(min=1.0)
