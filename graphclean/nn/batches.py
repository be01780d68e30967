"""Which rows train in which step, and how a network reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from graphclean.nn.matrix import SparseMatrix
from graphclean.nn.prepared import Prepared
from graphclean.nn.supervision import Supervision
from graphclean.sparse.sampler import NeighbourSampler

Rows = slice | Tensor
"""Positions among the training rows; ``slice(None)`` for all of them."""

BLOCK_ROWS = 2**15
"""Rows that a network without adjacency predicts at once: bounds what its layers hold."""


class Batches:
    """Shuffled mini-batches of ``count`` training rows, anew in every epoch.

    The rows are dealt into ``ceil(count / batch_size)`` batches whose sizes differ by at most one.
    One batch is all rows in their own order, so that a large ``batch_size`` is full batch exactly.

    Args:
        count: Number of training rows n.
        batch_size: Rows of a batch at most; None for all.
        seed: Seed of the order.

    Attributes:
        number: Number of batches.
        generator: Where all draws of the batches come from.
    """

    def __init__(self, count: int, batch_size: int | None, seed: int) -> None:
        self.count = count
        self.number = 1 if batch_size is None else -(-count // batch_size)
        self.generator = torch.Generator().manual_seed(seed)

    def epoch(self) -> Iterator[Rows]:
        """Yield the batches of the next epoch, as positions among the training rows."""
        if self.number == 1:
            yield slice(None)
        else:
            order = torch.randperm(self.count, generator=self.generator)
            yield from order.tensor_split(self.number)


class Reader(Protocol):
    """Computes the logits that the training loop asks for."""

    def train_logits(self, rows: Rows) -> Tensor:
        """Return logits ``[b, C]`` of some training rows."""

    def val_logits(self, rows: slice) -> Tensor:
        """Return logits ``[b, C]`` of some validation rows; called in evaluation mode."""


class RowReader:
    """Reads row by row what needs no neighbours: no step touches other rows than its own.

    The rows of a full batch are copied once; those of a mini-batch when they are due.
    """

    def __init__(
        self, network: nn.Module, inputs: Prepared, labels: Supervision, full_batch: bool
    ) -> None:
        self.network, self.inputs, self.labels = network, inputs, labels
        self.full_batch = full_batch
        self._kept: dict[str, Prepared] = {}

    def train_logits(self, rows: Rows) -> Tensor:
        """Return logits of the training rows, computed from them alone."""
        if not isinstance(rows, slice):
            return self._logits(self.inputs.rows(self.labels.train_index[rows]))
        return self._logits(self._once("train", self.labels.train_index[rows]))

    def val_logits(self, rows: slice) -> Tensor:
        """Return logits of the validation rows, a block at a time."""
        index = self.labels.val_index[rows]
        if self.full_batch and len(index) <= BLOCK_ROWS:
            return self._logits(self._once("val", index))
        return torch.cat(
            [self._logits(self.inputs.rows(i)) for i in torch.split(index, BLOCK_ROWS)]
        )

    def _logits(self, inputs: Prepared) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits

    def _once(self, key: str, index: Tensor) -> Prepared:
        if key not in self._kept:
            self._kept[key] = self.inputs.rows(index)
        return self._kept[key]


def predict(network: Callable[[Prepared], Tensor], inputs: Prepared, device: Any) -> Tensor:
    """Return what the network makes of all rows ``[N, C]``, on the CPU.

    A network without adjacency reads a block of rows at a time; one with adjacency the whole graph,
    which without gradients holds no more than one layer's input and output.
    """
    size = inputs.num_nodes if inputs.adj is not None else BLOCK_ROWS
    if inputs.num_nodes <= size:
        return network(inputs.to(device)).cpu()
    blocks = (slice(start, start + size) for start in range(0, inputs.num_nodes, size))
    return torch.cat([network(inputs.rows(block).to(device)).cpu() for block in blocks])


class GraphReader:
    """Reads the whole graph in every step and picks rows of the result."""

    def __init__(self, network: nn.Module, inputs: Prepared, labels: Supervision) -> None:
        self.network, self.inputs, self.labels = network, inputs, labels

    def train_logits(self, rows: Rows) -> Tensor:
        """Return the training rows of the logits of all nodes."""
        logits: Tensor = self.network(self.inputs)
        return logits[self.labels.train_index[rows]]

    def val_logits(self, rows: slice) -> Tensor:
        """Return the validation rows of the logits of all nodes."""
        logits: Tensor = self.network(self.inputs)
        return logits[self.labels.val_index[rows]]


class SampledReader(GraphReader):
    """Reads for a training step the rows it needs and a sample of their neighbours."""

    def __init__(
        self, network: nn.Module, inputs: Prepared, labels: Supervision, sampler: NeighbourSampler
    ) -> None:
        super().__init__(network, inputs, labels)
        self.sampler = sampler

    def train_logits(self, rows: Rows) -> Tensor:
        """Return the logits of the training rows, computed from their sampled neighbourhoods."""
        index = self.labels.train_index[rows]
        batch = self.sampler.sample(index).to(index.device)
        layers = [SparseMatrix(layer) for layer in batch.layers]
        logits: Tensor = self.network(replace(self.inputs.rows(batch.nodes), adj=layers))
        return logits
