"""LINKX: the rows of the adjacency and the features, embedded apart and mixed by an MLP."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch_geometric.nn.models import LINKX as PyGLINKX
from torch_geometric.nn.models.linkx import SparseLinear as AdjacencyLinear

from graphclean.nn.features import InputLinear
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError


@estimator
class LINKX(NeuralClassifier):
    r"""LINKX (Lim et al., https://arxiv.org/abs/2110.14446), for graphs without homophily.

    .. math::
        H_A = \mathrm{MLP}_A(A), \quad H_X = \mathrm{MLP}_X(X), \quad
        Z = \mathrm{MLP}_f\left( \sigma( W [H_A \,\|\, H_X] + H_A + H_X ) \right)

    PyG's ``LINKX``. The first layer holds one weight row per node: the model predicts only on the
    graph it was fitted on.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of hidden layers of :math:`\mathrm{MLP}_f`.
        num_edge_layers: Number of layers of :math:`\mathrm{MLP}_A`.
        num_node_layers: Number of layers of :math:`\mathrm{MLP}_X`.
        dropout: Dropout probability of the hidden layers of :math:`\mathrm{MLP}_f`.
    """

    name: ClassVar[str] = "linkx"

    hidden: int = 64
    num_layers: int = 1
    num_edge_layers: int = 1
    num_node_layers: int = 1
    dropout: float = 0.5

    def _adjacency(self, data: Any) -> Propagator:
        return Propagator.from_data(data, norm="none")

    def _check_inputs(self, inputs: Prepared) -> None:
        super()._check_inputs(inputs)
        if inputs.num_nodes != self.module_.body.num_nodes:
            raise InputError(
                "data",
                f"{inputs.num_nodes} nodes",
                f"LINKX predicts only on its own graph of {self.module_.body.num_nodes} nodes.",
            )

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        network: Any = PyGLINKX(
            inputs.num_nodes,
            inputs.num_features,
            self.hidden,
            num_classes,
            self.num_layers,
            self.num_edge_layers,
            self.num_node_layers,
            dropout=self.dropout,
        )
        network.edge_lin = _AdjacencyLinear(inputs.num_nodes, self.hidden)
        network.node_mlp.lins[0] = InputLinear.like(network.node_mlp.lins[0])
        built: nn.Module = network
        return built


class _AdjacencyLinear(AdjacencyLinear):  # type: ignore[misc]
    def forward(self, adj: Propagator, edge_weight: None = None) -> Tensor:
        out: Tensor = adj @ self.weight + self.bias
        return out
