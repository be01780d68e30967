"""Mini-batches of a graph: a few neighbours of a few nodes, hop by hop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.product import to_torch_csr
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError, Seed, torch_rng


@dataclass(frozen=True, eq=False)
class SampledBatch:
    """What a network of L layers reads to compute the rows of a few seeds.

    ``h = x[batch.nodes]``, then ``h = layer @ h`` for every layer: what is left are the rows of
    the seeds. The targets of a layer are the first of its sources, ``h[: layer.shape[0]]``.

    Attributes:
        nodes: Nodes ``[n_0]``, long, without repetition; the seeds first, in their order.
        layers: Operators ``[n_1, n_0], [n_2, n_1], ..., [b, n_{L-1}]``, ``torch.sparse_csr``, from
            the outermost hop to the seeds.
    """

    nodes: Tensor
    layers: list[Tensor]

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on ``device``."""
        return type(self)(self.nodes.to(device), [layer.to(device) for layer in self.layers])


class NeighbourSampler:
    r"""Samples the rows of an operator S that a mini-batch needs, without bias.

    .. math::
        \hat S_{ij} = \frac{d_i}{k_i} S_{ij} \;\text{ for the } k_i = \min(d_i, \text{fan-out})
        \text{ of the } d_i \text{ neighbours that were drawn},
        \qquad \mathrm{E}[\hat S X] = S X

    The neighbours of a node are drawn uniformly and without replacement (Floyd's algorithm; Bentley
    and Floyd, CACM 1987), anew for every layer, as GraphSAGE does (Hamilton et al., NeurIPS 2017,
    arXiv:1706.02216). Without weights, row normalisation gives their mean. Self-loops are no
    neighbours: they are always kept. With fan-outs of -1 nothing is left out and the product is
    exact. Work is proportional to the sample: the graph may be mapped from disk (`open_csr`).

    A sampler serves one thread: it keeps an int32 scratch array ``[N]``.

    Args:
        graph: The operator S, `Propagator` or `MappedPropagator`; of an `Adjacency`, A itself.
        fanouts: Neighbours per node and hop, the seeds' first; -1 for all.
        generator: Generator or seed of the draws.

    Raises:
        InputError: No fan-out, or one that is neither positive nor -1.
    """

    def __init__(
        self,
        graph: Adjacency | Propagator,
        fanouts: Sequence[int],
        *,
        generator: torch.Generator | Seed = None,
    ) -> None:
        wrong = [fanout for fanout in fanouts if fanout != -1 and fanout < 1]
        if wrong or not fanouts:
            raise InputError(
                "fanouts", list(fanouts), "Pass a positive number for every hop, or -1 for all."
            )
        self.fanouts = list(fanouts)
        self.generator = torch_rng(generator)
        operator = graph if isinstance(graph, Propagator) else None
        self.adjacency = graph.adjacency if isinstance(graph, Propagator) else graph
        self.dtype = torch.float32 if operator is None else operator.dtype
        self._scales = None if operator is None else (operator.left, operator.right)
        self._loops = operator is not None and operator.self_loops
        self._local = np.full(self.adjacency.num_nodes, -1, dtype=np.int32)

    def sample(self, seeds: Tensor) -> SampledBatch:
        """Draw the neighbourhood of some nodes.

        Args:
            seeds: Distinct nodes ``[b]``, long.

        Raises:
            InputError: A seed that is no node, or one that comes twice.
        """
        nodes = self._checked(seeds)
        layers = []
        try:
            for fanout in self.fanouts:
                nodes, layer = self._layer(nodes, fanout)
                layers.append(layer)
        finally:
            self._local[nodes] = -1
        return SampledBatch(torch.from_numpy(nodes), layers[::-1])

    def _checked(self, seeds: Tensor) -> np.ndarray:
        nodes: np.ndarray = seeds.detach().cpu().numpy().astype(np.int64)
        outside = nodes[(nodes < 0) | (nodes >= self.adjacency.num_nodes)]
        if len(outside):
            raise InputError(
                "seeds", int(outside[0]), f"Pass nodes 0..{self.adjacency.num_nodes - 1}."
            )
        self._local[nodes] = np.arange(len(nodes))
        twice = nodes[self._local[nodes] != np.arange(len(nodes))]
        if len(twice):
            self._local[nodes] = -1
            raise InputError("seeds", f"node {int(twice[0])} twice", "Pass each node once.")
        return nodes

    def _layer(self, targets: np.ndarray, fanout: int) -> tuple[np.ndarray, Tensor]:
        """Return the sources of a layer, the targets first, and its operator."""
        matrix = self.adjacency.matrix
        begin = matrix.indptr[targets].astype(np.int64)
        degree = matrix.indptr[targets + 1] - begin
        taken = degree if fanout < 0 else np.minimum(degree, fanout)
        start = np.concatenate([[0], np.cumsum(taken)])
        places = np.repeat(begin - start[:-1], taken) + np.arange(start[-1])
        many = np.flatnonzero(degree > taken)
        if len(many):
            drawn = self._distinct(degree[many], fanout)
            places[start[many] + np.arange(fanout)[:, None]] = begin[many] + drawn
        source = matrix.indices[places]
        row = np.repeat(np.arange(len(targets)), taken)
        values = np.repeat(degree / np.maximum(taken, 1), taken)
        if self.adjacency.weighted:
            values *= matrix.data[places]
        nodes = self._extended(targets, source)
        column = self._local[source]
        if self._loops:
            own = np.arange(len(targets))
            place = start[1:]
            row, column = np.insert(row, place, own), np.insert(column, place, own)
            values = np.insert(values, place, 1.0)
            start = start + np.arange(len(start))
        if self._scales is not None:
            left, right = self._scales
            values *= left[targets][row] * right[nodes][column]
        shape = (len(targets), len(nodes))
        layer = to_torch_csr(sp.csr_array((values, column, start), shape=shape), self.dtype)
        return nodes, layer

    def _distinct(self, degree: np.ndarray, count: int) -> np.ndarray:
        """Draw ``count`` distinct numbers below each degree, which is larger; ``[count, n]``."""
        last = degree + np.arange(-count, 0)[:, None]
        uniform = torch.rand(last.shape, generator=self.generator, dtype=torch.float64).numpy()
        drawn: np.ndarray = (uniform * (last + 1)).astype(np.int64)
        for turn in range(1, count):
            known = (drawn[:turn] == drawn[turn]).any(axis=0)
            drawn[turn, known] = last[turn, known]
        return drawn

    def _extended(self, nodes: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Give new sources local numbers and return all nodes; old ones keep theirs."""
        new = source[self._local[source] < 0].astype(np.int64)
        # Of equal entries the last one is kept: each new node once, in a fixed order.
        self._local[new] = np.arange(len(new))
        new = new[self._local[new] == np.arange(len(new))]
        self._local[new] = np.arange(len(nodes), len(nodes) + len(new))
        return np.concatenate([nodes, new])
