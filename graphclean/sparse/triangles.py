"""Closed walks along triangles and four-cycles, every cycle found once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

_BLOCK_PATHS = 1 << 18
"""Paths of two edges that are looked at together: some 20 MB, about what a cache holds."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier of Fibonacci hashing: spreads consecutive keys over the whole table."""


@dataclass(frozen=True, eq=False)
class _Ranked:
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
        return self.ahead is self.back


def triangle_walks(matrix: sp.csr_array, *, symmetric: bool) -> np.ndarray:
    r"""Return the weight of the closed three-step walks around triangles.

    .. math::
        t_i = \sum_{\{i,j,k\}} S_{ij} S_{jk} S_{ki} + S_{ik} S_{kj} S_{ji}

    over the triangles at i; without loops this is :math:`\mathrm{diag}(S^3)`. The weight is the
    same at all three corners, so a triangle is sought at its corner of least degree only, among
    the pairs of that corner's neighbours of higher degree: at most :math:`\sqrt{2m}` of them for
    m edges. A hash table of edges discards most pairs before the search.

    Args:
        matrix: Square CSR array ``[N, N]``; loops are ignored.
        symmetric: Whether ``matrix`` is its own transpose.

    Returns:
        ``[N]``, float64.
    """
    edges = _ranked(matrix, symmetric=symmetric, upwards=True)
    num_nodes, num_edges = matrix.shape[0], len(edges.columns)
    key = edges.rows * num_nodes + edges.columns
    shift = _shift(16 * num_edges)
    known = np.zeros(1 << (64 - shift), dtype=bool)
    known[_hash(key, shift)] = True

    walks = np.zeros(num_nodes)
    last = edges.indptr[edges.rows + 1] - 1
    for block in _blocks(last - np.arange(num_edges)):
        edge = np.arange(block.start, block.stop)
        first, second = _spread(edge, edge + 1, last[block] - edge)
        sought = edges.columns[first].astype(np.int64) * num_nodes + edges.columns[second]
        maybe = np.flatnonzero(known[_hash(sought, shift)])
        place = np.searchsorted(key, sought[maybe])
        place[place == num_edges] = 0
        closed = key[place] == sought[maybe]
        first, second, third = first[maybe[closed]], second[maybe[closed]], place[closed]
        weight = edges.ahead[first] * edges.ahead[third] * edges.back[second]
        if edges.symmetric:
            weight *= 2.0
        else:
            weight += edges.ahead[second] * edges.back[third] * edges.back[first]
        for corner in (edges.rows[first], edges.columns[first], edges.columns[second]):
            walks += np.bincount(corner, weight, num_nodes)
    return np.asarray(walks[edges.rank])


def four_cycle_walks(matrix: sp.csr_array, *, symmetric: bool) -> np.ndarray:
    r"""Return the weight of the closed four-step walks around four-cycles.

    .. math::
        q_i = \sum_{j \ne l} \sum_{k \ne i} S_{ij} S_{jk} S_{kl} S_{li}

    over distinct i, j, k, l. A cycle is sought at its corner v of highest degree: the paths
    v - u - w over corners below v are grouped by their two ends, and every two paths of a group
    close a cycle. There are at most :math:`\sum_{(u,v)} \min(d_u, d_v)` of them.

    Args:
        matrix: Square CSR array ``[N, N]``; loops are ignored.
        symmetric: Whether ``matrix`` is its own transpose.

    Returns:
        ``[N]``, float64.
    """
    edges = _ranked(matrix, symmetric=symmetric, upwards=False)
    num_nodes = matrix.shape[0]
    upwards = np.flatnonzero(edges.rows < edges.columns)
    to_top = upwards[np.argsort(edges.columns[upwards], kind="stable")]
    top = edges.columns[to_top]
    begin = edges.indptr[edges.rows[to_top]]
    lower = to_top - begin

    walks = np.zeros(num_nodes)
    meet = _Meetings(4 * _BLOCK_PATHS)
    ends_of_top = np.flatnonzero(np.diff(top, append=-1)) + 1
    for block in _blocks(lower, ends_of_top):
        down, on = _spread(to_top[block], begin[block], lower[block])
        key = edges.columns[down].astype(np.int64) * num_nodes + edges.columns[on]
        shared = meet.repeated(key)
        if not len(shared):
            continue
        down, on, key = down[shared], on[shared], key[shared]
        order = np.argsort(key)
        down, on = down[order], on[order]
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        sizes = np.diff(starts, append=len(key))
        path = edges.back[down] * edges.ahead[on]
        others = np.repeat(np.add.reduceat(path, starts), sizes) - path
        if edges.symmetric:
            weight = 2.0 * path * others
        else:
            reverse = edges.back[on] * edges.ahead[down]
            back = np.repeat(np.add.reduceat(reverse, starts), sizes) - reverse
            weight = path * back + reverse * others
        # Every cycle was counted once at each of its two middles: half of it at either end.
        walks += np.bincount(edges.rows[down], weight, num_nodes)
        for end in (edges.columns[down], edges.columns[on]):
            walks += np.bincount(end, 0.5 * weight, num_nodes)
    return np.asarray(walks[edges.rank])


def four_cycle_work(matrix: sp.csr_array, *, symmetric: bool) -> float:
    """Return how many paths ``four_cycle_walks`` looks at, at most."""
    degree = _degree(matrix)
    rows = np.repeat(degree, np.diff(matrix.indptr))
    paths = float(np.minimum(rows, degree[matrix.indices]).sum())
    return paths / 4.0 if symmetric else paths


class _Meetings:
    """Tells which of many keys may occur more than once; keys that do are never missed."""

    def __init__(self, size: int) -> None:
        self._shift = _shift(size)
        self._last = np.empty(1 << (64 - self._shift), dtype=np.int32)
        self._met = np.zeros(len(self._last), dtype=bool)

    def repeated(self, key: np.ndarray) -> np.ndarray:
        """Return the positions of such keys."""
        place, position = _hash(key, self._shift), np.arange(len(key), dtype=np.int32)
        self._last[place] = position
        met = place[self._last[place] != position]
        self._met[met] = True
        repeated = np.flatnonzero(self._met[place])
        self._met[met] = False
        return repeated


def _ranked(matrix: sp.csr_array, *, symmetric: bool, upwards: bool) -> _Ranked:
    """Renumber the nodes by degree; keep both directions of an edge or the one that rises."""
    num_nodes = matrix.shape[0]
    rank = np.empty(num_nodes, dtype=np.int64)
    rank[np.argsort(_degree(matrix), kind="stable")] = np.arange(num_nodes)
    rank = rank.astype(matrix.indices.dtype)
    rows, columns = np.repeat(rank, np.diff(matrix.indptr)), rank[matrix.indices]
    kept = rows < columns if upwards else rows != columns
    values, rows_kept, columns_kept = matrix.data[kept], rows[kept], columns[kept]
    if not symmetric:
        # The imaginary part carries the transpose: adding both up builds the undirected pattern.
        kept = rows > columns if upwards else kept
        values = np.concatenate([values, 1j * matrix.data[kept]])
        rows_kept = np.concatenate([rows_kept, columns[kept]])
        columns_kept = np.concatenate([columns_kept, rows[kept]])
    del rows, columns, kept
    csr = sp.coo_array((values, (rows_kept, columns_kept)), shape=matrix.shape).tocsr()
    csr.sort_indices()
    if symmetric:
        ahead = back = csr.data.astype(np.float64, copy=False)
    else:
        ahead, back = csr.data.real.copy(), csr.data.imag.copy()
    indptr = csr.indptr.astype(np.int64)
    return _Ranked(
        rank=rank,
        indptr=indptr,
        rows=np.repeat(np.arange(num_nodes), np.diff(indptr)),
        columns=csr.indices,
        ahead=ahead,
        back=back,
    )


def _degree(matrix: sp.csr_array) -> np.ndarray:
    """Count the entries of every row and column together ``[N]``."""
    into = np.bincount(matrix.indices, minlength=matrix.shape[0])
    return np.asarray(into + np.diff(matrix.indptr), dtype=np.int64)


def _blocks(counts: np.ndarray, ends: np.ndarray | None = None) -> Iterator[slice]:
    """Cut a list, at the given ends only, into runs whose counts add up to about a block."""
    total = np.cumsum(counts)
    ends = np.arange(1, len(counts) + 1) if ends is None else ends
    stops = ends[np.flatnonzero(np.diff(total[ends - 1] // _BLOCK_PATHS, append=-1))]
    start = 0
    for stop in stops.tolist():
        yield slice(start, stop)
        start = stop


def _spread(
    item: np.ndarray, begin: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat every item by its count, beside the numbers begin, begin + 1, and so on."""
    before = np.cumsum(counts) - counts
    return np.repeat(item, counts), np.repeat(begin - before, counts) + np.arange(counts.sum())


def _shift(size: int) -> int:
    """Return the shift after which a hash addresses a table of at least ``size`` places."""
    return 64 - min(28, max(6, int(size).bit_length()))


def _hash(key: np.ndarray, shift: int) -> np.ndarray:
    return np.asarray(((key.view(np.uint64) * _GOLDEN) >> np.uint64(shift)).view(np.int64))
