"""Diagonals of matrix powers: how much of a k-hop walk returns to where it began."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from graphclean.types import InputError

_FILL_BUDGET = 8_000_000
"""Entries of a streamed block of a matrix power that are held at once."""


def closed_walk_diagonal(matrix: sp.csr_array, hops: int) -> np.ndarray:
    r"""Return :math:`\mathrm{diag}(S^k)` exactly, without storing a power of S.

    .. math::
        (S^2)_{ii} = \sum_j S_{ij} S_{ji}, \qquad
        (S^{a+b})_{ii} = \sum_j (S^a)_{ij} (S^b)_{ji}

    The cube of a symmetric matrix is a sum over triangles, each found once through edges oriented
    from low to high degree; higher powers stream blocks of rows of bounded size.

    Args:
        matrix: Square CSR array ``[N, N]``, any sign, weighted or directed.
        hops: Power k >= 1.

    Returns:
        Diagonal ``[N]``, float64.

    Raises:
        InputError: ``hops`` is not a positive integer.
    """
    if hops < 1:
        raise InputError("hops", hops, "Pass a positive integer.")
    if hops == 1:
        return np.asarray(matrix.diagonal(), dtype=np.float64)
    transposed = matrix.T.tocsr()
    if hops == 2:
        return _row_sums(matrix.multiply(transposed))
    if hops == 3 and matrix.diagonal().sum() == 0 and _equal(matrix, transposed):
        return _triangle_diagonal(matrix)
    return _streamed_diagonal(matrix, transposed, hops)


def _triangle_diagonal(matrix: sp.csr_array) -> np.ndarray:
    degree = np.diff(matrix.indptr)
    rank = np.empty(len(degree), dtype=np.int64)
    rank[np.argsort(degree, kind="stable")] = np.arange(len(degree))
    coo = matrix.tocoo()
    up = rank[coo.row] < rank[coo.col]
    entries = (coo.data[up], (coo.row[up], coo.col[up]))
    oriented = sp.coo_array(entries, shape=matrix.shape).tocsr()
    downward = oriented.T.tocsr()
    diagonal = np.zeros(matrix.shape[0])
    # A triangle a < b < c is counted at its lowest corner a through the path a-b-c closed by a-c,
    # at c through the same product's column sums, and at b through the path b-a-c closed by b-c.
    for rows in _row_blocks(oriented, oriented):
        through = (oriented[rows] @ oriented).multiply(oriented[rows])
        diagonal[rows] += _row_sums(through)
        diagonal += np.asarray(through.sum(axis=0)).reshape(-1)
    for rows in _row_blocks(downward, oriented):
        diagonal[rows] += _row_sums((downward[rows] @ oriented).multiply(oriented[rows]))
    return 2.0 * diagonal


def _streamed_diagonal(matrix: sp.csr_array, transposed: sp.csr_array, hops: int) -> np.ndarray:
    left_hops, right_hops = (hops + 1) // 2, hops // 2
    diagonal = np.zeros(matrix.shape[0])
    for rows in _row_blocks(matrix, matrix, depth=left_hops):
        left, right = matrix[rows], transposed[rows]
        for _ in range(left_hops - 1):
            left = left @ matrix
        for _ in range(right_hops - 1):
            right = right @ transposed
        diagonal[rows] = _row_sums(left.multiply(right))
    return diagonal


def _row_blocks(left: sp.csr_array, right: sp.csr_array, depth: int = 2) -> list[slice]:
    """Cut the rows so that the fill of ``left @ right^(depth-1)`` stays within the budget."""
    num_rows, num_columns = left.shape
    fill = np.diff(left.indptr).astype(np.float64)
    pattern = left.copy()
    pattern.data = np.ones_like(pattern.data)
    reach = np.diff(right.indptr).astype(np.float64)
    for _ in range(depth - 1):
        fill = np.minimum(pattern @ reach, float(num_columns))
        reach = fill
    chunk = np.cumsum(np.maximum(fill, 1.0)) // _FILL_BUDGET
    starts = np.flatnonzero(np.diff(chunk, prepend=-1.0))
    ends = np.append(starts[1:], num_rows)
    return [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _row_sums(matrix: sp.sparray) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).reshape(-1)


def _equal(matrix: sp.csr_array, transposed: sp.csr_array) -> bool:
    difference = abs(matrix - transposed)
    return difference.nnz == 0 or float(difference.max()) <= 1e-12
