"""Tables for terminals and notebooks, safe against whatever an id or a label contains."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def printable(text: str) -> str:
    """Return ``text`` with control, newline and bidirectional characters shown as U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def text_table(frame: pd.DataFrame, rows: int = 20) -> str:
    """Return the first ``rows`` rows as aligned plain text ('' for an empty frame)."""
    if frame.empty:
        return ""
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    columns = []
    for name, right in zip(frame.columns, numeric, strict=True):
        cells = [name.replace("_", " "), *map(_cell, frame[name].head(rows))]
        width = max(map(len, cells))
        columns.append([c.rjust(width) if right else c.ljust(width) for c in cells])
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    if len(frame) > rows:
        lines.append(f"... and {len(frame) - rows:,} more")
    return "\n".join(lines)


def html_table(frame: pd.DataFrame, rows: int = 20, index: bool = False) -> str:
    """Return the first ``rows`` rows as an HTML table with every cell escaped."""
    shown = frame.head(rows).rename(columns=lambda name: name.replace("_", " "))
    table: str = shown.to_html(
        index=index, border=0, escape=True, na_rep="–", float_format="{:.3f}".format
    )
    if len(frame) > rows:
        table += f"<p>… and {len(frame) - rows:,} more</p>"
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
