"""GraphSAGE: a node's own features beside the mean of its neighbours'."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.nn import SAGEConv
from torch_geometric.nn.models import GraphSAGE as PyGGraphSAGE

from graphclean.nn.convolutional import ConvolutionalClassifier, Layer, Layered, collect, targets
from graphclean.nn.features import Collected, Features, InputLinear
from graphclean.nn.params import estimator
from graphclean.sparse.propagator import Propagator


@estimator
class GraphSAGE(ConvolutionalClassifier):
    r"""GraphSAGE with mean aggregation (Hamilton et al., https://arxiv.org/abs/1706.02216).

    .. math::
        H^{(l+1)} = \sigma\left( D^{-1} A H^{(l)} W_1^{(l)} + H^{(l)} W_2^{(l)} + b \right)

    PyG's ``GraphSAGE`` with the linear map before the mean: the same numbers from a sparse product
    of ``hidden`` columns instead of F. Edge weights, if any, weight the mean.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of convolutions.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    name: ClassVar[str] = "sage"

    reads_own: ClassVar[bool] = True

    def _adjacency(self, data: Any) -> Propagator:
        return Propagator.from_data(data, norm="row")

    def _architecture(self) -> type[_GraphSAGE]:
        return _GraphSAGE


class _GraphSAGE(Layered, PyGGraphSAGE):  # type: ignore[misc]
    def init_conv(self, in_channels: int, out_channels: int, **kwargs: Any) -> nn.Module:
        return _SAGEConv(in_channels, out_channels, **kwargs)


class _SAGEConv(SAGEConv):  # type: ignore[misc]
    lin_l: InputLinear
    lin_r: InputLinear

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, **kwargs)
        self.lin_l = InputLinear.like(self.lin_l)
        self.lin_r = InputLinear.like(self.lin_r)

    def forward(self, x: Features | Collected, adj: Layer | None) -> Tensor:
        own = self.lin_r(targets(x, adj))
        out: Tensor = collect(self.lin_l, x, adj) + self.lin_l.bias + own
        return out
