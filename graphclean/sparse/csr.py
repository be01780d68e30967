"""Torch CSR tensors of parts that are known to fit, and blocks of their rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor


def csr_tensor(crow: Tensor, column: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``torch.sparse_csr_tensor`` of parts that are trusted, without the beta warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(crow, column, values, size=size, check_invariants=False)


def filled(pattern: Tensor, values: Tensor) -> Tensor:
    """Return a CSR matrix with the places of ``pattern`` and other values ``[nnz]``."""
    size = (int(pattern.shape[0]), int(pattern.shape[1]))
    return csr_tensor(pattern.crow_indices(), pattern.col_indices(), values, size)


def row_blocks(indptr: Tensor, limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first row, last row, first entry, last entry), at most ``limit`` entries or one row.

    Blocks of rows without an entry are left out.
    """
    rows, entries, begin, first = len(indptr) - 1, int(indptr[-1]), 0, 0
    while first < rows:
        reach = min(begin + limit, entries)
        reached = torch.tensor(reach, dtype=indptr.dtype, device=indptr.device)
        last = int(torch.searchsorted(indptr, reached, right=True)) - 1
        last = min(max(last, first + 1), rows)
        end = int(indptr[last])
        if end > begin:
            yield first, last, begin, end
        first, begin = last, end
