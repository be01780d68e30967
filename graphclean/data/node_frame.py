"""The table of the nodes as the user had it, kept beside ``x`` as ``data.node_frame``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from graphclean.data.frame_columns import is_number, levels, numbers
from graphclean.types import InputError


def node_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a table with rows numbered from 0 and columns named by strings.

    Values, dtypes and gaps stay as they are; id and label are not to be among the columns.

    Raises:
        InputError: Two columns have the same name.
    """
    names = [str(name) for name in table.columns]
    twice = pd.Index(names)
    if not twice.is_unique:
        found = twice[twice.duplicated()][0]
        raise InputError("data.node_frame", f"two columns called {found!r}", "Rename one of them.")
    frame = table.reset_index(drop=True)
    frame.columns = pd.Index(names)
    return frame


def checked_frame(given: Any, nodes: int, notes: list[str]) -> pd.DataFrame:
    """Return a valid ``data.node_frame``; row i is node i, whatever the index says.

    Args:
        given: What the graph has.
        nodes: Number of nodes ``N``.
        notes: A sentence is appended if an index or names were changed.

    Raises:
        InputError: No frame, another number of rows, two columns of one name, an infinite or
            complex number.
    """
    argument = "data.node_frame"
    if not isinstance(given, pd.DataFrame):
        raise InputError(argument, f"a {type(given).__name__}", "Pass a pandas DataFrame.")
    if len(given) != nodes:
        raise InputError(
            argument, f"{len(given)} rows", f"Give it one row for each of the {nodes} nodes."
        )
    frame = given
    numbered = isinstance(given.index, pd.RangeIndex) and given.index.equals(pd.RangeIndex(nodes))
    named = all(isinstance(name, str) for name in given.columns) and given.columns.is_unique
    if not (numbered and named):
        frame = node_frame(given)
        notes.append("node_frame: rows are numbered from 0 (row i is node i), columns are strings")
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_complex_dtype(column.dtype):
            raise InputError(argument, f"column {name!r} is complex", "Pass real numbers.")
        if is_number(column):
            try:
                numbers(column)
            except InputError as error:
                raise InputError(argument, f"{error.argument} {error.value}", error.fix) from error
    return frame


def pack_frame(frame: pd.DataFrame) -> np.ndarray:
    """Return a frame as bytes, uint8: Arrow's file format, without compression or pickle.

    Columns of mixed types, which Arrow does not know, become strings.
    """
    columns = {name: _storable(frame[name]) for name in frame.columns}
    table = pa.Table.from_pandas(pd.DataFrame(columns, index=frame.index), preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def unpack_frame(content: np.ndarray) -> pd.DataFrame:
    """Return the frame that `pack_frame` was given.

    Raises:
        ValueError: It is not what `pack_frame` writes.
    """
    with pa.ipc.open_file(pa.BufferReader(content.tobytes())) as reader:
        frame: pd.DataFrame = reader.read_all().to_pandas()
    return frame


def _storable(column: pd.Series) -> pd.Series:
    try:
        pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pd.Series(levels(column), index=column.index)
    return column
