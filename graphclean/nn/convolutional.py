"""What GCN, GraphSAGE and GIN share: a stack of PyG convolutions on one CSR operator."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from graphclean.nn.dropout import Dropout
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared


@estimator
class ConvolutionalClassifier(NeuralClassifier):
    """Base of the classifiers over PyG's ``BasicGNN``; a subclass names its network.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of convolutions.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    hidden: int = 64
    num_layers: int = 2
    norm: str | None = None
    dropout: float = 0.5

    @abstractmethod
    def _architecture(self) -> type[Any]:
        """Return the ``BasicGNN`` subclass to build."""

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        network: nn.Module = self._architecture()(
            inputs.num_features,
            self.hidden,
            self.num_layers,
            num_classes,
            dropout=self.dropout,
            norm=self.norm,
        )
        network.dropout = Dropout(self.dropout)
        return network
