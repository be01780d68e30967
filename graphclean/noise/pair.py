"""Pair (next-class) label noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphclean.noise._sampling import flip_by_class
from graphclean.noise.base import FixedRateNoise


class PairNoise(FixedRateNoise):
    """Every class flips to the next one, the last to the first: ``T[c, (c + 1) mod C] = rate``.

    Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
    NeurIPS 2018. GraphCleaner calls it asymmetric; NoisyGL runs the cycle the other way round.

    Args:
        rate: Share of nodes to flip in every class, in [0, 1].
    """

    name = "pair"

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        successor = torch.eye(num_classes, dtype=torch.float64).roll(1, dims=1)
        return flip_by_class(y, nodes, self.rate * successor, generator)
