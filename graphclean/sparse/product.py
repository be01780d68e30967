"""CSR times dense in torch: construction and autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse.backend import spmm
from graphclean.sparse.csr import csr_tensor

_INT32_MAX = 2**31 - 1


class CsrProduct(torch.autograd.Function):
    """CSR times dense whose backward reuses a stored transpose instead of re-transposing.

    ``CsrProduct.apply(x, matrix, transpose)``, where ``transpose()`` returns the transpose: the
    matrix itself if it is symmetric. It is asked for by backward passes only.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transpose: Callable[[], Tensor]) -> Tensor:
        """Return ``matrix @ x``."""
        ctx.transpose = transpose
        return spmm(matrix, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return ``matrix^T @ grad``."""
        return spmm(ctx.transpose(), grad), None, None


def to_torch_csr(matrix: sp.csr_array, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert a SciPy CSR array to ``torch.sparse_csr_tensor`` with sorted columns.

    Indices are int32 where they fit, a third less to read per entry; arrays that need no
    conversion are shared.
    """
    matrix = matrix.tocsr()
    if not matrix.has_sorted_indices:
        matrix = matrix.sorted_indices()
    small = max(matrix.nnz, *matrix.shape) <= _INT32_MAX
    index: Any = np.int32 if small else np.int64
    return csr_tensor(
        mapped_tensor(matrix.indptr.astype(index, copy=False)),
        mapped_tensor(matrix.indices.astype(index, copy=False)),
        mapped_tensor(matrix.data).to(dtype),
        matrix.shape,
    )


def mapped_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor over an array, which may be read-only: nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
