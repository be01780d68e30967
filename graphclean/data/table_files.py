"""Tables on disk: CSV, TSV and Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from graphclean.sparse.edge_tables import (
    PARQUET_SUFFIXES,
    SEPARATORS,
    TABLE_SUFFIXES,
    table_suffix,
)
from graphclean.types import InputError

_MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "<NA>", "NULL", "null", "None")
_MISSING_LABELS = ("", "NA", "N/A", "NaN", "nan", "<NA>")


def read_table(table: pd.DataFrame | str | Path, argument: str) -> tuple[pd.DataFrame, bool]:
    """Read a table; return it and whether all its cells are strings (CSV and TSV).

    Raises:
        InputError: If the file does not exist, cannot be read, has a suffix that is not known or
            two columns of the same name.
    """
    untyped = False
    if isinstance(table, pd.DataFrame):
        frame = table
    elif isinstance(table, (str, Path)):
        path = Path(table)
        untyped = table_suffix(path) in SEPARATORS
        frame = _read_file(path, argument)
    else:
        raise InputError(argument, f"a {type(table).__name__}", "Pass a pandas frame or a path.")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(argument, f"two columns called {twice!r}", "Rename one of them.")
    return frame, untyped


def typed_column(values: pd.Series) -> pd.Series:
    """Turn a column of strings into numbers if all its cells are numbers or missing."""
    known = values.where(~values.isin(_MISSING))
    numbers = pd.to_numeric(known, errors="coerce")
    return numbers if numbers.isna().equals(known.isna()) else known


def label_column(values: pd.Series) -> pd.Series:
    """Blank out the cells of a column of strings that mean a missing label."""
    return values.where(~values.isin(_MISSING_LABELS))


def _read_file(path: Path, argument: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(argument, str(path), "There is no such file.")
    suffix = table_suffix(path)
    try:
        if suffix in PARQUET_SUFFIXES:
            return pd.read_parquet(path)
        if suffix in SEPARATORS:
            return pd.read_csv(
                path,
                sep=SEPARATORS[suffix],
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
            )
    except (ValueError, OSError) as error:
        raise InputError(argument, str(path), f"It cannot be read: {error}") from error
    raise InputError(argument, str(path), f"Pass a file with suffix {', '.join(TABLE_SUFFIXES)}.")
