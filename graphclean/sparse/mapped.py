"""Products with a graph that is larger than memory: row blocks of a memory-mapped CSR."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from graphclean.sparse.adjacency import Adjacency, Direction
from graphclean.sparse.backend import spmm
from graphclean.sparse.csr import csr_tensor
from graphclean.sparse.product import mapped_tensor
from graphclean.sparse.propagator import Norm, Propagator
from graphclean.types import InputError


class MappedPropagator(Propagator):
    r"""`Propagator` that never holds S: blocks of rows of A, scaled from both sides.

    .. math::
        S X = l \circ \big(A (r \circ X) \;[+\; r \circ X \text{ with self-loops}]\big),
        \qquad S = \mathrm{diag}(l) A \mathrm{diag}(r)

    A block's columns are slices of the adjacency's own array, which `open_csr` maps from disk, so
    that a product needs ``X``, its result, one scaled copy of ``X`` and the values of one block;
    the operating system keeps as much of the graph in memory as there is room for. Columns of a
    wide ``X`` are independent: ``torch.tensor_split(x, parts, dim=1)`` bounds its memory, and
    gives each of several processes that map the same folder its share without communication.

    The numbers are those of `Propagator` up to rounding. ``matrix``, ``csr``, ``csr_transposed``
    and products with sparse ``X`` make S in memory; ``direction`` other than ``"in"`` transposes a
    directed graph in memory (convert with source and target exchanged instead).

    Args:
        adjacency: The edges, from `open_csr` or in memory.
        norm: As for `Propagator`.
        self_loops: As for `Propagator`.
        direction: As for `Propagator`.
        dtype: As for `Propagator`.
        block_edges: Entries of one block, about: rows are not cut.

    Raises:
        InputError: As `Propagator` does, or ``block_edges`` is not positive.
    """

    def __init__(
        self,
        adjacency: Adjacency,
        *,
        norm: Norm = "sym",
        self_loops: bool = False,
        direction: Direction = "in",
        dtype: torch.dtype = torch.float32,
        block_edges: int = 2**22,
    ) -> None:
        if block_edges < 1:
            raise InputError("block_edges", block_edges, "Pass a positive integer.")
        self.block_edges = block_edges
        self._device = torch.device("cpu")
        self._build(adjacency.towards(direction), norm, self_loops, dtype)

    @classmethod
    def from_adjacency(cls, adjacency: Adjacency, **options: Any) -> Self:
        """Return the operator of an adjacency, as the constructor does."""
        return cls(adjacency, **options)

    @property
    def device(self) -> torch.device:
        """Where products are computed; blocks are sent there one after the other."""
        return self._device

    def to(self, device: torch.device | str) -> Self:
        """Return a copy that computes on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__)
        moved._device = torch.device(device)
        return moved

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        row = _row_sums(self.adjacency) + self.self_loops
        if self.adjacency.is_symmetric or self.norm == "row":
            return row, row
        return row, self._column_sums() + self.self_loops

    def _column_sums(self) -> np.ndarray:
        adjacency = self.adjacency
        total = np.zeros(self.num_nodes)
        for begin in range(0, adjacency.num_edges, self.block_edges):
            part = slice(begin, begin + self.block_edges)
            weight = adjacency.matrix.data[part] if adjacency.weighted else None
            total += np.bincount(adjacency.matrix.indices[part], weight, self.num_nodes)
        return total

    def __repr__(self) -> str:
        return (
            f"MappedPropagator(num_nodes={self.num_nodes}, num_edges={self.adjacency.num_edges}, "
            f"norm={self.norm!r}, self_loops={self.self_loops}, symmetric={self.is_symmetric})"
        )

    def __matmul__(self, x: Any) -> Any:
        """Return :math:`S X`; see `Propagator`.

        Differentiable in a dense ``x`` if the adjacency is symmetric: the backward pass of a
        directed graph, which would need the columns of A, raises InputError.
        """
        dense = isinstance(x, Tensor) and x.layout == torch.strided
        if not dense or x.dim() != 2 or x.shape[0] != self.num_nodes:
            return super().__matmul__(x)
        return _MappedProduct.apply(x, self)  # type: ignore[no-untyped-call]

    def entries(self, x: Tensor, columns: Tensor) -> Tensor:
        """Return the entries of :math:`S X` at some columns ``[N, Q]``; see `Propagator`."""
        return self._gathered(x, columns)

    def times(self, x: Tensor, *, transposed: bool = False) -> Tensor:
        r"""Return :math:`S X`, or :math:`S^\top X` on a symmetric adjacency, without autograd."""
        left, right = self._factor(self.left, "row", x), self._factor(self.right, "col", x)
        if transposed:
            left, right = right, left
        scaled = x if right is None else x * right
        out = x.new_empty(x.shape)
        for rows, block in self._blocks(x.device):
            out[rows] = spmm(block, scaled)
        if self.self_loops:
            out += scaled
        return out if left is None else out.mul_(left)

    def _factor(self, factor: np.ndarray, norm: Norm, x: Tensor) -> Tensor | None:
        """Return a factor as a column where the normalisation has it, None where it is all ones."""
        if self.norm not in ("sym", norm):
            return None
        return torch.from_numpy(factor).to(x.device, self.dtype).unsqueeze(1)

    def _blocks(self, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of rows and their part of A in torch CSR; values are all that is made."""
        matrix = self.adjacency.matrix
        size = matrix.shape[1]
        inner = np.arange(self.block_edges, matrix.nnz, self.block_edges)
        bounds = np.unique([0, *np.searchsorted(matrix.indptr, inner).tolist(), size])
        ones = torch.ones(0, dtype=self.dtype, device=device)
        for first, last in itertools.pairwise(bounds.tolist()):
            begin, end = int(matrix.indptr[first]), int(matrix.indptr[last])
            start = torch.from_numpy((matrix.indptr[first : last + 1] - begin).astype(np.int32))
            column = mapped_tensor(matrix.indices[begin:end]).to(device)
            if self.adjacency.weighted:
                values = mapped_tensor(matrix.data[begin:end]).to(device, self.dtype)
            else:
                if len(ones) < end - begin:
                    ones = torch.ones(end - begin, dtype=self.dtype, device=device)
                values = ones[: end - begin]
            yield (
                slice(first, last),
                csr_tensor(start.to(device), column, values, (last - first, size)),
            )


class _MappedProduct(torch.autograd.Function):
    """The product by blocks; backwards the same with the two scales exchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: MappedPropagator) -> Tensor:
        ctx.operator = operator
        return operator.times(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if not ctx.operator.adjacency.is_symmetric:
            raise InputError(
                "x",
                "it requires a gradient, and the mapped graph is directed",
                "Detach it, convert the graph without --directed, or use Propagator.",
            )
        return ctx.operator.times(grad, transposed=True), None


def _row_sums(adjacency: Adjacency) -> np.ndarray:
    if not adjacency.weighted:
        return adjacency.degree.astype(np.float64)
    sums: np.ndarray = adjacency.matrix.sum(axis=1)
    return sums
