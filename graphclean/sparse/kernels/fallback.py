"""The edge-wise kernels without Triton."""

from __future__ import annotations

import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse.csr import row_blocks
from graphclean.sparse.triangles import triangle_walks

_BLOCK = 2**22
"""Edges times queries that are held at once."""


def accumulator(*operands: Tensor | None) -> torch.dtype:
    """Return float64 if a floating-point operand is, otherwise float32."""
    wide = any(part is not None and part.dtype == torch.float64 for part in operands)
    return torch.float64 if wide else torch.float32


def gather(
    indptr: Tensor, indices: Tensor, values: Tensor | None, source: Tensor, query: Tensor
) -> Tensor:
    """Return ``[N, Q]``: sums of ``source[j] == q`` (vector) or ``source[j, q]`` (matrix)."""
    dtype = accumulator(values, source)
    out = torch.zeros(query.shape, dtype=dtype, device=query.device)
    for first, last, begin, end in row_blocks(indptr, _BLOCK // max(query.shape[1], 1)):
        count = indptr[first : last + 1].diff()
        row = torch.repeat_interleave(count, output_size=end - begin)
        column = indices[begin:end]
        asked = query[first:last].index_select(0, row)
        if source.dim() == 1:
            entry = (source.index_select(0, column).unsqueeze(1) == asked) & (asked >= 0)
        else:
            entry = source[column.long().unsqueeze(1), asked.clamp(min=0).long()]
            entry = entry.masked_fill_(asked < 0, 0.0)
        entry = entry.to(dtype)
        if values is not None:
            entry *= values[begin:end].to(dtype).unsqueeze(1)
        out[first:last] = segment_sum(entry, indptr[first : last + 1] - begin)
    return out


def segment_sum(entries: Tensor, pointer: Tensor) -> Tensor:
    """Return the sums of consecutive ranges of rows; the order of addition is fixed."""
    sums: Tensor = torch._segment_reduce(entries, "sum", offsets=pointer, initial=0)
    return sums


def triangle_diagonal(indptr: Tensor, indices: Tensor, values: Tensor | None) -> Tensor:
    """Return diag(S^3) ``[N]``, float64, of a symmetric S; computed on the CPU."""
    weight = torch.ones(len(indices)) if values is None else values
    parts = (weight.double(), indices, indptr)
    nodes = len(indptr) - 1
    matrix = sp.csr_array(tuple(part.cpu().numpy() for part in parts), shape=(nodes, nodes))
    return torch.from_numpy(triangle_walks(matrix, symmetric=True)).to(indptr.device)
