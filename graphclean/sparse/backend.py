"""The one place that chooses how a sparse matrix meets a dense one."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse.column_blocks import by_columns, chosen_widths
from graphclean.sparse.csr import csr_tensor, row_blocks
from graphclean.types import InputError

ENV = "GRAPHCLEAN_SPMM"
_INT32_MAX = 2**31 - 1
_EDGE_BLOCK = 2**22
"""Entries of the edges-by-columns array that the gather paths hold at once."""

_forced: ContextVar[str | None] = ContextVar("forced", default=None)


def spmm(matrix: Tensor, x: Tensor) -> Tensor:
    """Return ``matrix @ x`` for a ``torch.sparse_csr`` ``[N, M]`` and a dense ``[M, F]``.

    On a CPU the default is MKL through torch, level with a hand-written kernel; where torch has no
    MKL, or for a dtype that it does not know, torch's own product. On CUDA it is cuSPARSE.
    ``use_backend`` or the environment variable ``GRAPHCLEAN_SPMM`` force another.
    """
    return _PRODUCTS[backend_for(x.device, x.dtype)](matrix, x.contiguous())


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force one backend for the block, in this thread.

    Args:
        name: ``"mkl"``, ``"native"``, ``"scipy"``, ``"edges"``, ``"torch_scatter"`` or
            ``"cusparse"``; ``"auto"`` chooses as if nothing was forced.

    Raises:
        InputError: The name is unknown, or the backend is not there.
    """
    token = _forced.set(_checked(name))
    try:
        yield
    finally:
        _forced.reset(token)


def backend_for(device: torch.device | str, dtype: torch.dtype = torch.float32) -> str:
    """Return the name of the backend that ``spmm`` uses for a device and dtype.

    Raises:
        InputError: The one that is forced is not there.
    """
    forced = _forced.get() or _checked(os.environ.get(ENV) or "auto")
    return _chosen(torch.device(device).type, dtype) if forced == "auto" else forced


def backend_info() -> dict[str, Any]:
    """Return what is chosen, what could be and why, as JSON can hold it."""
    info: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "available": [name for name in _PRODUCTS if _available(name)],
        "forced": _forced.get() or os.environ.get(ENV) or None,
        "column_blocks": chosen_widths(),
        "cpu": {str(d).removeprefix("torch."): backend_for("cpu", d) for d in _DTYPES},
    }
    if torch.cuda.is_available():
        info["cuda"] = {str(d).removeprefix("torch."): backend_for("cuda", d) for d in _DTYPES}
        info["device"] = torch.cuda.get_device_name()
    return info


_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


@cache
def _chosen(device: str, dtype: torch.dtype) -> str:
    if device == "cuda":
        return "cusparse"
    if device != "cpu":
        return "edges"
    default = next(name for name in ("mkl", "native", "scipy", "edges") if _works(name, dtype))
    if _available("torch_scatter") and _works("torch_scatter", dtype):
        candidates = (default, "torch_scatter")
        return min(candidates, key=lambda name: _seconds(name, dtype))
    return default


def _checked(name: str) -> str:
    if name != "auto" and not (name in _PRODUCTS and _available(name)):
        there = ", ".join(["auto", *(known for known in _PRODUCTS if _available(known))])
        raise InputError("backend", name, f"Choose one that is here: {there}.")
    return name


def _available(name: str) -> bool:
    if name == "mkl":
        return bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
    if name == "cusparse":
        return torch.cuda.is_available()
    return name != "torch_scatter" or importlib.util.find_spec(name) is not None


def _works(name: str, dtype: torch.dtype) -> bool:
    """Try a small product with an empty row; a library may be there and not know the dtype."""
    if not _available(name):
        return False
    dense = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]], dtype=dtype)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=dtype)
    expected = torch.tensor([[6.0, 8.0], [0.0, 0.0], [5.5, 7.0]], dtype=dtype)
    try:
        return torch.equal(_PRODUCTS[name](_quiet_csr(dense), x), expected)
    except (ImportError, OSError, RuntimeError, TypeError):
        return False


def _seconds(name: str, dtype: torch.dtype, rows: int = 4000, width: int = 16) -> float:
    """Time a product of 16 entries a row, the fastest of five."""
    column = torch.arange(rows * 16).mul(7919).remainder(rows).to(torch.int32)
    start = torch.arange(0, rows * 16 + 1, 16, dtype=torch.int32)
    matrix = csr_tensor(start, column, torch.ones(rows * 16, dtype=dtype), (rows, rows))
    x = torch.ones(rows, width, dtype=dtype)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        _PRODUCTS[name](matrix, x)
        times.append(time.perf_counter() - began)
    return min(times)


def _torch_product(matrix: Tensor, x: Tensor) -> Tensor:
    return matrix @ x


def _mkl(matrix: Tensor, x: Tensor) -> Tensor:
    if matrix._nnz() > _INT32_MAX:
        return _by_rows(matrix, x, _torch_product, _INT32_MAX)
    if torch.is_grad_enabled() and x.requires_grad:
        return matrix @ x
    return by_columns(matrix, x, _write_product)


def _write_product(matrix: Tensor, x: Tensor, out: Tensor) -> None:
    # "matrix @ x" fills its result with zeros before MKL writes it.
    nothing = x.new_zeros(1, 1).expand(out.shape)
    torch.addmm(nothing, matrix, x, beta=0, out=out)


def _native(matrix: Tensor, x: Tensor) -> Tensor:
    product: Tensor = torch.sparse.mm(matrix, x, "sum")
    return product


def _scipy(matrix: Tensor, x: Tensor) -> Tensor:
    parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
    arrays = tuple(part.detach().cpu().numpy() for part in parts)
    product = sp.csr_array(arrays, shape=tuple(matrix.shape)) @ x.detach().cpu().numpy()
    return torch.from_numpy(product).to(x.device)


def _edges(matrix: Tensor, x: Tensor) -> Tensor:
    return _by_rows(matrix, x, _gather_add, max(_EDGE_BLOCK // max(x.shape[1], 1), 1))


def _gather_add(matrix: Tensor, x: Tensor) -> Tensor:
    count = matrix.crow_indices().diff()
    row = torch.repeat_interleave(torch.arange(len(count), device=x.device), count)
    weighted = matrix.values().unsqueeze(1) * x[matrix.col_indices()]
    return x.new_zeros(len(count), x.shape[1]).index_add_(0, row, weighted)


def _torch_scatter(matrix: Tensor, x: Tensor) -> Tensor:
    from torch_scatter import segment_csr

    def product(part: Tensor, x: Tensor) -> Tensor:
        weighted = part.values().unsqueeze(1) * x[part.col_indices()]
        total: Tensor = segment_csr(weighted, part.crow_indices().long(), reduce="sum")
        return total

    return _by_rows(matrix, x, product, max(_EDGE_BLOCK // max(x.shape[1], 1), 1))


_PRODUCTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mkl": _mkl,
    "native": _native,
    "scipy": _scipy,
    "edges": _edges,
    "torch_scatter": _torch_scatter,
    "cusparse": _torch_product,
}


def _by_rows(
    matrix: Tensor, x: Tensor, product: Callable[[Tensor, Tensor], Tensor], limit: int
) -> Tensor:
    """Multiply blocks of rows that hold at most ``limit`` entries, or one row."""
    start, column, values = matrix.crow_indices(), matrix.col_indices(), matrix.values()
    if len(values) <= limit:
        return product(matrix, x)
    out = x.new_zeros(matrix.shape[0], x.shape[1])
    for first, last, begin, end in row_blocks(start, limit):
        crow = (start[first : last + 1] - begin).to(column.dtype)
        size = (last - first, int(matrix.shape[1]))
        out[first:last] = product(csr_tensor(crow, column[begin:end], values[begin:end], size), x)
    return out


def _quiet_csr(dense: Tensor) -> Tensor:
    row, column = dense.nonzero().T
    crow = torch.zeros(len(dense) + 1, dtype=torch.int32)
    crow[1:] = torch.bincount(row, minlength=len(dense)).cumsum(0)
    size = (int(dense.shape[0]), int(dense.shape[1]))
    return csr_tensor(crow, column.to(torch.int32), dense[row, column], size)
