"""The noise procedure of GraphCleaner's published experiments, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.noise.base import FixedRateNoise, NoiseSample, split_masks
from graphclean.types import InputError, check_seed

PUBLISHED_SEED = 1119
KINDS = ("symmetric", "asymmetric")


class GraphCleanerProtocol(FixedRateNoise):
    """Per split and class, ``floor(n_c * rate)`` labels flip, drawn from NumPy's legacy stream.

    Nodes are taken from rest (neither val nor test), val and test in this order, class after class.
    Symmetric flips go to the other classes alike, asymmetric ones from c to ``(c + 1) mod C``; both
    kinds flip the same nodes. All three splits are always drawn, and those not asked for are put
    back, so that the flips of a split do not depend on ``on``. With seed 1119 this reproduces the
    maps stored with the published code (Cora, 10 %: 97 test and 46 val flips).

    Li, Xiong, Hooi, "GraphCleaner: Detecting Mislabelled Samples in Popular Graph Learning
    Benchmarks", ICML 2023.

    Args:
        rate: Rate whose product with a class size is rounded down, in [0, 1].
        kind: ``"symmetric"`` or ``"asymmetric"``.
        seed: Legacy seed used when ``sample`` is given none, in [0, 2^32).

    Raises:
        InputError: If a parameter is out of range.
    """

    name = "graphcleaner"

    def __init__(
        self, rate: float = 0.1, kind: str = "symmetric", seed: int = PUBLISHED_SEED
    ) -> None:
        super().__init__(rate)
        if kind not in KINDS:
            raise InputError("kind", kind, f"Choose one of: {', '.join(KINDS)}.")
        self.kind = kind
        self.seed = _check_legacy_seed(seed)

    def _seeding(
        self, generator: torch.Generator | int | None
    ) -> tuple[int | None, torch.Generator]:
        # The torch generator only carries the legacy seed to _draw: the stream itself is NumPy's.
        if isinstance(generator, torch.Generator):
            drawn = int(torch.randint(2**32, (1,), generator=generator))
            return None, torch.Generator().manual_seed(drawn)
        seed = self.seed if generator is None else _check_legacy_seed(generator)
        return seed, torch.Generator().manual_seed(seed)

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        stream = np.random.RandomState(generator.initial_seed())
        labels = y.numpy()
        flipped: list[int] = []
        for members in split_masks(data).values():
            for label in range(num_classes):
                pool = np.flatnonzero(members.numpy() & (labels == label))
                size = int(len(pool) * self.rate)
                flipped.extend(stream.choice(pool, size=size, replace=False).tolist())
        wrong = {
            node: self._wrong_label(int(labels[node]), num_classes, stream) for node in flipped
        }
        kept = torch.tensor(flipped, dtype=torch.long)
        kept = kept[torch.isin(kept, nodes)]
        return kept, torch.tensor([wrong[node] for node in kept.tolist()], dtype=torch.long)

    def _wrong_label(self, label: int, num_classes: int, stream: np.random.RandomState) -> int:
        if self.kind == "asymmetric":
            return (label + 1) % num_classes
        others = [other for other in range(num_classes) if other != label]
        return int(stream.choice(others, size=1, replace=False)[0])


def graphcleaner_protocol(
    data: Any, rate: float, kind: str = "symmetric", seed: int = PUBLISHED_SEED
) -> NoiseSample:
    """Return the published mislabels of ``data``; see `GraphCleanerProtocol`."""
    return GraphCleanerProtocol(rate, kind, seed).sample(data)


def _check_legacy_seed(seed: int) -> int:
    checked = check_seed(seed)
    if checked is None or checked >= 2**32:
        raise InputError("seed", seed, "NumPy's legacy stream takes an integer below 2**32.")
    return int(checked)
