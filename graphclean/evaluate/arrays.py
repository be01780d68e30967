"""Arguments of the metrics, checked: one value a node, of the right kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphclean.types import InputError


def score_array(argument: str, values: Any, length: int) -> np.ndarray:
    """Return finite scores, float64 ``[length]``, else raise InputError."""
    found = np.asarray(values)
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        shown = f"dtype {found.dtype}, or a value that is not finite"
        raise InputError(argument, shown, f"Pass {length} finite numbers.")
    return _vector(argument, found.astype(np.float64), length)


def mask_array(argument: str, values: Any, length: int | None = None) -> np.ndarray:
    """Return a mask, bool ``[length]`` (None: of any length), else raise InputError."""
    found = np.asarray(values)
    if found.dtype != bool:
        shown, fix = f"dtype {found.dtype}", "Pass True and False."
        raise InputError(argument, shown, fix)
    return _vector(argument, found, length)


def label_array(argument: str, values: Any, length: int | None = None) -> np.ndarray:
    """Return labels, int64 ``[length]`` (None: of any length), else raise InputError."""
    found = np.asarray(values)
    if found.dtype.kind not in "iu":
        shown, fix = f"dtype {found.dtype}", "Pass integer labels, -1 = none."
        raise InputError(argument, shown, fix)
    return _vector(argument, found.astype(np.int64), length)


def _vector(argument: str, found: np.ndarray, length: int | None) -> np.ndarray:
    if found.ndim != 1 or length not in (None, len(found)):
        wanted = "one value a node" if length is None else f"{length} values"
        raise InputError(argument, f"shape {found.shape}", f"Pass {wanted}.")
    return found
