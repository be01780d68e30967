"""What a LabelIssues promises about its parts, checked once at construction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from graphclean.types import InputError

REQUIRED_COLUMNS = {
    "node": "int64",
    "is_label_issue": "bool",
    "label_quality": "float64",
    "mislabel_probability": "float64",
    "given_label": "str",
    "predicted_label": "str",
    "suggested_label": "str",
    "suggestion_confidence": "float64",
    "degree": "int64",
}
"""Columns of every ``LabelIssues.frame`` and their dtypes, in order; evidence columns follow."""

ALTERNATIVE_COLUMNS = {
    "alternative_label": "str",
    "alternative_confidence": "float64",
    "given_confidence": "float64",
}
"""What every detector adds so that flags can be set anew: all three columns, or none of them."""

_ROW_SUM_TOLERANCE = 1e-6


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the class names as a tuple of distinct plain strings, else raise InputError."""
    result = tuple(names)
    if not all(isinstance(name, str) for name in result) or len(set(result)) != len(result):
        raise InputError("class_names", result, "Pass distinct strings, one per class.")
    return tuple(str(name) for name in result)


def checked_frame(frame: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a new frame: plain dtypes, required columns first; else raise InputError."""
    missing = [name for name in REQUIRED_COLUMNS if name not in frame.columns]
    if missing:
        raise InputError("frame", f"no column {missing[0]!r}", f"It needs: {[*REQUIRED_COLUMNS]}.")
    names = [*REQUIRED_COLUMNS, *(name for name in frame.columns if name not in REQUIRED_COLUMNS)]
    if len({*names, "node_id"}) != frame.shape[1] + 1 or not all(isinstance(n, str) for n in names):
        fix = "Name each column once, by a string; node_id is the index."
        raise InputError("frame", f"columns {[*frame.columns]}", fix)
    index = _plain(frame.index.to_series(), "the index")
    if index.dtype == "float64" or index.dtype == "bool" or not index.is_unique:
        raise InputError("frame", "its index", "Index it by unique integer or string node ids.")
    known = [name for name in ALTERNATIVE_COLUMNS if name in names]
    if known and len(known) < len(ALTERNATIVE_COLUMNS):
        raise InputError("frame", f"of {[*ALTERNATIVE_COLUMNS]} only {known}", "Give all or none.")
    dtypes, columns = REQUIRED_COLUMNS | ALTERNATIVE_COLUMNS | {"abstained": "bool"}, {}
    for name in names:
        column = _plain(frame[name], f"column {name!r}")
        wanted = dtypes.get(name, column.dtype)
        if wanted == "float64" and column.dtype == "int64":
            column = column.astype("float64")
        if column.dtype != np.dtype(object) and column.dtype != wanted:
            raise InputError("frame", f"column {name!r} is {column.dtype}", f"Make it {wanted}.")
        columns[name] = column.to_numpy() if column.dtype != "str" else column.array
    result = pd.DataFrame(columns, index=pd.Index(index.array, name="node_id"))
    _check_values(result, set(class_names))
    return result


def checked_transition(transition: Any, classes: int) -> np.ndarray | None:
    """Return a read-only float64 copy of T (``[C, C]``, rows summing to one), or None."""
    if transition is None:
        return None
    matrix = np.array(transition, dtype=np.float64)
    if matrix.shape != (classes, classes):
        raise InputError("transition", f"shape {matrix.shape}", f"Pass [{classes}, {classes}].")
    if (
        not (matrix >= 0).all()
        or np.abs(matrix.sum(axis=1) - 1).max(initial=0) > _ROW_SUM_TOLERANCE
    ):
        raise InputError(
            "transition",
            f"row sums {matrix.sum(axis=1)}, least entry {matrix.min()}",
            "Pass T[i, j] = Pr(given = j | true = i): not negative, rows summing to one.",
        )
    matrix.setflags(write=False)
    return matrix


def checked_meta(meta: dict[str, Any] | None) -> dict[str, Any]:
    """Return ``meta`` as it comes back from JSON, else raise InputError."""
    try:
        text = json.dumps(meta or {}, default=_plain_number, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("meta", str(error), "Keep to what JSON can hold.") from error
    result: dict[str, Any] = json.loads(text)
    return result


def _plain(column: pd.Series[Any], what: str) -> pd.Series[Any]:
    """Cast to int64, bool, float64 or str, whichever holds the values exactly."""
    kinds = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.to_numpy(), index=column.index)
    if kinds.is_bool_dtype(column.dtype) and not column.hasnans:
        return column.astype("bool")
    if kinds.is_integer_dtype(column.dtype) and not column.hasnans:
        return column.astype("int64")
    if kinds.is_float_dtype(column.dtype):
        return column.astype("float64")
    if len(column) == 0 or (
        kinds.infer_dtype(column, skipna=False) == "string" and not column.hasnans
    ):
        return column.astype("str")
    raise InputError(
        "frame", f"{what} is {column.dtype}", "Use bool, int, float or str without missing values."
    )


def _check_values(frame: pd.DataFrame, class_names: set[str]) -> None:
    shares = ["label_quality", "mislabel_probability", "suggestion_confidence"]
    labels = ["given_label", "predicted_label", "suggested_label"]
    if "alternative_label" in frame.columns:
        shares += ["alternative_confidence", "given_confidence"]
        labels += ["alternative_label"]
    for name in shares:
        _refuse(frame, name, ~frame[name].between(0, 1), "Keep it in [0, 1].")
    for name in labels:
        _refuse(frame, name, ~frame[name].isin(class_names), "Use one of class_names.")
    if "alternative_label" in frame.columns:
        same = frame["alternative_label"] == frame["given_label"]
        _refuse(frame, "alternative_label", same, "Use another class than the given one.")
    for name in ("node", "degree"):
        _refuse(frame, name, frame[name] < 0, "Keep it at 0 or above.")
    _refuse(frame, "node", frame["node"].duplicated(), "Give each node one row.")


def _refuse(frame: pd.DataFrame, name: str, wrong: pd.Series[bool], fix: str) -> None:
    if wrong.any():
        node, value = frame.index[wrong][0], frame[name][wrong].iloc[0]
        raise InputError("frame", f"column {name!r} of node {node!r} is {value!r}", fix)


def _plain_number(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON: {value!r}")
