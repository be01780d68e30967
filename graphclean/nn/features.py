"""Node features ready to be multiplied, and the first layer that takes sparse ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.utils import is_torch_sparse_tensor

from graphclean.nn.dropout import dropout
from graphclean.nn.matrix import SparseMatrix
from graphclean.types import InputError

SPARSE_BELOW = 0.1
"""Dense features with a smaller share of non-zero entries are multiplied as CSR."""


Features = Tensor | SparseMatrix
"""Node features ``[N, F]``, dense or sparse."""


@dataclass(frozen=True, eq=False)
class Collected:
    """Dense features whose sums over neighbours are known: what a first layer collects, made once.

    Attributes:
        sums: :math:`S X` ``[N, F]``.
        own: :math:`X` ``[N, F]`` for a network that reads it beside the sums, else None.
    """

    sums: Tensor
    own: Tensor | None

    @property
    def shape(self) -> torch.Size:
        """``(N, F)``."""
        return self.sums.shape

    def rows(self, rows: Tensor | slice) -> Collected:
        """Return some rows, by index ``[n]`` or as a slice."""
        return Collected(self.sums[rows], None if self.own is None else self.own[rows])

    def to(self, device: torch.device | str) -> Collected:
        """Return a copy on ``device``."""
        return Collected(self.sums.to(device), None if self.own is None else self.own.to(device))


FeatureNorm = Literal["row", "auto"] | None


def features_of(data: Any, norm: FeatureNorm = None) -> Features:
    """Return ``data.x`` in the form that multiplies fastest: dense float32 or ``SparseMatrix``.

    Sparse tensors of any layout, and dense ones with less than 10 % non-zero entries, become
    ``SparseMatrix``. The user's tensor is never changed.

    Args:
        data: The graph.
        norm: ``"row"`` divides every row by the sum of its absolute values (empty rows stay),
            ``"auto"`` does so if the features look like a bag of words: none negative and less
            than 10 % of them non-zero. None leaves them as they are.

    Raises:
        InputError: The graph has no features, or not one row for every node.
    """
    x = data.x if "x" in data else None
    if x is None:
        raise InputError("data.x", "missing", "Give every node at least one feature.")
    if not isinstance(x, Tensor) or x.dim() not in (1, 2) or x.shape[0] != data.num_nodes:
        shown = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError("data.x", shown, f"Pass a tensor of {data.num_nodes} rows.")
    x = x.detach().cpu()
    if is_torch_sparse_tensor(x):
        x = x.to_sparse_csr()
        parts = (x.values(), x.col_indices(), x.crow_indices())
        arrays = tuple(part.numpy() for part in parts)
        return SparseMatrix.from_scipy(_scaled(sp.csr_array(arrays, shape=tuple(x.shape)), norm))
    dense: Tensor = _scaled(x.to(torch.float32).reshape(x.shape[0], -1).contiguous(), norm)
    if int(torch.count_nonzero(dense)) < SPARSE_BELOW * dense.numel():
        return SparseMatrix.from_scipy(sp.csr_array(dense.numpy()))
    return dense


def _scaled(x: Any, norm: FeatureNorm) -> Any:
    """Return ``x`` (dense tensor or SciPy CSR) with its rows scaled as ``norm`` says."""
    sparse = not isinstance(x, Tensor)
    if norm == "auto":
        values = x.data if sparse else x
        filled = x.count_nonzero() if sparse else int(torch.count_nonzero(x))
        negative = values.size > 0 and values.min() < 0 if sparse else bool((x < 0).any())
        if negative or filled >= SPARSE_BELOW * x.shape[0] * x.shape[1]:
            return x
    elif norm is None:
        return x
    if sparse:
        total = np.asarray(abs(x).sum(axis=1)).reshape(-1)
        inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        return sp.csr_array(sp.diags_array(inverse) @ x)
    total = x.abs().sum(dim=1, keepdim=True)
    return x / torch.where(total > 0, total, 1.0)


class InputLinear(Linear):  # type: ignore[misc]
    """PyG's ``Linear`` (same parameters, same numbers) that also takes ``SparseMatrix``."""

    @classmethod
    def like(cls, linear: Linear) -> Self:
        """Return a freshly initialised layer of the same shape and initialisation as ``linear``."""
        return cls(
            linear.in_channels,
            linear.out_channels,
            bias=linear.bias is not None,
            weight_initializer=linear.weight_initializer,
            bias_initializer=linear.bias_initializer,
        )

    def project(self, x: Features) -> Tensor:
        r"""Return :math:`X W^\top`, without the bias."""
        projected: Tensor = x @ self.weight.t()
        return projected

    def forward(self, x: Features) -> Tensor:
        r"""Return :math:`X W^\top + b` ``[N, out_channels]``."""
        projected = self.project(x)
        return projected if self.bias is None else projected + self.bias


class InputDropout(nn.Module):
    """Dropout on the features: on dense entries, or on the stored entries of sparse ones."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Features | Collected) -> Features | Collected:
        """Return ``x`` with entries dropped while training, ``x`` itself otherwise."""
        if not self.training or self.p == 0:
            return x
        if isinstance(x, Collected):
            raise InputError("prepared", "made for input_dropout=0", "Prepare with the same value.")
        return x.dropout(self.p) if isinstance(x, SparseMatrix) else dropout(x, self.p)
