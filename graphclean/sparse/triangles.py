"""Closed walks along triangles, every triangle found once."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from graphclean.sparse.ranked_edges import RankedEdges, blocks, ranked_edges
from graphclean.types import InputError

_BLOCK_PAIRS = 1 << 16
"""Pairs of edges that are looked at together: their arrays stay in a core's own cache."""

_PLACES_PER_EDGE = 4
"""Places of the table of edges: about one edge in eight does not get its own."""

_MOST_EDGES = 1 << 24
"""Edges up to which the table grows: half a gigabyte. Beyond, more of them share a place."""

_POSITION_BITS = 31
"""Bits of a word of the table that hold an edge's position; its column takes as many above."""

_SHARED = 1 << 62
"""Bit of a word that tells of other edges at the same place."""


def triangle_walks(matrix: sp.csr_array, *, symmetric: bool) -> np.ndarray:
    r"""Return the weight of the closed three-step walks around triangles.

    .. math::
        t_i = \sum_{\{i,j,k\}} S_{ij} S_{jk} S_{ki} + S_{ik} S_{kj} S_{ji}

    over the triangles at i; without loops this is :math:`\mathrm{diag}(S^3)`. A triangle u, v, w
    of rising degree is sought at u, among the pairs of u's neighbours of higher degree: at most
    :math:`\sqrt{2m}` per edge for m edges. A hash table finds the edge v - w that closes the pair
    u - v, u - w. The pairs are taken in the order of v, so that what they look up lies together.

    Args:
        matrix: Square CSR array ``[N, N]``; loops are ignored.
        symmetric: Whether ``matrix`` is its own transpose.

    Returns:
        ``[N]``, float64.
    """
    edges = ranked_edges(matrix, symmetric=symmetric, upwards=True)
    num_nodes, num_edges = matrix.shape[0], len(edges.columns)
    table = _EdgeTable(edges)
    bottom, middle, first = edges.by_column()
    pairs = edges.indptr[1:].take(bottom) - first - 1
    before = np.cumsum(pairs) - pairs
    begin = first + 1 - before
    offset = table.offset.take(middle)
    # A symmetric matrix has the same weight in both directions around a triangle.
    turns = [(edges.ahead, edges.back), (edges.back, edges.ahead)][: 1 if edges.symmetric else 2]

    def weigh(block: slice) -> tuple[slice, np.ndarray, slice, np.ndarray]:
        """Return the weight at the first edges u - v of the pairs and at the third ones v - w."""
        counts, passed = pairs[block], before[block.start]
        second = np.repeat(begin[block], counts)
        second += np.arange(passed, passed + len(second))
        column = edges.columns.take(second)
        place = np.repeat(offset[block], counts)
        place += column
        closed, found, third = table.find(place, column)
        second = second.compress(closed)
        indptr = np.append(found.take(before[block] - passed), found[-1])
        start, stop = edges.indptr[middle[block.start]], edges.indptr[middle[block.stop - 1] + 1]
        third = (third - start).astype(np.int32)
        shape = (len(counts), stop - start)
        at_first, at_third = np.zeros(shape[0]), np.zeros(shape[1])
        for ahead, back in turns:
            closing = sp.csr_array((back.take(second), third, indptr), shape=shape)
            value = ahead.take(first[block])
            at_first += value * (closing @ ahead[start:stop])
            at_third += ahead[start:stop] * (closing.T @ value)
        return block, at_first, slice(start, stop), at_third

    at_first, at_third = np.zeros(num_edges), np.zeros(num_edges)
    for block, first_weight, third, third_weight in map(weigh, blocks(pairs, _BLOCK_PAIRS)):
        at_first[block] = first_weight
        at_third[third] += third_weight
    walks = np.bincount(bottom, at_first, num_nodes)
    for corner in (edges.rows, edges.columns):
        walks += np.bincount(corner, at_third, num_nodes)
    return np.asarray(walks[edges.rank] * (2.0 if edges.symmetric else 1.0))


class _EdgeTable:
    """Finds edges by their ends: the edge u - v lies at the place ``offset[u] + v`` of a table.

    No two nodes have the same offset, so a place and a column name an edge. A place holds a word:
    the column and the position of the last edge that lies there, 31 bits each, and a bit that
    tells whether it lies there with others, which are found by bisection.
    """

    def __init__(self, edges: RankedEdges) -> None:
        num_nodes, column = len(edges.rank), edges.columns
        if max(num_nodes, len(column)) >= 1 << _POSITION_BITS:
            raise InputError("matrix", f"{len(column)} edges", "Pass fewer than 2^31.")
        places = max(_PLACES_PER_EDGE * min(len(column), _MOST_EDGES), num_nodes, 2)
        bits = (places - 1).bit_length()
        # An odd multiplier near the golden section spreads the offsets and repeats none.
        self.offset = np.arange(num_nodes) * (int(0.618033988749895 * 2**bits) | 1) & (2**bits - 1)
        self._num_nodes = num_nodes
        place = self.offset.take(edges.rows)
        place += column
        word = column << _POSITION_BITS
        word += np.arange(len(column))
        self._words = np.full(2**bits + num_nodes, _SHARED - 1)
        self._words[place] = word
        displaced = np.flatnonzero(self._words.take(place) != word)
        self._words[place[displaced]] |= _SHARED
        key = self._key(place[displaced], column[displaced])
        order = np.argsort(key)
        self._displaced, self._displaced_key = displaced[order], key[order]

    def find(
        self, place: np.ndarray, column: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whether each edge exists, how many do before it, and where those that do are."""
        word = self._words.take(place)
        word ^= column << _POSITION_BITS
        exists = word & ~_SHARED < 1 << _POSITION_BITS
        unsure = np.flatnonzero(word >= _SHARED + (1 << _POSITION_BITS))
        key = self._key(place[unsure], column[unsure])
        nearest = np.searchsorted(self._displaced_key, key)
        same = self._displaced_key.take(nearest, mode="clip") == key
        unsure = unsure[same]
        exists[unsure] = True
        word[unsure] = self._displaced[nearest[same]]
        before = np.zeros(len(exists) + 1, dtype=np.int32)
        np.cumsum(exists, out=before[1:])
        edge = word.compress(exists)
        edge &= (1 << _POSITION_BITS) - 1
        return exists, before, edge

    def _key(self, place: np.ndarray, column: np.ndarray) -> np.ndarray:
        return np.asarray((place - column) * self._num_nodes + column)
