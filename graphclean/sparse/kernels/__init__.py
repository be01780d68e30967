"""Edge-wise kernels that no library has: Triton on CUDA, plain torch anywhere else.

Both give the same numbers to rounding, and neither adds floating-point numbers through atomics: on
one device the same input gives the same bits.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor

from graphclean.sparse.kernels import fallback
from graphclean.types import InputError

__all__ = ["available", "hop_entry", "label_agreement", "triangle_diagonal"]

_VALUE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def available(device: torch.device | str) -> bool:
    """Return whether tensors on ``device`` go through the Triton kernels.

    They do on CUDA where ``triton`` is importable, and on any device under Triton's interpreter
    (``TRITON_INTERPRET=1`` before the first import of torch), which exists for tests.
    """
    return _triton_is_here() and (torch.device(device).type == "cuda" or _interpreted())


def label_agreement(
    indptr: Tensor, indices: Tensor, values: Tensor | None, labels: Tensor, query: Tensor
) -> Tensor:
    r"""Weight of the neighbours that carry a queried label, without an ``[N, C]`` product.

    .. math:: out_{iq} = \sum_j S_{ij} [y_j = q_{iq}]

    Args:
        indptr: Row pointer ``[N + 1]`` of S in CSR, int32 or int64.
        indices: Columns ``[E]``, int32 or int64.
        values: Weights ``[E]``, floating point; None counts every edge as 1.
        labels: Label of every column ``[M]``, integer; a negative one agrees with nothing.
        query: Label asked for, per row ``[N]`` or ``[N, Q]``, integer; a negative one finds
            nothing.

    Returns:
        ``[N]`` or ``[N, Q]``; float64 for float64 weights, otherwise float32.

    Raises:
        InputError: A shape or dtype does not fit.
    """
    values = _checked_csr(indptr, indices, values)
    _check_query(indptr, query)
    if labels.dim() != 1 or labels.is_floating_point():
        raise InputError("labels", _shown(labels), "Pass integer labels [M].")
    return _gather(indptr, indices, values, labels, query)


def hop_entry(
    indptr: Tensor, indices: Tensor, values: Tensor | None, x: Tensor, query: Tensor
) -> Tensor:
    r"""Entries of :math:`S X` at queried columns only: the last hop of a neighbourhood score.

    .. math:: out_{iq} = \sum_j S_{ij} X_{j, q_{iq}}

    One number per edge and query is read instead of a row of X. On a GPU that saves most of the
    traffic; on a CPU the full product is faster wherever ``[N, C]`` fits in memory.

    Args:
        indptr: Row pointer ``[N + 1]`` of S in CSR, int32 or int64.
        indices: Columns ``[E]``, int32 or int64.
        values: Weights ``[E]``, floating point; None counts every edge as 1.
        x: Dense ``[M, C]``, floating point.
        query: Column asked for, per row ``[N]`` or ``[N, Q]``, integer below C; a negative one
            gives 0.

    Returns:
        ``[N]`` or ``[N, Q]``; float64 if the weights or X are, otherwise float32.

    Raises:
        InputError: A shape or dtype does not fit, or a query is C or more.
    """
    values = _checked_csr(indptr, indices, values)
    _check_query(indptr, query)
    if x.dim() != 2 or x.dtype not in _VALUE_DTYPES:
        raise InputError("x", _shown(x), "Pass a floating-point matrix [M, C].")
    if query.numel() and int(query.max()) >= x.shape[1]:
        raise InputError("query", int(query.max()), f"x has columns 0..{x.shape[1] - 1}.")
    return _gather(indptr, indices, values, x, query)


def triangle_diagonal(indptr: Tensor, indices: Tensor, values: Tensor | None) -> Tensor:
    r"""Diagonal of :math:`S^3` of a symmetric matrix, from its triangles.

    .. math::
        (S^3)_{ii} = 2 \sum_{\{i, j, k\}} S_{ij} S_{jk} S_{ki}

    The weight of a triangle is the same at its three corners, so each is found once, through edges
    that point from low to high degree: a node has at most :math:`\sqrt{2E}` of those (Latapy,
    *Main-memory triangle computations*, TCS 2008).

    Args:
        indptr: Row pointer ``[N + 1]`` of S in CSR, int32 or int64.
        indices: Columns ``[E]``, without duplicates; entries on the diagonal are left out.
        values: Symmetric weights ``[E]``, floating point; None counts every edge as 1.

    Returns:
        ``[N]``, float64. The Triton kernel multiplies in float32 unless the weights are float64,
        and adds without atomics; without Triton it is computed on the CPU in float64.

    Raises:
        InputError: A shape or dtype does not fit. Symmetry is trusted.
    """
    values = _checked_csr(indptr, indices, values)
    if available(indptr.device):
        from graphclean.sparse.kernels import triangles

        return triangles.triangle_diagonal(indptr, indices, values)
    return fallback.triangle_diagonal(indptr, indices, values)


def _gather(
    indptr: Tensor, indices: Tensor, values: Tensor | None, source: Tensor, query: Tensor
) -> Tensor:
    """Run either gather; ``source`` is a vector of labels or a matrix of entries."""
    if available(indptr.device):
        from graphclean.sparse.kernels import label_gather

        run = label_gather.gather
    else:
        run = fallback.gather
    columns = query.unsqueeze(1) if query.dim() == 1 else query
    found = run(indptr, indices, values, source, columns)
    return found.squeeze(1) if query.dim() == 1 else found


def _checked_csr(indptr: Tensor, indices: Tensor, values: Tensor | None) -> Tensor | None:
    if indptr.dim() != 1 or not len(indptr) or indptr.dtype not in (torch.int32, torch.int64):
        raise InputError("indptr", _shown(indptr), "Pass a row pointer [N + 1], int32 or int64.")
    if indices.dim() != 1 or indices.dtype not in (torch.int32, torch.int64):
        raise InputError("indices", _shown(indices), "Pass columns [E], int32 or int64.")
    if values is None:
        return None
    if values.shape != indices.shape or values.dtype not in _VALUE_DTYPES:
        raise InputError("values", _shown(values), f"Pass {len(indices)} floating-point weights.")
    return values.detach()


def _check_query(indptr: Tensor, query: Tensor) -> None:
    rows = len(indptr) - 1
    if query.dim() not in (1, 2) or len(query) != rows or query.is_floating_point():
        raise InputError("query", _shown(query), f"Pass integers [{rows}] or [{rows}, Q].")


def _shown(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}"


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def _triton_is_here() -> bool:
    return importlib.util.find_spec("triton") is not None
