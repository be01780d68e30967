"""Columns of a frame as numbers, categories or text, whatever types pandas gives them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from graphclean.data.encode import MAX_ONE_HOT, seconds
from graphclean.types import InputError

ColumnKind = Literal["number", "category", "text"]

MAX_LEVELS = 255
"""A column with more levels than this is no category: it is the most that boosted trees take."""

ROWS_PER_LEVEL = 20
"""Beyond `MAX_ONE_HOT` levels, strings are a category if each has this many rows on average."""

_NUMBERS = {"boolean", "integer", "floating", "mixed-integer-float", "decimal"}
_DATES = {"date", "datetime", "datetime64"}


def column_kind(values: pd.Series) -> ColumnKind | None:
    """Tell how a column is to be read, without looking at labels.

    Numbers, bools and dates are numbers, also where the dtype is ``object``. A pandas category is
    a category, unless it has more than `MAX_LEVELS` levels: then it is text. Strings and anything
    else are a category if they have at most `MAX_ONE_HOT` distinct values and half as many as there
    are rows (as for `encode_columns`), or at most `MAX_LEVELS` and one in `ROWS_PER_LEVEL` rows;
    beyond they are text.

    Returns:
        The kind; None for a column that carries nothing: one value and no gap, or gaps only.
    """
    gaps = bool(values.isna().any())
    if is_number(values):
        found = numbers(values)
        found = found[~np.isnan(found)]
        return "number" if len(found) and (gaps or (found != found[0]).any()) else None
    count = len({level for level in levels(values) if level is not None})
    if count == 0 or count + gaps < 2:
        return None
    rows = len(values)
    most = max(2, min(MAX_ONE_HOT, rows // 2), min(MAX_LEVELS, rows // ROWS_PER_LEVEL))
    if isinstance(values.dtype, pd.CategoricalDtype):
        most = MAX_LEVELS
    return "category" if count <= most else "text"


def is_number(values: pd.Series) -> bool:
    """Whether a column holds numbers, bools or dates."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    if not pd.api.types.is_object_dtype(dtype):
        return bool(pd.api.types.is_numeric_dtype(dtype)) or _is_date(values)
    return pd.api.types.infer_dtype(values, skipna=True) in _NUMBERS | _DATES


def numbers(values: pd.Series) -> np.ndarray:
    """Return a column of numbers, bools (0, 1) or dates (seconds since 1970), float64 ``[N]``.

    Missing values are NaN.

    Raises:
        InputError: A number is infinite.
    """
    if pd.api.types.is_object_dtype(values.dtype):
        if pd.api.types.infer_dtype(values, skipna=True) in _DATES:
            values = pd.to_datetime(values, utc=True)
        else:
            values = values.where(values.notna(), np.nan).astype(np.float64)
    if _is_date(values):
        values = seconds(values)
    found: np.ndarray = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(found).any():
        row = int(np.flatnonzero(np.isinf(found))[0])
        raise InputError(
            f"column {values.name!r}", f"infinite at row {row}", "Replace or clear it."
        )
    return found


def levels(values: pd.Series) -> np.ndarray:
    """Return the values of a column as strings, object ``[N]``; missing ones are None.

    Whole numbers have no decimal point, so that a gap elsewhere in the column renames no level.
    """
    known = values.notna().to_numpy()
    found = np.full(len(values), None, dtype=object)
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = np.array([_spelled(level) for level in values.cat.categories], dtype=object)
        found[known] = names[values.cat.codes.to_numpy()[known]]
    else:
        found[known] = [_spelled(value) for value in values[known]]
    return found


def _spelled(value: object) -> str:
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def _is_date(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind in "mM"
