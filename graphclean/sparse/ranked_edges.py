"""The edges of a graph between nodes numbered by rising degree, and how to walk over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class RankedEdges:
    """Edges of the undirected pattern between nodes numbered by rising degree.

    Edge e runs from ``rows[e]`` to ``columns[e]`` with the value ``ahead[e]`` of S and ``back[e]``
    of its transpose; one array serves as both if S is symmetric.
    """

    rank: np.ndarray
    indptr: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    ahead: np.ndarray
    back: np.ndarray

    @property
    def symmetric(self) -> bool:
        """Whether S is its own transpose."""
        return self.ahead is self.back

    def by_column(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows, columns and positions of the edges, sorted by column, then row."""
        num_nodes = len(self.rank)
        position = np.arange(len(self.columns), dtype=self.columns.dtype)
        parts = (position, self.columns, self.indptr)
        csc = sp.csr_array(parts, shape=(num_nodes, num_nodes)).tocsc()
        columns = np.repeat(np.arange(num_nodes), np.diff(csc.indptr))
        return csc.indices, columns, csc.data


def ranked_edges(matrix: sp.csr_array, *, symmetric: bool, upwards: bool) -> RankedEdges:
    """Renumber the nodes by degree; keep both directions of an edge or the one that rises."""
    num_nodes = matrix.shape[0]
    if not symmetric:
        # The imaginary part carries the transpose: adding both up builds the undirected pattern.
        matrix = sp.csr_array(matrix + 1j * matrix.T)
    by_degree = np.argsort(np.diff(matrix.indptr), kind="stable")
    rank = np.empty(num_nodes, dtype=matrix.indices.dtype)
    rank[by_degree] = np.arange(num_nodes, dtype=rank.dtype)
    rows, columns = np.repeat(rank, np.diff(matrix.indptr)), rank.take(matrix.indices)
    kept = rows > columns if upwards else rows != columns
    before = np.zeros(len(kept) + 1, dtype=matrix.indptr.dtype)
    np.cumsum(kept, out=before[1:])
    parts = (matrix.data.compress(kept), columns.compress(kept), before.take(matrix.indptr))
    del rows, columns, kept, before
    # Transposing sorts the columns, and turns the edges that fall into those that rise.
    csr = sp.csr_array(parts, shape=matrix.shape)[by_degree].T.tocsr()
    if symmetric:
        ahead = back = csr.data.astype(np.float64, copy=False)
    else:
        ahead, back = csr.data.imag.copy(), csr.data.real.copy()
    indptr = csr.indptr.astype(np.int64)
    return RankedEdges(
        rank=rank,
        indptr=indptr,
        rows=np.repeat(np.arange(num_nodes), np.diff(indptr)),
        columns=csr.indices.astype(np.int64),
        ahead=ahead,
        back=back,
    )


def undirected_degree(matrix: sp.csr_array) -> np.ndarray:
    """Count the entries of every row and column together ``[N]``."""
    into = np.bincount(matrix.indices, minlength=matrix.shape[0])
    return np.asarray(into + np.diff(matrix.indptr), dtype=np.int64)


def blocks(counts: np.ndarray, size: int, ends: np.ndarray | None = None) -> Iterator[slice]:
    """Cut a list, at the given ends only, into runs whose counts add up to about a size."""
    total = np.cumsum(counts)
    ends = np.arange(1, len(counts) + 1) if ends is None else ends
    stops = ends[np.flatnonzero(np.diff(total[ends - 1] // size, append=-1))]
    start = 0
    for stop in stops.tolist():
        yield slice(start, stop)
        start = stop
