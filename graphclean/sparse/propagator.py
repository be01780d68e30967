"""The normalised adjacency matrix as one CSR operator."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse import kernels
from graphclean.sparse.adjacency import Adjacency, Direction
from graphclean.sparse.product import CsrProduct, to_torch_csr
from graphclean.types import InputError

Norm = Literal["sym", "row", "col", "none"]

_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class Propagator:
    r"""Normalised adjacency matrix :math:`S`, applied with ``@``.

    .. math::
        S = D^{-1/2} A D^{-1/2} \;(\text{sym}), \quad D^{-1} A \;(\text{row}), \quad
        A D^{-1} \;(\text{col}), \quad A \;(\text{none})

    Row :math:`i` of :math:`S X` collects from the sources of the edges that point at :math:`i`
    (PyG's ``source_to_target``). On a directed graph the left and right degree of ``sym`` are the
    in- and out-degree. A node without edges has a row of zeros.

    Args:
        edge_index: Edges ``[2, E]``, long; source, target. Parallel edges are merged by summing.
        num_nodes: Number of nodes N.
        edge_weight: Non-negative weights ``[E]``; None means 1 for every edge, and parallel edges
            then count once.
        norm: ``"sym"``, ``"row"``, ``"col"`` or ``"none"``.
        self_loops: Whether every node gets one self-loop of weight 1. Loops that the input has are
            removed in either case: through them a node's own label would judge itself.
        direction: Collect from the sources of incoming edges (``"in"``), from the targets of
            outgoing ones (``"out"``), or from both as on an undirected graph (``"both"``).
        dtype: ``torch.float32``, ``torch.float64``, or ``torch.bfloat16`` (half the memory traffic
            on CUDA, three significant digits).

    Attributes:
        adjacency: The edges, shared by all operators on one graph.
        left: Scale of the rows ``[N]``, float64: :math:`S = \mathrm{diag}(l) A \mathrm{diag}(r)`.
        right: Scale of the columns ``[N]``, float64.
        memo: Results that depend on the operator alone, such as the closed walks; shared by the
            copies that ``to`` makes.

    Raises:
        InputError: The normalisation, direction or dtype is unknown, or an edge names no node.
    """

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        edge_weight: Tensor | None = None,
        *,
        norm: Norm = "sym",
        self_loops: bool = False,
        direction: Direction = "in",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        adjacency = Adjacency.from_edges(edge_index, num_nodes, edge_weight)
        self._build(adjacency.towards(direction), norm, self_loops, dtype)

    @classmethod
    def from_adjacency(
        cls,
        adjacency: Adjacency,
        *,
        norm: Norm = "sym",
        self_loops: bool = False,
        direction: Direction = "in",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Return the operator of an adjacency."""
        built = cls.__new__(cls)
        built._build(adjacency.towards(direction), norm, self_loops, dtype)
        return built

    @classmethod
    def from_data(cls, data: Any, **options: Any) -> Self:
        """Return the operator of a PyG ``Data``, from ``edge_index`` and any ``edge_weight``.

        It is built once per graph and options and kept as long as the graph: ``Adjacency.of``.
        """
        adjacency, operators = Adjacency.and_operators(data)
        key = (cls, *sorted(options.items(), key=lambda option: option[0]))
        if key not in operators:
            operators[key] = cls.from_adjacency(adjacency, **options)
        found: Self = operators[key]
        return found

    def _build(
        self, adjacency: Adjacency, norm: Norm, self_loops: bool, dtype: torch.dtype
    ) -> None:
        if norm not in ("sym", "row", "col", "none"):
            raise InputError("norm", norm, "Choose 'sym', 'row', 'col' or 'none'.")
        if dtype not in _DTYPES:
            raise InputError("dtype", dtype, "Choose torch.float32, float64 or bfloat16.")
        self.adjacency = adjacency
        self.num_nodes = adjacency.num_nodes
        self.norm: Norm = norm
        self.self_loops = self_loops
        self.dtype = dtype
        self.left, self.right = self._scales()
        self.is_symmetric = adjacency.is_symmetric and norm in ("sym", "none")
        self.memo: dict[Any, Any] = {}

    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the row and column factors ``[N]`` that turn A, loops included, into S."""
        ones = np.ones(self.num_nodes)
        if self.norm == "none":
            return ones, ones
        row, column = self._sums()
        power = 0.5 if self.norm == "sym" else 1.0
        return (
            inverse_power(row, power) if self.norm in ("sym", "row") else ones,
            inverse_power(column, power) if self.norm in ("sym", "col") else ones,
        )

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the row and column sums of A, loops included."""
        row = np.asarray(self._structure.sum(axis=1)).reshape(-1)
        if self.adjacency.is_symmetric:
            return row, row
        return row, np.asarray(self._structure.sum(axis=0)).reshape(-1)

    @property
    def _structure(self) -> sp.csr_array:
        return self.adjacency.with_loops() if self.self_loops else self.adjacency.matrix

    @property
    def matrix(self) -> sp.csr_array:
        """:math:`S` as ``scipy.sparse.csr_array`` ``[N, N]``, float64; made anew at every call."""
        return scaled(self._structure, self.left, self.right)

    @property
    def device(self) -> torch.device:
        """Where products are computed."""
        return self.csr.device

    @cached_property
    def csr(self) -> Tensor:
        """:math:`S` as ``torch.sparse_csr_tensor`` ``[N, N]``; shares its indices with A."""
        return to_torch_csr(self.matrix, self.dtype)

    @cached_property
    def csr_transposed(self) -> Tensor:
        r""":math:`S^\top` as ``torch.sparse_csr_tensor``; the same object if S is symmetric."""
        if self.is_symmetric:
            return self.csr
        if self.adjacency.is_symmetric:
            return to_torch_csr(scaled(self._structure, self.right, self.left), self.dtype)
        return to_torch_csr(self.matrix.T.tocsr(), self.dtype)

    def __matmul__(self, x: Any) -> Any:
        """Return :math:`S X`.

        Args:
            x: Dense ``[N]`` or ``[N, F]``: the product is dense, on the device of ``x`` and
                differentiable in ``x``. A sparse torch tensor or SciPy matrix ``[N, F]``: the
                product is sparse, of the same kind and in CSR, computed on the CPU.

        Raises:
            InputError: ``x`` has not N rows.
        """
        if x.shape[0] != self.num_nodes:
            raise InputError("x", f"{x.shape[0]} rows", f"The graph has {self.num_nodes} nodes.")
        if sp.issparse(x):
            return sp.csr_array(self.matrix @ x)
        if x.layout != torch.strided:
            return self._times_sparse(x)
        if x.dim() == 1:
            return (self @ x.unsqueeze(1)).squeeze(1)
        return CsrProduct.apply(x, self.csr, lambda: self.csr_transposed)  # type: ignore[no-untyped-call]

    def entries(self, x: Tensor, columns: Tensor) -> Tensor:
        """Return the entries of :math:`S X` at some columns of every row, without autograd.

        On CUDA, where Triton is installed, only these are computed: one number is read per edge
        and column instead of a row of ``x``.

        Args:
            x: Dense ``[N, F]``.
            columns: Columns per node ``[N, Q]``, long, in ``0..F-1``.

        Returns:
            ``[N, Q]``, dtype of ``x``.
        """
        if not kernels.available(x.device):
            return self._gathered(x, columns)
        csr = self.csr
        parts = (csr.crow_indices(), csr.col_indices(), csr.values())
        return kernels.hop_entry(*parts, x, columns).to(x.dtype)

    def _gathered(self, x: Tensor, columns: Tensor) -> Tensor:
        product: Tensor = self @ x
        return product.gather(1, columns)

    def _times_sparse(self, x: Tensor) -> Tensor:
        x = x.detach().cpu().to_sparse_csr()
        parts = (x.values().double(), x.col_indices(), x.crow_indices())
        right = sp.csr_array(tuple(part.numpy() for part in parts), shape=tuple(x.shape))
        return to_torch_csr(sp.csr_array(self.matrix @ right), self.dtype)

    def to(self, device: torch.device | str) -> Self:
        """Return a copy whose torch matrices live on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__)
        moved.__dict__["csr"] = self.csr.to(device)
        moved.__dict__["csr_transposed"] = (
            moved.__dict__["csr"] if self.is_symmetric else self.csr_transposed.to(device)
        )
        return moved

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "memo": {}}

    def __repr__(self) -> str:
        return (
            f"Propagator(num_nodes={self.num_nodes}, nnz={self._structure.nnz}, "
            f"norm={self.norm!r}, self_loops={self.self_loops}, symmetric={self.is_symmetric})"
        )


def scaled(matrix: sp.csr_array, left: np.ndarray, right: np.ndarray) -> sp.csr_array:
    r"""Return :math:`\mathrm{diag}(l)\, M\, \mathrm{diag}(r)` on the indices of ``matrix``."""
    values = np.repeat(left, np.diff(matrix.indptr))
    values *= right[matrix.indices]
    values *= matrix.data
    product = sp.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
    product.has_canonical_format = True
    return product


def inverse_power(degree: np.ndarray, power: float) -> np.ndarray:
    """Return ``degree ** -power``, 0 where the degree is 0."""
    inverse = np.zeros(len(degree))
    np.power(degree, -power, out=inverse, where=degree > 0)
    return inverse
