"""Diagonals of matrix powers: how much of a k-hop walk returns to where it began."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from graphclean.sparse.four_cycles import four_cycle_walks, four_cycle_work
from graphclean.sparse.ranked_edges import blocks
from graphclean.sparse.triangles import triangle_walks
from graphclean.types import InputError

_FILL_BUDGET = 2_000_000
"""Entries of a streamed block of a matrix power that are held at once."""

_DENSE_FILL = 0.1
"""Share of entries from which a block is multiplied as a dense one: fewer nanoseconds per entry."""

_ROUNDING = 1e-12
"""Largest difference, relative to the largest entry, of a matrix to its transpose if symmetric."""


def closed_walk_diagonal(
    matrix: sp.csr_array, hops: int, *, symmetric: bool | None = None
) -> np.ndarray:
    r"""Return :math:`\mathrm{diag}(S^k)` exactly, without storing a power of S.

    .. math::
        (S^2)_{ii} = \sum_j S_{ij} S_{ji}, \qquad
        (S^{a+b})_{ii} = \sum_j (S^a)_{ij} (S^b)_{ji}

    Closed walks of three and four steps are counted along triangles and four-cycles, each found
    once at its corner of lowest or highest degree, plus walks that turn back on themselves.
    Longer ones, and four steps on a graph with loops, stream blocks of rows of
    :math:`S^{\lceil k/2 \rceil}` of bounded size.

    Args:
        matrix: Square CSR array ``[N, N]``, any sign, weighted or directed, with or without loops.
        hops: Power k >= 1.
        symmetric: Whether ``matrix`` is its own transpose; None finds out.

    Returns:
        Diagonal ``[N]``, float64.

    Raises:
        InputError: ``hops`` is not a positive integer.
    """
    if hops < 1:
        raise InputError("hops", hops, "Pass a positive integer.")
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    loops = np.asarray(matrix.diagonal(), dtype=np.float64)
    if hops == 1 or matrix.nnz == 0:
        return loops
    if symmetric is None:
        symmetric = _is_symmetric(matrix)
    if hops == 2:
        return np.asarray(loops**2 + _row_sums(_returns(matrix, symmetric)))
    if hops == 3:
        cycles = triangle_walks(matrix, symmetric=symmetric)
        return np.asarray(cycles + _three_steps_over_loops(matrix, loops, symmetric))
    if hops == 4 and not loops.any():
        cycles = four_cycle_walks(matrix, symmetric=symmetric)
        return np.asarray(cycles + _four_steps_over_edges(matrix, symmetric))
    return _streamed(matrix, hops, symmetric)


def closed_walk_work(matrix: sp.csr_array, hops: int, *, symmetric: bool) -> float:
    r"""Return about how many multiplications ``closed_walk_diagonal`` takes.

    For four steps without loops these are the paths :math:`\sum_{(u,v)} \min(d_u, d_v)`, for more
    the walks of every length that is streamed, at most nnz(S) per row and length.
    """
    if hops <= 3:
        return float(matrix.nnz)
    if hops == 4 and not matrix.diagonal().any():
        return four_cycle_work(matrix, symmetric=symmetric)
    sides = 1.0 if symmetric else 2.0
    reach = _row_counts(matrix)
    work = 0.0
    for _ in range((hops + 1) // 2 - 1):
        reach = np.minimum(_pattern(matrix) @ reach, float(matrix.nnz))
        work += sides * float(reach.sum())
    return work


def _three_steps_over_loops(
    matrix: sp.csr_array, loops: np.ndarray, symmetric: bool
) -> np.ndarray | float:
    if not loops.any():
        return 0.0
    returns = _returns(matrix, symmetric)
    single = _row_sums(returns)
    return np.asarray(loops**3 + 2.0 * loops * single + returns @ loops)


def _four_steps_over_edges(matrix: sp.csr_array, symmetric: bool) -> np.ndarray:
    """Weigh i-j-i-l-i and i-j-k-j-i with k other than i; there are no loops."""
    returns = _returns(matrix, symmetric)
    single = _row_sums(returns)
    squares = returns.copy()
    squares.data **= 2
    return np.asarray(single**2 + returns @ single - _row_sums(squares))


def _returns(matrix: sp.csr_array, symmetric: bool) -> sp.csr_array:
    r"""Return :math:`S \circ S^\top` without its diagonal."""
    if symmetric:
        squares = np.square(matrix.data, dtype=np.float64)
        returns = sp.csr_array((squares, matrix.indices, matrix.indptr), shape=matrix.shape)
    else:
        returns = matrix.multiply(matrix.T.tocsr()).tocsr()
    loops = returns.diagonal()
    return returns - sp.diags_array(loops, format="csr") if loops.any() else returns


def _streamed(matrix: sp.csr_array, hops: int, symmetric: bool) -> np.ndarray:
    transposed = matrix if symmetric else matrix.T.tocsr()
    left_hops, right_hops = (hops + 1) // 2, hops // 2
    diagonal = np.empty(matrix.shape[0])
    for rows in _row_blocks(matrix, left_hops):
        powers = [matrix[rows]]
        for _ in range(left_hops - 1):
            powers.append(_times(powers[-1], matrix))
        right = powers[right_hops - 1] if symmetric else transposed[rows]
        for _ in range(0 if symmetric else right_hops - 1):
            right = _times(right, transposed)
        diagonal[rows] = _row_dots(powers[-1], right)
    return diagonal


def _times(block: Any, matrix: sp.csr_array) -> Any:
    product = block @ matrix
    if sp.issparse(product) and product.nnz > _DENSE_FILL * product.shape[0] * product.shape[1]:
        return product.toarray()
    return product


def _row_dots(left: Any, right: Any) -> np.ndarray:
    if sp.issparse(left) and sp.issparse(right):
        return _row_sums(left.multiply(right))
    left, right = (side.toarray() if sp.issparse(side) else side for side in (left, right))
    return np.asarray(np.einsum("ij,ij->i", left, right))


def _row_blocks(matrix: sp.csr_array, depth: int) -> Iterator[slice]:
    """Cut the rows so that the fill of ``matrix^depth`` stays within the budget."""
    fill = _row_counts(matrix)
    for _ in range(depth - 1):
        fill = np.minimum(_pattern(matrix) @ fill, float(matrix.shape[1]))
    return blocks(np.maximum(fill, 1.0), _FILL_BUDGET)


def _pattern(matrix: sp.csr_array) -> sp.csr_array:
    ones = np.ones(matrix.nnz)
    return sp.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _row_counts(matrix: sp.csr_array) -> np.ndarray:
    return np.asarray(np.diff(matrix.indptr), dtype=np.float64)


def _row_sums(matrix: sp.sparray) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).reshape(-1)


def _is_symmetric(matrix: sp.csr_array) -> bool:
    difference = abs(matrix - matrix.T)
    return bool(difference.max() <= _ROUNDING * abs(matrix).max())
