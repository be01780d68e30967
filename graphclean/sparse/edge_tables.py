"""Columns of tables on disk, read a batch at a time: Parquet, CSV and TSV."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from graphclean.types import InputError

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
"""Suffixes of text files, and what separates their cells."""

PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = (*SEPARATORS, *PARQUET_SUFFIXES)

_BATCH_ROWS = 2**18
_BLOCK_BYTES = 2**22


def table_suffix(path: Path) -> str:
    """Return the lower-case suffix of a path, looking through ``.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def no_column(column: Any, columns: Iterable[Any], argument: str) -> InputError:
    """Return the error for a column that does not exist; it names the nearest one and all."""
    known = [str(name) for name in columns]
    close = difflib.get_close_matches(str(column), known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return InputError(argument, f"no column {column!r}", f"{hint}Columns: {', '.join(known)}.")


class TableStream:
    """A table that is read front to back, as often as asked for, without being held.

    Args:
        path: ``.parquet``, ``.csv`` or ``.tsv``, the latter two also with ``.gz``; the first line
            of text has the names of the columns.
        argument: Name of the argument, for errors.

    Attributes:
        columns: Names of the columns.
        rows: Number of rows; None where the file does not say.

    Raises:
        InputError: No such file, an unknown suffix, or a file that cannot be read.
    """

    def __init__(self, path: str | Path, argument: str) -> None:
        self.path, self.argument = Path(path), argument
        if not self.path.is_file():
            raise InputError(argument, str(path), "There is no such file.")
        suffix = table_suffix(self.path)
        self._separator = SEPARATORS.get(suffix)
        self.rows: int | None = None
        if suffix not in TABLE_SUFFIXES:
            known = ", ".join(TABLE_SUFFIXES)
            raise InputError(argument, str(path), f"Pass a file with suffix {known}.")
        with self._reading():
            if self._separator is None:
                file = pq.ParquetFile(self.path)
                self._schema, self.rows = file.schema_arrow, file.metadata.num_rows
            else:
                self._schema = self._csv({}, None).schema
        self.columns: list[str] = list(self._schema.names)

    def has(self, column: str, argument: str) -> str:
        """Return the name of a column if there is one, and only one.

        Raises:
            InputError: There is none, or there are two.
        """
        if self.columns.count(column) == 1:
            return column
        if column in self.columns:
            raise InputError(argument, f"two columns called {column!r}", "Rename one of them.")
        raise no_column(column, self.columns, argument)

    @property
    def is_text(self) -> bool:
        """Whether cells are text, whatever they look like: CSV and TSV."""
        return self._separator is not None

    def holds_integers(self, column: str) -> bool:
        """Whether a column is of integers; of text, whether its first cells are."""
        return bool(pa.types.is_integer(self._value_type(column)))

    def refuse_floats(self, column: str, argument: str) -> None:
        """Refuse floating-point ids: what an integer column with gaps becomes in pandas.

        Raises:
            InputError: The file stores the column as floating-point numbers.
        """
        if not self.is_text and pa.types.is_floating(self._value_type(column)):
            raise InputError(
                argument,
                f"column {column!r} holds floating-point numbers",
                "Store ids as integers or as text, without gaps.",
            )

    def read(
        self, columns: Sequence[str], types: Sequence[pa.DataType]
    ) -> Iterator[list[pa.Array]]:
        """Yield batches of columns, each as the type asked for; a missing cell is an error.

        Raises:
            InputError: A cell is missing or does not fit the type.
        """
        names = list(dict.fromkeys(columns))
        done = 0
        for batch in self._batches(names, dict(zip(columns, types, strict=True))):
            arrays = []
            for column, dtype in zip(columns, types, strict=True):
                array = batch.column(names.index(column))
                array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
                with self._reading():
                    array = array.cast(dtype)
                missing = pc.is_null(array)
                if pa.types.is_large_string(dtype):
                    missing = pc.or_(missing, pc.fill_null(pc.equal(array, ""), True))
                if pc.any(missing).as_py():
                    row = done + int(np.flatnonzero(missing.to_numpy(zero_copy_only=False))[0])
                    raise InputError(
                        self.argument,
                        f"{self.path.name}: {column!r} is missing at row {row}",
                        "Fill it in or leave the row out.",
                    )
                arrays.append(array)
            done += batch.num_rows
            yield arrays

    def _value_type(self, column: str) -> pa.DataType:
        dtype = self._schema.field(column).type
        return dtype.value_type if pa.types.is_dictionary(dtype) else dtype

    def _batches(
        self, columns: list[str], types: dict[str, pa.DataType]
    ) -> Iterator[pa.RecordBatch]:
        with self._reading():
            if self._separator is None:
                file = pq.ParquetFile(self.path, pre_buffer=False)
                yield from file.iter_batches(_BATCH_ROWS, columns=columns)
            else:
                yield from self._csv(types, columns)

    def _csv(
        self, types: dict[str, pa.DataType], columns: list[str] | None
    ) -> pa_csv.CSVStreamingReader:
        stream = pa.input_stream(str(self.path), compression="detect")
        return pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(delimiter=self._separator),
            convert_options=pa_csv.ConvertOptions(
                column_types=types, include_columns=columns, strings_can_be_null=False
            ),
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what Arrow says about a file into an InputError."""
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(
                self.argument, str(self.path), f"It cannot be read: {str(error).strip()}"
            ) from error
