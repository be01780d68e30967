"""Sparse products a few columns at a time, where that keeps the dense matrix in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphclean.sparse.csr import csr_tensor

_CACHED_BYTES = 2**24
"""Dense matrices up to this size stay in a shared cache as they are."""

_ROW_BYTES = (32, 64)
"""Bytes of a row that may be multiplied at once, besides the whole row."""

_TRIALS = 2
_CHECKED_ENTRIES = 2**16

_Product = Callable[[Tensor, Tensor, Tensor], Any]
"""Writes ``matrix @ x`` into its last argument."""


class _Trials:
    """The candidates for products of one shape, and the shortest time of each."""

    def __init__(self, candidates: list[int]) -> None:
        self._seconds = dict.fromkeys(candidates, float("inf"))
        self._calls = 0

    def next(self) -> int:
        candidates = list(self._seconds)
        if self._calls < _TRIALS * len(candidates):
            return candidates[self._calls % len(candidates)]
        return min(candidates, key=lambda width: self._seconds[width])

    def record(self, width: int, seconds: float) -> None:
        self._calls += 1
        self._seconds[width] = min(self._seconds[width], seconds)


_trials: dict[tuple[Any, ...], _Trials] = {}


def by_columns(matrix: Tensor, x: Tensor, product: _Product) -> Tensor:
    """Return ``matrix @ x`` on the CPU in the column blocks that prove fastest.

    Every neighbour's row is fetched at random. A row of 40 columns comes from main memory; a block
    of 8 columns of all rows fits into the cache, and reading the indices once for each block costs
    less. Which width wins depends on the machine: the first products of a shape try the candidates
    in turn, the fastest serves from then on. Only widths that give the very bits of the whole
    product are candidates, so that the choice is never seen in a result.

    Args:
        matrix: ``torch.sparse_csr`` ``[N, M]``.
        x: Dense ``[M, F]``, contiguous.
        product: Writes the product of a matrix and some columns.
    """
    out = x.new_empty(matrix.shape[0], x.shape[1])
    if x.numel() * x.element_size() <= _CACHED_BYTES or matrix._nnz() == 0:
        product(matrix, x, out)
        return out
    key = _shape(matrix, x)
    if key not in _trials:
        _trials[key] = _Trials(_candidates(matrix, x, product))
    width = _trials[key].next()
    began = time.perf_counter()
    _write(matrix, x, out, width, product)
    _trials[key].record(width, time.perf_counter() - began)
    return out


def chosen_widths() -> dict[str, int]:
    """Return how many columns are multiplied at once by shape of the product."""
    return {
        f"{columns} columns of {inner} rows, {dtype}, below 2^{bits} entries": trials.next()
        for (_, inner, bits, columns, dtype, _), trials in _trials.items()
    }


def _shape(matrix: Tensor, x: Tensor) -> tuple[Any, ...]:
    """Return what decides the speed; blocks of rows of one graph share it."""
    rows, entries = int(matrix.shape[0]).bit_length(), int(matrix._nnz()).bit_length()
    threads = torch.get_num_threads()
    return rows, int(matrix.shape[1]), entries, int(x.shape[1]), str(x.dtype), threads


def _candidates(matrix: Tensor, x: Tensor, product: _Product) -> list[int]:
    """Return the widths whose bits on the first rows are those of the whole product."""
    whole = int(x.shape[1])
    start = matrix.crow_indices()
    rows = max(int(torch.searchsorted(start, _CHECKED_ENTRIES, right=True)) - 1, 1)
    end = int(start[rows])
    parts = (start[: rows + 1], matrix.col_indices()[:end], matrix.values()[:end])
    first_rows = csr_tensor(*parts, (rows, int(matrix.shape[1])))
    expected = x.new_empty(rows, whole)
    product(first_rows, x, expected)
    found = []
    for width in (size // x.element_size() for size in _ROW_BYTES):
        blocks = torch.empty_like(expected)
        if width < whole:
            _write(first_rows, x, blocks, width, product)
            if torch.equal(blocks, expected):
                found.append(width)
    return [*found, whole]


def _write(matrix: Tensor, x: Tensor, out: Tensor, width: int, product: _Product) -> None:
    if width >= x.shape[1]:
        product(matrix, x, out)
        return
    for first in range(0, x.shape[1], width):
        columns = slice(first, first + width)
        product(matrix, x[:, columns].contiguous(), out[:, columns])
