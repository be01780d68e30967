"""The normalised adjacency matrix as one CSR operator."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.types import InputError

Norm = Literal["sym", "row", "col", "none"]


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
        dtype: ``torch.float32`` or ``torch.float64``.

    Raises:
        InputError: The normalisation is unknown.
    """

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        edge_weight: Tensor | None = None,
        *,
        norm: Norm = "sym",
        self_loops: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if norm not in ("sym", "row", "col", "none"):
            raise InputError("norm", norm, "Choose 'sym', 'row', 'col' or 'none'.")
        self.num_nodes = num_nodes
        self.norm: Norm = norm
        self.self_loops = self_loops
        self.dtype = dtype
        adjacency = _adjacency(edge_index, num_nodes, edge_weight)
        if self_loops:
            adjacency = adjacency + sp.eye_array(num_nodes, format="csr")
        self.matrix = _normalise(adjacency, norm)
        self.is_symmetric = _is_symmetric(self.matrix)

    @classmethod
    def from_data(cls, data: Any, **options: Any) -> Self:
        """Build the operator of a PyG ``Data`` from ``edge_index`` and any ``edge_weight``."""
        weight = data.edge_weight if "edge_weight" in data else None
        return cls(data.edge_index, int(data.num_nodes), weight, **options)

    @cached_property
    def csr(self) -> Tensor:
        """:math:`S` as ``torch.sparse_csr_tensor`` ``[N, N]``."""
        return to_torch_csr(self.matrix, self.dtype)

    @cached_property
    def csr_transposed(self) -> Tensor:
        r""":math:`S^\top` as ``torch.sparse_csr_tensor``; the same object if S is symmetric."""
        if self.is_symmetric:
            return self.csr
        return to_torch_csr(self.matrix.T.tocsr(), self.dtype)

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return :math:`S X` for dense ``X`` ``[N]`` or ``[N, F]``; differentiable in ``X``."""
        if x.dim() == 1:
            return (self @ x.unsqueeze(1)).squeeze(1)
        product: Tensor = CsrProduct.apply(x, self.csr, self.csr_transposed)  # type: ignore[no-untyped-call]
        return product

    def to(self, device: torch.device | str) -> Self:
        """Return a copy whose torch matrices live on ``device``."""
        moved = object.__new__(type(self))
        moved.__dict__.update(self.__dict__)
        same = self.is_symmetric
        moved.__dict__["csr"] = self.csr.to(device)
        moved.__dict__["csr_transposed"] = (
            moved.__dict__["csr"] if same else self.csr_transposed.to(device)
        )
        return moved

    def __repr__(self) -> str:
        return (
            f"Propagator(num_nodes={self.num_nodes}, nnz={self.matrix.nnz}, norm={self.norm!r}, "
            f"self_loops={self.self_loops}, symmetric={self.is_symmetric})"
        )


class CsrProduct(torch.autograd.Function):
    """CSR times dense whose backward reuses a stored transpose instead of re-transposing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        """Return ``matrix @ x``."""
        ctx.transposed = transposed
        return matrix @ x.contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return ``matrix^T @ grad``."""
        return ctx.transposed @ grad.contiguous(), None, None


def to_torch_csr(matrix: sp.csr_array, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert a SciPy CSR array to ``torch.sparse_csr_tensor`` with sorted columns."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data).to(dtype),
            size=matrix.shape,
            check_invariants=False,
        )


def _adjacency(edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None) -> sp.csr_array:
    source, target = edge_index.detach().cpu().numpy().astype(np.int64)
    weight = (
        np.ones(len(source))
        if edge_weight is None
        else edge_weight.detach().cpu().numpy().astype(np.float64).reshape(-1)
    )
    keep = source != target
    shape = (num_nodes, num_nodes)
    entries = (weight[keep], (target[keep], source[keep]))
    adjacency = sp.coo_array(entries, shape=shape).tocsr()
    if edge_weight is None:
        adjacency.data[:] = 1.0
    adjacency.eliminate_zeros()
    return adjacency


def _normalise(adjacency: sp.csr_array, norm: Norm) -> sp.csr_array:
    if norm == "none":
        return adjacency
    row = np.asarray(adjacency.sum(axis=1)).reshape(-1)
    column = np.asarray(adjacency.sum(axis=0)).reshape(-1)
    power = 0.5 if norm == "sym" else 1.0
    if norm in ("sym", "row"):
        adjacency = sp.diags_array(_inverse_power(row, power)) @ adjacency
    if norm in ("sym", "col"):
        adjacency = adjacency @ sp.diags_array(_inverse_power(column, power))
    return adjacency.tocsr()


def _inverse_power(degree: np.ndarray, power: float) -> np.ndarray:
    inverse = np.zeros_like(degree)
    np.power(degree, -power, out=inverse, where=degree > 0)
    return inverse


def _is_symmetric(matrix: sp.csr_array) -> bool:
    difference = abs(matrix - matrix.T)
    return difference.nnz == 0 or float(difference.max()) <= 1e-12
