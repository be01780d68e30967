"""Leaderboards and other tables of results as terminal text, Markdown and CSV.

In a notebook: ``IPython.display.Markdown(leaderboard_tables.markdown(table, HEADLINE))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from graphclean.issues import printable

HEADLINE = (
    "method",
    "rank",
    "runs",
    "failed",
    "missing",
    "ap",
    "f1",
    "difference",
    "p_value",
    "ece",
    "realised_fdr",
    "seconds",
)
"""Columns of a leaderboard that fit a terminal."""

_ABSENT = "-"


def text(table: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    """Return a table as aligned plain text, its notes below.

    A column with its standard error (``ap``, ``ap_se``) is shown as one, ``0.731 ± 0.004``;
    numbers to three decimals, seconds and megabytes to one, p-values to two digits. Index levels
    with a name become columns.

    Args:
        table: What `leaderboard`, `per_setting`, `averages_against` or `by_stratum` returns.
        columns: Which columns to show, in this order, such as `HEADLINE`; those that the table
            does not have are left out. None: all.
    """
    cells, right = _cells(table, columns)
    columns_of = []
    for name, column in cells.items():
        shown = [_heading(table, name), *column]
        width = max(map(len, shown))
        columns_of.append([c.rjust(width) if name in right else c.ljust(width) for c in shown])
    lines = ["  ".join(row).rstrip() for row in zip(*columns_of, strict=True)]
    return "\n".join([*lines, *_notes(table, "note: ")])


def markdown(table: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    """Return a table as GitHub-flavoured Markdown, its notes below as a list.

    Args:
        table: What `leaderboard`, `per_setting`, `averages_against` or `by_stratum` returns.
        columns: Which columns to show, as in `text`; numbers are written as there.
    """
    cells, right = _cells(table, columns)
    rule = ["---:" if name in right else ":---" for name in cells]
    rows = [[_heading(table, name) for name in cells], rule, *zip(*cells.values(), strict=True)]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    notes = _notes(table, "- ")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def csv(table: pd.DataFrame) -> str:
    """Return a table as CSV: every column, full precision, Unix line ends, no notes.

    Args:
        table: What `leaderboard`, `per_setting`, `averages_against` or `by_stratum` returns.
    """
    written: str = _flat(table).to_csv(index=False, lineterminator="\n")
    return written


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    named = [name for name in table.index.names if name is not None]
    return table.reset_index() if named else table


def _heading(table: pd.DataFrame, name: str) -> str:
    # Columns that share a name of their own are methods, which are called what they are called.
    return name if table.columns.name is not None else name.replace("_", " ")


def _cells(
    table: pd.DataFrame, columns: Sequence[str] | None
) -> tuple[dict[str, list[str]], set[str]]:
    """Return the columns as text, errors beside their means, and which of them are numbers."""
    flat = _flat(table)
    error_of = {name: f"{name}_se" for name in map(str, flat.columns)} | {"difference": "se"}
    error_of = {name: error for name, error in error_of.items() if error in flat}
    if "difference_se" in flat:
        error_of["difference"] = "difference_se"
    shown: dict[str, list[str]] = {}
    for name in map(str, flat.columns) if columns is None else columns:
        if name not in flat or name in error_of.values():
            continue
        write = _writer(name)
        cells = [write(value) for value in flat[name]]
        if name in error_of:
            beside = [write(value) for value in flat[error_of[name]]]
            cells = [
                cell if _ABSENT in (cell, error) else f"{cell} ± {error}"
                for cell, error in zip(cells, beside, strict=True)
            ]
        shown[name] = cells
    return shown, {name for name in shown if pd.api.types.is_numeric_dtype(flat[name])}


def _writer(name: str) -> Callable[[Any], str]:
    if name.startswith("p_"):
        return _p_value
    digits = 1 if name in ("seconds", "peak_mb") else 3

    def write(value: Any) -> str:
        if isinstance(value, float):
            return _ABSENT if math.isnan(value) else f"{value:.{digits}f}"
        return f"{value:,}" if isinstance(value, int) else printable(str(value))

    return write


def _p_value(value: float) -> str:
    if math.isnan(value):
        return _ABSENT
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def _notes(table: pd.DataFrame, mark: str) -> list[str]:
    return [f"{mark}{printable(note)}" for note in table.attrs.get("notes", [])]
