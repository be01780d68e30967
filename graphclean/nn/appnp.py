"""APPNP: an MLP whose predictions are spread by personalised PageRank."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from graphclean.nn.features import Features
from graphclean.nn.mlp import FeatureMLP
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.sparse.propagator import Propagator


@estimator
class APPNP(NeuralClassifier):
    r"""Predict, then propagate (Gasteiger et al., https://arxiv.org/abs/1810.05997).

    .. math::
        Z^{(0)} = \mathrm{MLP}(X), \quad
        Z^{(k+1)} = (1 - \alpha) \hat D^{-1/2} (A + I) \hat D^{-1/2} Z^{(k)} + \alpha Z^{(0)}

    Args:
        hidden: Width of the hidden layers of the MLP.
        num_layers: Number of layers of the MLP.
        hops: Number of propagation steps K.
        alpha: Teleport probability, in (0, 1]; 1 ignores the graph.
        dropout: Dropout probability of the hidden layers of the MLP.
    """

    name: ClassVar[str] = "appnp"

    hidden: int = 64
    num_layers: int = 2
    hops: int = 10
    alpha: float = 0.1
    dropout: float = 0.5

    def _adjacency(self, data: Any) -> Propagator:
        return Propagator.from_data(data, norm="sym", self_loops=True)

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        mlp = FeatureMLP(
            inputs.num_features, self.hidden, num_classes, self.num_layers, self.dropout, norm=None
        )
        return _PredictThenPropagate(mlp, self.hops, self.alpha)


class _PredictThenPropagate(nn.Module):
    def __init__(self, mlp: FeatureMLP, hops: int, alpha: float) -> None:
        super().__init__()
        self.mlp = mlp
        self.hops, self.alpha = hops, alpha

    def forward(self, x: Features, adj: Propagator) -> Tensor:
        start = self.mlp(x)
        z = start
        for _ in range(self.hops):
            z = (1 - self.alpha) * (adj @ z) + self.alpha * start
        out: Tensor = z
        return out
