"""Node features as tensors: sparse where it pays, structural where there is nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd

DENSE_BYTES = 2**28
"""A feature matrix that would take more than this as dense float32 stays sparse."""

SPARSE_DENSITY = 0.1
"""... if no more than this share of its entries is non-zero."""

STRUCTURAL_DIMENSIONS = 32


def to_sparse_csr(matrix: sp.spmatrix) -> torch.Tensor:
    """Return a scipy matrix as a float32 ``torch.sparse_csr`` tensor, entries sorted and merged."""
    csr = sp.csr_matrix(matrix, dtype=np.float32, copy=True)
    csr.sum_duplicates()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(csr.indptr.astype(np.int64)),
            torch.from_numpy(csr.indices.astype(np.int64)),
            torch.from_numpy(csr.data),
            size=csr.shape,
            check_invariants=True,
        )


def to_scipy(x: torch.Tensor) -> sp.csr_matrix:
    """Return a ``torch.sparse_csr`` matrix as a scipy one (values are shared, not copied)."""
    parts = (x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy())
    return sp.csr_matrix(parts, shape=tuple(x.shape))


def from_scipy_features(matrix: sp.spmatrix) -> torch.Tensor:
    """Return features dense, or sparse where dense would not fit `DENSE_BYTES` and it pays."""
    rows, columns = matrix.shape
    sparse = matrix.nnz <= SPARSE_DENSITY * rows * columns
    if sparse and 4 * rows * columns > DENSE_BYTES:
        return to_sparse_csr(matrix)
    return torch.from_numpy(np.asarray(matrix.todense(), dtype=np.float32))


def structural_features(
    edge_index: torch.Tensor, num_nodes: int, dimensions: int = STRUCTURAL_DIMENSIONS
) -> tuple[torch.Tensor, list[str]]:
    r"""Describe nodes by the graph alone: log degree and a spectral embedding.

    With the symmetric adjacency :math:`A` (no self-loops, no weights) and its degrees :math:`d`,
    the columns are :math:`\log(1 + d)` and :math:`\sqrt{N}\, U_k \Sigma_k` of the truncated
    singular value decomposition of :math:`D^{-1/2} A D^{-1/2}`. Labels are not looked at.

    Args:
        edge_index: Long ``[2, E]``; direction, duplicates and self-loops do not matter.
        num_nodes: Number of nodes ``N``.
        dimensions: Number of singular vectors, at most ``N - 1``.

    Returns:
        Float32 ``[N, 1 + k]`` and the names of the columns.
    """
    row, col = edge_index.cpu().numpy()
    keep = row != col
    ones = np.ones(int(keep.sum()))
    forward = sp.csr_matrix((ones, (row[keep], col[keep])), shape=(num_nodes, num_nodes))
    adjacency = ((forward + forward.T) > 0).astype(np.float64)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    columns: list[Any] = [np.log1p(degree)[:, None]]
    names = ["log_degree"]
    k = min(dimensions, num_nodes - 1)
    if k > 0 and adjacency.nnz:
        scale = sp.diags(1.0 / np.sqrt(np.maximum(degree, 1.0)))
        u, sigma, _ = randomized_svd(scale @ adjacency @ scale, k, n_iter=7, random_state=0)
        columns.append(u * sigma * np.sqrt(num_nodes))
        names += [f"spectral_{index}" for index in range(k)]
    return torch.from_numpy(np.hstack(columns).astype(np.float32)), names
