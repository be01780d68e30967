"""Feature-dependent (instance-dependent) label noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphclean.noise._sampling import draw_classes, weighted_sample
from graphclean.noise.base import FixedRateNoise
from graphclean.types import InputError


class FeatureDependentNoise(FixedRateNoise):
    """Features decide which wrong class a node gets, and nodes differ in how easily they flip.

    Flip propensity ``q_v ~ N(rate, spread^2)``, truncated to [0, 1]; projection
    ``W ~ N(0, 1)^{d x C}``; the wrong class of v is drawn from ``softmax(x_v W)`` over the classes
    other than its own. Exactly ``round(rate * eligible)`` nodes flip, drawn without replacement in
    proportion to ``q``. The softmax is as sharp as the scale of the features makes it.

    Goswami et al., "AQuA: A Benchmarking Tool for Label Quality Assessment", NeurIPS 2023 Datasets
    and Benchmarks. Its code standardises the bounds of the truncated normal wrongly, so that rates
    lie in [rate, rate + spread]; here the bounds are 0 and 1.

    Args:
        rate: Share of nodes to flip, in [0, 1].
        spread: Standard deviation of the propensity before truncation, positive.

    Raises:
        InputError: If the spread is not positive; on sampling, if the graph has no features.
    """

    name = "feature_dependent"

    def __init__(self, rate: float = 0.1, spread: float = 0.1) -> None:
        super().__init__(rate)
        if not 0.0 < spread < float("inf"):
            raise InputError("spread", spread, "Pass a positive number.")
        self.spread = float(spread)

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if getattr(data, "x", None) is None:
            raise InputError(
                "data.x", "missing", "Add node features, or choose another noise model."
            )
        uniform = torch.rand(len(nodes), generator=generator, dtype=torch.float64)
        propensity = truncated_normal(uniform, self.rate, self.spread)
        chosen = nodes[weighted_sample(propensity, self._flip_count(nodes), generator)]
        projection = torch.randn(data.x.size(1), num_classes, generator=generator)
        logits = _project(data.x.cpu(), projection, chosen)
        logits[torch.arange(len(chosen)), y[chosen]] = -torch.inf
        return chosen, draw_classes(torch.softmax(logits, dim=1), generator)


def truncated_normal(uniform: Tensor, mean: float, spread: float) -> Tensor:
    """Return quantiles of ``N(mean, spread^2)`` truncated to [0, 1].

    ``mean + spread * Phi^-1(Phi(a) + u (Phi(b) - Phi(a)))`` with ``a = (0 - mean) / spread`` and
    ``b = (1 - mean) / spread``.

    Args:
        uniform: Levels ``u`` in [0, 1], float64.
        mean: Location before truncation.
        spread: Standard deviation before truncation.
    """
    low, high = torch.special.ndtr(
        torch.tensor([-mean / spread, (1.0 - mean) / spread], dtype=torch.float64)
    )
    standard: Tensor = torch.special.ndtri(low + uniform * (high - low))
    return (mean + spread * standard).clamp(0.0, 1.0)


def _project(x: Tensor, projection: Tensor, rows: Tensor) -> Tensor:
    dense = x.layout == torch.strided
    product: Tensor = (x[rows] if dense else x).to(projection.dtype) @ projection
    return product if dense else product[rows]
