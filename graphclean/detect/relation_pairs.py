"""Pairs of alike nodes in blocks: all of them, or those along edges and nearest neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.detect.embedding import nearest, pair_cosines
from graphclean.sparse import Adjacency

_ENTRIES = 2**19
"""Numbers per block: 4 MiB of float64, so that what is done to a block stays in the cache."""


class Block(ABC):
    """Some pairs (i, j) with the cosines of their embeddings, negative ones cut to 0.

    Attributes:
        row: Node numbers i, long.
        col: Node numbers j, long; ``row`` and ``col`` broadcast to the shape of ``cosine``.
        cosine: ``max(0, cos)``, float64; 0 for a node with itself.
    """

    row: Tensor
    col: Tensor
    cosine: Tensor

    @abstractmethod
    def dots(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the inner products of ``left[i]`` and ``right[j]``, from two ``[N, C]``."""

    @abstractmethod
    def add(self, total: Tensor, values: Tensor, columns: Tensor) -> None:
        """Add ``values_ij * columns[j]`` to ``total[i]``; both are ``[N, F]``."""


@dataclass(frozen=True, eq=False)
class _DenseBlock(Block):
    row: Tensor
    col: Tensor
    cosine: Tensor

    def dots(self, left: Tensor, right: Tensor) -> Tensor:
        return left[self.row.view(-1)] @ right[self.col.view(-1)].t()

    def add(self, total: Tensor, values: Tensor, columns: Tensor) -> None:
        total[self.row.view(-1)] += values @ columns[self.col.view(-1)]


@dataclass(frozen=True, eq=False)
class _SparseBlock(Block):
    row: Tensor
    col: Tensor
    cosine: Tensor

    def dots(self, left: Tensor, right: Tensor) -> Tensor:
        return (left[self.row] * right[self.col]).sum(dim=1)

    def add(self, total: Tensor, values: Tensor, columns: Tensor) -> None:
        total.index_add_(0, self.row, values.unsqueeze(1) * columns[self.col])


class Pairs(ABC):
    """A symmetric set of pairs (i, j), i != j."""

    @abstractmethod
    def blocks(self, rows: Tensor) -> Iterator[Block]:
        """Yield all pairs (i, j) with i in ``rows`` ``[N]``, bool, and j a candidate."""


class DensePairs(Pairs):
    """Every node with every candidate.

    Args:
        embedding: Unit rows ``[N, d]``.
        among: Candidates ``[N]``, bool.
    """

    def __init__(self, embedding: Tensor, among: Tensor) -> None:
        self._embedding = embedding.double()
        self._col = among.nonzero().view(1, -1)
        self._columns = self._embedding[self._col.view(-1)].t().contiguous()

    def blocks(self, rows: Tensor) -> Iterator[Block]:
        """Yield some rows and all candidates at a time."""
        step = max(_ENTRIES // max(self._col.shape[1], 1), 1)
        for row in torch.split(rows.nonzero(), step):
            cosine = (self._embedding[row.view(-1)] @ self._columns).clamp_min_(0.0)
            yield _DenseBlock(row, self._col, cosine.masked_fill_(row == self._col, 0.0))


class SparsePairs(Pairs):
    """Pairs that share an edge, or of which one is among the k candidates nearest to the other.

    Args:
        embedding: Unit rows ``[N, d]``.
        among: Candidates ``[N]``, bool.
        adjacency: The edges.
        k: Nearest neighbours.
    """

    def __init__(self, embedding: Tensor, among: Tensor, adjacency: Adjacency, k: int) -> None:
        near = nearest(embedding, k, among)[0].numpy()
        node = np.arange(adjacency.num_nodes)
        row = np.concatenate([np.repeat(node, adjacency.degree), np.repeat(node, near.shape[1])])
        col = np.concatenate([adjacency.matrix.indices, near.reshape(-1)])
        once = (np.ones(len(row), dtype=bool), (np.minimum(row, col), np.maximum(row, col)))
        # Conversion to CSR merges what is there twice, in a tenth of the time of np.unique.
        merged = sp.coo_array(once, shape=adjacency.matrix.shape).tocsr().tocoo()
        low, high = (torch.from_numpy(part).long() for part in merged.coords)
        cosine = pair_cosines(embedding, low, high).clamp_min(0.0)
        sources, targets = torch.cat([low, high]), torch.cat([high, low])
        keep = among[targets]
        self._row, self._col, self._cosine = sources[keep], targets[keep], cosine.repeat(2)[keep]

    def blocks(self, rows: Tensor) -> Iterator[Block]:
        """Yield some pairs at a time."""
        for part in torch.split(rows[self._row].nonzero().view(-1), _ENTRIES):
            yield _SparseBlock(self._row[part], self._col[part], self._cosine[part])
