"""Random-pair label noise: every class has one wrong class of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphclean.noise._sampling import flip_by_class
from graphclean.noise.base import FixedRateNoise


class RandomPairNoise(FixedRateNoise):
    """Every class flips to one other class, drawn at random: ``T[c, t(c)] = rate``, ``t(c) != c``.

    The targets are independent, so two classes may flip to the same one.

    Chen et al., "ERASE: Error-Resilient Representation Learning on Graphs for Label Noise
    Tolerance", CIKM 2024 (there called asymmetric).

    Args:
        rate: Share of nodes to flip in every class, in [0, 1].
    """

    name = "random_pair"

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        classes = torch.arange(num_classes)
        shift = torch.randint(1, num_classes, (num_classes,), generator=generator)
        chosen = torch.zeros(num_classes, num_classes, dtype=torch.float64)
        chosen[classes, (classes + shift) % num_classes] = 1.0
        return flip_by_class(y, nodes, self.rate * chosen, generator)
