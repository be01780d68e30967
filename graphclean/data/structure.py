"""Where a node stands in the graph: degree, PageRank, core number, clustering."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.triangles import triangle_walks

STRUCTURE_NAMES = ("log_degree", "log_pagerank", "core_number", "clustering")


def structural_columns(graph: Adjacency) -> np.ndarray:
    r"""Describe every node by the graph alone; no label and no edge weight is read.

    The columns are :math:`\log(1 + d_i)`; :math:`\log(N \pi_i)` with the PageRank :math:`\pi`, 0
    for a node of average rank; the core number; and the clustering coefficient.

    Args:
        graph: Symmetric adjacency without loops.

    Returns:
        Float32 ``[N, 4]``, finite, in the order of `STRUCTURE_NAMES`; made once per graph.
    """
    key = "structural columns"
    if key not in graph.memo:
        matrix = graph.matrix
        structure = sp.csr_array(
            (np.ones(len(matrix.data)), matrix.indices, matrix.indptr), shape=matrix.shape
        )
        columns = (
            np.log1p(graph.degree),
            np.log(graph.num_nodes * pagerank(structure)),
            core_number(structure),
            clustering(structure),
        )
        graph.memo[key] = np.stack(columns, axis=1).astype(np.float32)
    kept: np.ndarray = graph.memo[key]
    return kept


def pagerank(
    structure: sp.csr_array, *, damping: float = 0.85, tolerance: float = 1e-10
) -> np.ndarray:
    r"""PageRank of an undirected graph, by power iteration.

    .. math:: \pi = \alpha \left(A D^{-1} \pi + \frac{s}{N}\right) + \frac{1 - \alpha}{N}

    with :math:`s` the rank of the nodes without an edge, which is spread over all nodes.

    Args:
        structure: Symmetric ``[N, N]`` of ones, no loops.
        damping: :math:`\alpha`, in [0, 1).
        tolerance: The iteration ends when :math:`\|\Delta\pi\|_1` is below it.

    Returns:
        Float64 ``[N]``, positive, sums to 1.

    Brin and Page, *The anatomy of a large-scale hypertextual web search engine*, 1998.
    """
    nodes = structure.shape[0]
    degree = np.diff(structure.indptr)
    alone = degree == 0
    inverse = 1.0 / np.maximum(degree, 1)
    rank = np.full(nodes, 1.0 / nodes)
    change = np.inf
    while change > tolerance:
        # The change shrinks by the damping in every step, whatever the graph.
        spread = damping * rank[alone].sum() + 1.0 - damping
        new = damping * (structure @ (rank * inverse)) + spread / nodes
        new /= new.sum()
        change = np.abs(new - rank).sum()
        rank = new
    return rank


def core_number(structure: sp.csr_array) -> np.ndarray:
    """Largest k such that the node belongs to a subgraph in which all degrees are at least k.

    Nodes of the smallest degree are peeled off, all that there are at once, then those that fall
    to the same degree through it, and so on: every edge is looked at twice.

    Args:
        structure: Symmetric ``[N, N]`` without loops.

    Returns:
        Int64 ``[N]``, 0 for a node without an edge.

    Batagelj and Zaversnik, *An O(m) algorithm for cores decomposition of networks*, 2003.
    """
    indptr, indices = structure.indptr.astype(np.int64), structure.indices
    degree = np.diff(indptr)
    core = np.zeros(len(degree), dtype=np.int64)
    alive = np.ones(len(degree), dtype=bool)
    left = np.arange(len(degree))
    level = 0
    while len(left):
        level = max(level, int(degree[left].min()))
        peeled = left[degree[left] <= level]
        while len(peeled):
            alive[peeled], core[peeled] = False, level
            neighbours = indices[_ranges(indptr[peeled], indptr[peeled + 1])]
            touched, lost = np.unique(neighbours[alive[neighbours]], return_counts=True)
            degree[touched] -= lost
            peeled = touched[degree[touched] <= level]
        left = left[alive[left]]
    return core


def clustering(structure: sp.csr_array) -> np.ndarray:
    r"""Share of the pairs of a node's neighbours that are joined.

    .. math:: c_i = (A^3)_{ii} \,/\, d_i (d_i - 1)

    Args:
        structure: Symmetric ``[N, N]`` of ones, no loops.

    Returns:
        Float64 ``[N]`` in [0, 1]; 0 for fewer than two neighbours.
    """
    degree = np.diff(structure.indptr).astype(np.float64)
    pairs = degree * (degree - 1.0)
    closed = triangle_walks(structure, symmetric=True)
    share: np.ndarray = closed / np.maximum(pairs, 1.0)
    return share


def _ranges(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the numbers from each begin up to its end, one range after the other."""
    lengths = end - begin
    starts = np.repeat(begin - np.cumsum(lengths) + lengths, lengths)
    ranges: np.ndarray = starts + np.arange(len(starts))
    return ranges
