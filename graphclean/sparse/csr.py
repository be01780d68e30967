"""Torch CSR tensors of parts that are known to fit."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def csr_tensor(crow: Tensor, column: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``torch.sparse_csr_tensor`` of parts that are trusted, without the beta warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(crow, column, values, size=size, check_invariants=False)
