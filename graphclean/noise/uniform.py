"""Uniform (symmetric) label noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphclean.noise._sampling import flip_by_class
from graphclean.noise.base import FixedRateNoise


class UniformNoise(FixedRateNoise):
    """Every class flips to every other class alike.

    ``T[i, i] = 1 - rate`` and ``T[i, j] = rate / (C - 1)``, met exactly up to integer counts.

    Angluin, Laird, "Learning From Noisy Examples", Machine Learning 2, 1988.

    Args:
        rate: Share of nodes to flip in every class, in [0, 1].
    """

    name = "uniform"

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        alike = torch.full((num_classes, num_classes), 1.0 / (num_classes - 1), dtype=torch.float64)
        return flip_by_class(y, nodes, self.rate * alike, generator)
