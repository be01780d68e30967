"""MLP: the features alone, blind to the graph."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.nn.models import MLP as PyGMLP

from graphclean.nn.dropout import Dropout
from graphclean.nn.features import Features, InputLinear
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared


@estimator
class MLP(NeuralClassifier):
    r"""Multilayer perceptron on the node features; ignores the edges.

    .. math::
        H^{(l+1)} = \sigma\left( H^{(l)} W^{(l)} + b^{(l)} \right)

    A second view beside the graph models: it errs on other nodes than they do.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of linear layers.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    name: ClassVar[str] = "mlp"

    hidden: int = 64
    num_layers: int = 2
    norm: str | None = None
    dropout: float = 0.5

    def _adjacency(self, data: Any) -> None:
        return None

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        return FeatureMLP(
            inputs.num_features,
            self.hidden,
            num_classes,
            self.num_layers,
            dropout=self.dropout,
            norm=self.norm,
        )


class FeatureMLP(nn.Module):
    """PyG's ``MLP`` whose first layer takes sparse features, called as ``forward(x, adj)``."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        num_layers: int,
        dropout: float,
        norm: str | None,
    ) -> None:
        super().__init__()
        self.mlp = PyGMLP(
            in_channels=in_channels,
            hidden_channels=hidden,
            out_channels=out_channels,
            num_layers=num_layers,
            act=nn.Sequential(nn.ReLU(), Dropout(dropout)),
            norm=norm,
        )
        self.mlp.lins[0] = InputLinear.like(self.mlp.lins[0])

    def forward(self, x: Features, adj: None = None) -> Tensor:
        """Return logits ``[N, C]``."""
        logits: Tensor = self.mlp(x)
        return logits
