"""Transition matrices ``T[i, j] = Pr(given = j | true = i)``: realised and validated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.types import InputError


def realised_transition(clean: Tensor, given: Tensor, num_classes: int) -> Tensor:
    """Return the transition matrix that turned ``clean`` into ``given``.

    ``T[i, j] = #(clean = i, given = j) / #(clean = i)``.

    Args:
        clean: True labels ``[M]``, long, in [0, C).
        given: Given labels ``[M]``, long, in [0, C).
        num_classes: C.

    Returns:
        Float ``[C, C]``, rows sum to one; the row of an absent class is that of the identity.
    """
    pairs = torch.bincount(clean * num_classes + given, minlength=num_classes**2)
    counts = pairs.reshape(num_classes, num_classes).to(torch.float64)
    absent = torch.nonzero(counts.sum(dim=1) == 0).flatten()
    counts[absent, absent] = 1.0
    return (counts / counts.sum(dim=1, keepdim=True)).to(torch.float32)


def check_transition(transition: Any) -> Tensor:
    """Return ``transition`` as a float64 tensor ``[C, C]``, or raise InputError.

    Args:
        transition: Tensor, array or nested lists.

    Raises:
        InputError: If it is not square, has a negative or non-finite entry, or has a row that does
            not sum to one (within 1e-6).
    """
    if isinstance(transition, Tensor):
        transition = transition.detach().cpu().numpy()
    try:
        matrix = torch.from_numpy(np.array(transition, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError("transition", transition, "Pass a square matrix of numbers.") from None
    if matrix.dim() != 2 or matrix.size(0) != matrix.size(1):
        raise InputError(
            "transition", f"shape {list(matrix.shape)}", "Pass a square matrix [C, C]."
        )
    if not bool(torch.isfinite(matrix).all()) or bool((matrix < 0).any()):
        raise InputError(
            "transition",
            "a negative or non-finite entry",
            "Pass probabilities, row i = true class i.",
        )
    sums = matrix.sum(dim=1)
    worst = int((sums - 1.0).abs().argmax())
    if abs(float(sums[worst]) - 1.0) > 1e-6:
        raise InputError(
            "transition",
            f"row {worst} sums to {float(sums[worst]):.6g}",
            "Make every row sum to one: T[i, j] = Pr(given = j | true = i).",
        )
    return matrix
