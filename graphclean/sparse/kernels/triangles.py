"""Triangle weights for diag(S^3) in Triton, without atomics.

Imported where ``kernels.available`` says so: it needs ``triton``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphclean.sparse.kernels.fallback import accumulator, segment_sum

_LISTED, _COMPARED = 1024, 16
"""Most out-neighbours that one program keeps in registers, and how many it compares at a time."""


def triangle_diagonal(indptr: Tensor, indices: Tensor, values: Tensor | None) -> Tensor:
    r"""Return diag(S^3) ``[N]``, float64, of a symmetric S.

    A triangle u -> v -> w, u -> w is found at u. Its weight goes to two edges of u: to u -> v in
    ``middle`` and to u -> w in ``high``, each owned by one program. Sums over the rows give u's
    share, sums over the columns those of v and w.
    """
    indptr, indices, values = _oriented(indptr, indices, values)
    dtype = accumulator(values)
    edges, nodes = len(indices), len(indptr) - 1
    out_degree = indptr.diff()
    largest = int(out_degree.max()) if nodes else 0
    parts = triton.cdiv(max(largest, 1), _LISTED)
    middle = torch.zeros(parts, edges, dtype=dtype, device=indptr.device)
    high = torch.zeros(edges, dtype=dtype, device=indptr.device)
    bound, size = 1, 16
    while bound < largest:
        rows = ((out_degree > bound) & (out_degree <= size)).nonzero().squeeze(1)
        if len(rows):
            listed = min(size, _LISTED)
            _triangle_kernel[(len(rows), min(triton.cdiv(size, listed), parts))](
                middle, high, rows, indptr, indices, values, edges,
                LISTED=listed, COMPARED=_COMPARED, num_warps=_warps(listed),
                enable_fp_fusion=True,
            )  # fmt: skip
        bound, size = size, 2 * size
    high = high.double()
    found = middle.double().sum(dim=0) + high
    by_column, order = torch.sort(indices, stable=True)
    every = torch.arange(nodes + 1, device=indptr.device, dtype=indices.dtype)
    into = segment_sum(found[order], torch.searchsorted(by_column, every))
    return 2.0 * (segment_sum(high, indptr) + into)


def _oriented(
    indptr: Tensor, indices: Tensor, values: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the entries that point from a low to a high (degree, id); weights are never None."""
    degree = indptr.diff()
    row = torch.repeat_interleave(degree)
    column = indices.long()
    low, high = degree[row], degree[column]
    up = (low < high) | ((low == high) & (row < column))
    if values is None:
        values = torch.ones(len(indices), device=indices.device)
    out_degree = torch.bincount(row[up], minlength=len(degree))
    start = torch.cat([out_degree.new_zeros(1), out_degree.cumsum(0)])
    return start, indices[up], values[up]


def _warps(listed: int) -> int:
    """Return as few warps as hold a list against its candidates without spilling registers."""
    return 1 if listed <= 32 else 4 if listed <= 256 else 8


@triton.jit
def _triangle_kernel(
    middle,
    high,
    rows,
    indptr,
    indices,
    values,
    num_edges,
    LISTED: tl.constexpr,
    COMPARED: tl.constexpr,
):
    """Find the triangles whose lowest corner is one row and whose highest is in one list of it."""
    part = tl.program_id(1)
    row = tl.load(rows + tl.program_id(0))
    first = tl.load(indptr + row)
    last = tl.load(indptr + row + 1)
    slot = first + part * LISTED + tl.arange(0, LISTED)
    live = slot < last
    corner = tl.load(indices + slot, mask=live, other=-1)
    direct = tl.load(values + slot, mask=live, other=0.0).to(high.dtype.element_ty)
    total = tl.zeros((LISTED,), dtype=high.dtype.element_ty)
    for edge in range(first, last):
        between = tl.load(indices + edge).to(tl.int64)
        onward = tl.load(indptr + between)
        stop = tl.load(indptr + between + 1)
        shared = tl.zeros((LISTED,), dtype=high.dtype.element_ty)
        for begin in range(onward, stop, COMPARED):
            next_slot = begin + tl.arange(0, COMPARED)
            inside = next_slot < stop
            candidate = tl.load(indices + next_slot, mask=inside, other=-2)
            weight = tl.load(values + next_slot, mask=inside, other=0.0)
            match = corner[:, None] == candidate[None, :]
            weight = weight.to(high.dtype.element_ty)[None, :]
            shared += tl.sum(tl.where(match, weight, 0.0), axis=1)
        closed = shared * direct * tl.load(values + edge).to(high.dtype.element_ty)
        total += closed
        tl.store(middle + part.to(tl.int64) * num_edges + edge, tl.sum(closed))
    tl.store(high + slot, total, mask=live)
