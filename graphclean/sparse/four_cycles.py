"""Closed walks along four-cycles, every cycle found once."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from graphclean.sparse.ranked_edges import blocks, ranked_edges, undirected_degree

_BLOCK_PATHS = 1 << 18
"""Paths of two edges that are looked at together: some 20 MB, about what a cache holds."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Multiplier of Fibonacci hashing: spreads consecutive keys over the whole table."""


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
    edges = ranked_edges(matrix, symmetric=symmetric, upwards=False)
    num_nodes = matrix.shape[0]
    upwards = np.flatnonzero(edges.rows < edges.columns)
    to_top = upwards[np.argsort(edges.columns[upwards], kind="stable")]
    top = edges.columns[to_top]
    begin = edges.indptr[edges.rows[to_top]]
    lower = to_top - begin

    walks = np.zeros(num_nodes)
    meet = _Meetings(4 * _BLOCK_PATHS)
    ends_of_top = np.flatnonzero(np.diff(top, append=-1)) + 1
    for block in blocks(lower, _BLOCK_PATHS, ends_of_top):
        down, on = _spread(to_top[block], begin[block], lower[block])
        key = edges.columns[down] * num_nodes + edges.columns[on]
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
    degree = undirected_degree(matrix)
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
