"""What networks of convolutions share: one sparse operator a layer, whole or sampled."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from graphclean.nn.batches import Batches, GraphReader, Reader, RowReader, SampledReader
from graphclean.nn.dropout import Dropout
from graphclean.nn.features import Collected, Features, InputLinear
from graphclean.nn.matrix import SparseMatrix
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.nn.supervision import Supervision
from graphclean.sparse.propagator import Propagator
from graphclean.sparse.sampler import NeighbourSampler
from graphclean.types import InputError

Layer = Propagator | SparseMatrix
"""Operator of one layer: of the whole graph, or ``[targets, sources]`` of a sample."""


@estimator
class LayeredClassifier(NeuralClassifier):
    """Base of the networks whose layers each collect from the neighbours once.

    Trained by mini-batches, or with a ``fanout``, a step reads what its rows need: their
    neighbours, the neighbours of these and so on, all of them or a sample without bias that is
    drawn anew every time. Validation and prediction always read the whole graph, layer by layer.

    Args:
        num_layers: Number of convolutions.
        fanout: Neighbours of a node that a training step reads, drawn without replacement: a
            number, or one for every layer, that of the training rows' own neighbours first. None or
            -1 for all of them, which gives the full-batch gradient of these rows (except through
            batch norm, whose statistics are those of the nodes that are read).
    """

    num_layers: int = 2
    fanout: tuple[int, ...] | int | None = None

    def _reader(
        self, network: nn.Module, inputs: Prepared, labels: Supervision, batches: Batches
    ) -> Reader:
        fanout = -1 if self.fanout is None else self.fanout
        fanouts = fanout if isinstance(fanout, (tuple, list)) else (fanout,) * self.num_layers
        if len(fanouts) != self.num_layers:
            raise InputError(
                "fanout", fanouts, f"Pass a number, or one for each of {self.num_layers} layers."
            )
        if isinstance(inputs.x, Collected):
            fanouts = fanouts[:-1]
        if not fanouts:
            return RowReader(network, replace(inputs, adj=None), labels, batches.number == 1)
        if self.fanout is None and batches.number == 1:
            return GraphReader(network, inputs, labels)
        sampler = NeighbourSampler(self._operator(inputs), fanouts, generator=batches.generator)
        return SampledReader(network, inputs, labels, sampler)

    def _operator(self, inputs: Prepared) -> Propagator:
        """Return the operator whose rows are sampled."""
        operator: Any = inputs.adj
        assert isinstance(operator, Propagator)
        return operator


@estimator
class ConvolutionalClassifier(LayeredClassifier):
    """Base of the classifiers over PyG's ``BasicGNN``; a subclass names its network.

    What the first layer collects from dense features is the same in every step. Without input
    dropout it is made once, in ``prepare``, from all neighbours: two of the four sparse products of
    a step of two layers are saved, and the outermost hop of every mini-batch, whose ``fanout`` then
    has nothing to limit.

    Args:
        hidden: Width of the hidden layers.
        num_layers: Number of convolutions.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    hidden: int = 64
    norm: str | None = None
    dropout: float = 0.5

    reads_own: ClassVar[bool] = False
    """Whether a layer reads a node's own features apart from the sums."""

    def _prepare(self, data: Any) -> Prepared:
        inputs = super()._prepare(data)
        if not isinstance(inputs.x, Tensor) or self.input_dropout > 0:
            return inputs
        own = inputs.x if self.reads_own else None
        return replace(inputs, x=Collected(self._operator(inputs) @ inputs.x, own))

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


class Layered:
    """Mixin of PyG's ``BasicGNN``: its forward pass, with an operator for every layer."""

    convs: Any
    norms: Any
    act: Any
    dropout: Any

    def forward(self, x: Features | Collected, adj: Layer | list[SparseMatrix] | None) -> Tensor:
        """Return logits ``[N, C]``, of a sample ``[b, C]``.

        Collected features need no operator for the first layer: a list may lack it.
        """
        layers: list[Any] = adj if isinstance(adj, list) else [adj] * len(self.convs)
        layers = [None] * (len(self.convs) - len(layers)) + layers
        last = self.convs[-1]
        h: Any = x
        for conv, norm, layer in zip(self.convs, self.norms, layers, strict=True):
            h = conv(h, layer)
            if conv is not last:
                h = self.dropout(self.act(norm(h)))
        logits: Tensor = h
        return logits


def collect(linear: InputLinear, x: Features | Collected, layer: Layer | None) -> Tensor:
    r"""Return :math:`S X W^\top` from the sums that are known, else from the narrower product."""
    if isinstance(x, Collected):
        return linear.project(x.sums)
    assert layer is not None
    product: Tensor = layer @ linear.project(x)
    return product


def targets(x: Any, layer: Layer | None) -> Any:
    """Return the rows of ``x`` whose nodes a layer computes: all, or the first ones of a sample."""
    if isinstance(x, Collected):
        return x.own
    assert layer is not None
    if isinstance(layer, Propagator) or layer.shape[0] == x.shape[0]:
        return x
    rows = slice(layer.shape[0])
    return x[rows] if isinstance(x, Tensor) else x.rows(rows)
