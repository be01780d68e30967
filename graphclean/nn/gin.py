"""GIN: sums over neighbours, read by a small MLP in every layer."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.nn import GINConv
from torch_geometric.nn.models import GIN as PyGGIN

from graphclean.nn.convolutional import ConvolutionalClassifier, Layer, Layered, collect
from graphclean.nn.features import Collected, Features, InputLinear
from graphclean.nn.params import estimator
from graphclean.sparse.propagator import Propagator


@estimator
class GIN(ConvolutionalClassifier):
    r"""Graph isomorphism network with :math:`\epsilon = 0` (Xu et al., https://arxiv.org/abs/1810.00826).

    .. math::
        H^{(l+1)} = \sigma\left( \mathrm{MLP}^{(l)}\left( (A + I) H^{(l)} \right) \right)

    PyG's ``GIN`` with the first linear map before the sum, which gives the same numbers. Sums grow
    with the degree: keep ``norm="batch_norm"`` on graphs with hubs.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of convolutions, each with an MLP of two layers.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    name: ClassVar[str] = "gin"

    norm: str | None = "batch_norm"

    def _adjacency(self, data: Any) -> Propagator:
        return Propagator.from_data(data, norm="none", self_loops=True)

    def _architecture(self) -> type[_GIN]:
        return _GIN


class _GIN(Layered, PyGGIN):  # type: ignore[misc]
    def init_conv(self, in_channels: int, out_channels: int, **kwargs: Any) -> nn.Module:
        mlp = super().init_conv(in_channels, out_channels, **kwargs).nn
        mlp.lins[0] = _SumLinear.like(mlp.lins[0])
        return _GINConv(mlp, **kwargs)


class _GINConv(GINConv):  # type: ignore[misc]
    def forward(self, x: Features | Collected, adj: Layer | None) -> Tensor:
        out: Tensor = self.nn((x, adj))
        return out


class _SumLinear(InputLinear):
    def forward(self, pair: tuple[Features | Collected, Layer | None]) -> Tensor:  # type: ignore[override]
        x, adj = pair
        out: Tensor = collect(self, x, adj) + self.bias
        return out
