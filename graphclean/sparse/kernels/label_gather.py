"""The edge-scalar label gather in Triton: one number per edge and query, no atomics.

Imported where ``kernels.available`` says so: it needs ``triton``.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphclean.sparse.kernels.fallback import accumulator, segment_sum

_LONG = 512
"""Longer rows are cut into pieces of this many edges, whose sums a second pass adds."""

_ROWS, _EDGES, _QUERIES = 16, 32, 4
"""Tile of one program: pieces, edges of each times queries per step, and most queries."""


def gather(
    indptr: Tensor, indices: Tensor, values: Tensor | None, source: Tensor, query: Tensor
) -> Tensor:
    """Return ``[N, Q]``: sums of ``source[j] == q`` (vector) or ``source[j, q]`` (matrix)."""
    dtype = accumulator(values, source)
    rows, width = query.shape
    long_rows, pieces, owner, start, end = _pieces(indptr)
    out = torch.empty(len(owner), width, dtype=dtype, device=query.device)
    if not out.numel():
        return out
    query_tile = min(triton.next_power_of_2(width), _QUERIES)
    grid = (triton.cdiv(len(owner), _ROWS), triton.cdiv(width, query_tile))
    _gather_kernel[grid](
        out,
        owner,
        start,
        end,
        indices,
        indices if values is None else values.contiguous(),
        source.contiguous(),
        query.contiguous(),
        len(owner),
        width,
        source.shape[-1],
        MATCH=source.dim() == 1,
        WEIGHTED=values is not None,
        ROWS=_ROWS,
        EDGES=_EDGES // query_tile,
        QUERIES=query_tile,
        enable_fp_fusion=True,
    )
    # Pieces of long rows come first, then all rows; a long row's own entry is still empty.
    total = out[len(owner) - rows :]
    if len(long_rows):
        total[long_rows] = segment_sum(out[: len(owner) - rows], pieces)
    return total


def _pieces(indptr: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Cut long rows: (long rows, pointer to their pieces, and row, start, end of every piece)."""
    begin, end = indptr[:-1], indptr[1:]
    long = end - begin > _LONG
    long_rows = long.nonzero().squeeze(1)
    count = (end[long_rows] - begin[long_rows] + _LONG - 1) // _LONG
    pointer = torch.cat([count.new_zeros(1), count.cumsum(0)]).to(indptr.dtype)
    which = torch.repeat_interleave(count)
    nth = torch.arange(len(which), device=indptr.device) - pointer[which]
    piece_start = (begin[long_rows][which] + nth * _LONG).to(indptr.dtype)
    piece_end = torch.minimum(piece_start + _LONG, end[long_rows][which])
    every = torch.arange(len(begin), device=indptr.device, dtype=indptr.dtype)
    owner = torch.cat([long_rows[which].to(indptr.dtype), every])
    start = torch.cat([piece_start, begin])
    return long_rows, pointer, owner, start, torch.cat([piece_end, torch.where(long, begin, end)])


@triton.jit
def _gather_kernel(
    out,
    owner,
    start,
    end,
    indices,
    values,
    source,
    query,
    num_pieces,
    width,
    source_width,
    MATCH: tl.constexpr,
    WEIGHTED: tl.constexpr,
    ROWS: tl.constexpr,
    EDGES: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """Sum over the edges of ROWS pieces, EDGES of each at a time, for QUERIES columns."""
    piece = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    asked = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    live = piece < num_pieces
    live_query = live[:, None] & (asked[None, :] < width)
    row = tl.load(owner + piece, mask=live, other=0).to(tl.int64)
    first = tl.load(start + piece, mask=live, other=0)
    count = tl.load(end + piece, mask=live, other=0) - first
    wanted = tl.load(query + row[:, None] * width + asked[None, :], mask=live_query, other=-1)
    wanted = wanted.to(tl.int64)
    total = tl.zeros((ROWS, QUERIES), dtype=out.dtype.element_ty)
    # Steps are added to pointers, not to edge numbers: near 2^31 edges those would wrap around.
    columns, weights = (indices + first)[:, None], (values + first)[:, None]
    for step in range(0, tl.max(count), EDGES):
        edge = step + tl.arange(0, EDGES)[None, :]
        here = edge < count[:, None]
        neighbour = tl.load(columns + edge, mask=here, other=0).to(tl.int64)
        if MATCH:
            label = tl.load(source + neighbour, mask=here, other=-1).to(tl.int64)
            match = (label[:, :, None] == wanted[:, None, :]) & (wanted >= 0)[:, None, :]
            entry = match.to(out.dtype.element_ty)
        else:
            place = neighbour[:, :, None] * source_width + wanted[:, None, :]
            known = here[:, :, None] & (wanted >= 0)[:, None, :]
            entry = tl.load(source + place, mask=known, other=0.0).to(out.dtype.element_ty)
        if WEIGHTED:
            weight = tl.load(weights + edge, mask=here, other=0.0).to(out.dtype.element_ty)
            entry = entry * weight[:, :, None]
        total += tl.sum(entry, axis=1)
    place = piece.to(tl.int64)[:, None] * width + asked[None, :]
    tl.store(out + place, total, mask=live_query)
