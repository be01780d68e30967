"""Label issues on disk: Parquet, CSV and JSON, whole or not at all, byte-identical when equal."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from graphclean.types import InputError

_FORMAT, _VERSION = "graphclean.LabelIssues", 1


def write_atomic(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write ``content`` to ``path`` through a temporary file beside it: whole or not at all."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def write_issues(
    folder: str | os.PathLike[str],
    frame: pd.DataFrame,
    transition: np.ndarray | None,
    record: dict[str, Any],
) -> Path:
    """Write the files of one LabelIssues; ``record`` is what ``summary.json`` holds of it."""
    parquet = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=True), parquet)
    files = {
        "issues.csv": frame.to_csv(lineterminator="\n").encode(),
        "issues.parquet": parquet.getvalue().to_pybytes(),
    }
    if transition is not None:
        names = record["class_names"]
        table = pd.DataFrame(transition, names, names)
        files["transition.csv"] = table.to_csv(
            lineterminator="\n", index_label="true \\ given"
        ).encode()
    header = {"format": _FORMAT, "version": _VERSION}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["summary.json"] = _json({**header, **record, "sha256": checksums})
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomic(target / name, content)
    if transition is None:
        (target / "transition.csv").unlink(missing_ok=True)
    return target


@contextmanager
def reading(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong inside into an InputError that names the folder and the fix."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            "folder",
            f"{os.fspath(folder)}: no file {Path(error.filename).name}",
            "Pass a folder that LabelIssues.save wrote.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(
            "folder",
            f"{os.fspath(folder)}: {type(error).__name__} {error}",
            "Write it again with LabelIssues.save.",
        ) from error


def read_issues(
    folder: str | os.PathLike[str],
) -> tuple[pd.DataFrame, np.ndarray | None, dict[str, Any]]:
    """Return the frame, T and the record that ``write_issues`` wrote, checked against it."""
    source = Path(folder)
    record = json.loads((source / "summary.json").read_bytes())
    if (record["format"], record["version"]) != (_FORMAT, _VERSION):
        raise ValueError(f"summary.json is not of {_FORMAT} version {_VERSION}")
    contents = {}
    for name in record["sha256"].keys() & {"issues.parquet", "transition.csv"}:
        contents[name] = (source / name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != record["sha256"][name]:
            raise ValueError(f"{name} is not the file that summary.json describes")
    frame = pq.read_table(pa.BufferReader(contents["issues.parquet"])).to_pandas()
    if "transition.csv" not in contents:
        return frame, None, record
    rows = list(csv.reader(io.StringIO(contents["transition.csv"].decode(), newline="")))
    return frame, np.array([row[1:] for row in rows[1:]], dtype=np.float64), record


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
