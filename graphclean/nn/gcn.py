"""GCN: graph convolution with the symmetrically normalised adjacency."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.models import GCN as PyGGCN

from graphclean.nn.convolutional import ConvolutionalClassifier, Layer, Layered, collect
from graphclean.nn.features import Collected, Features, InputLinear
from graphclean.nn.params import estimator
from graphclean.sparse.propagator import Propagator


@estimator
class GCN(ConvolutionalClassifier):
    r"""Graph convolutional network (Kipf and Welling, https://arxiv.org/abs/1609.02907).

    .. math::
        H^{(l+1)} = \sigma\left( \hat D^{-1/2} (A + I) \hat D^{-1/2} H^{(l)} W^{(l)} + b \right)

    PyG's ``GCN`` with the adjacency as one CSR operator. GraphCleaner's published base model is
    ``GCN(num_layers=3, hidden=256, lr=1e-3, patience=None, monitor="val_accuracy")``.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of convolutions.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    name: ClassVar[str] = "gcn"

    def _adjacency(self, data: Any) -> Propagator:
        return Propagator.from_data(data, norm="sym", self_loops=True)

    def _architecture(self) -> type[_GCN]:
        return _GCN


class _GCN(Layered, PyGGCN):  # type: ignore[misc]
    def init_conv(self, in_channels: int, out_channels: int, **kwargs: Any) -> nn.Module:
        return _GCNConv(in_channels, out_channels, normalize=False, **kwargs)


class _GCNConv(GCNConv):  # type: ignore[misc]
    lin: InputLinear

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, **kwargs)
        self.lin = InputLinear.like(self.lin)

    def forward(self, x: Features | Collected, adj: Layer | None) -> Tensor:
        out: Tensor = collect(self.lin, x, adj) + self.bias
        return out
