"""Tables of edges of any length to memory-mapped CSR, in bounded memory."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from graphclean.sparse.edge_tables import TableStream
from graphclean.sparse.external_sort import MAX_NODES, EdgeSorter
from graphclean.sparse.node_numbers import (
    IdNumbers,
    RowNumbers,
    collected_ids,
    listed_ids,
    progress_bar,
)
from graphclean.sparse.storage import META, CsrFolder, CsrWriter, read_csr
from graphclean.types import InputError

SOURCE_NAMES = ("source", "src", "from")
TARGET_NAMES = ("target", "dst", "to")

_UNITS = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_LEAST_MEMORY = 2**24


def convert_edges(
    edges: str | Path,
    out: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    weight: str | None = None,
    nodes: str | Path | None = None,
    id: str | None = None,
    renumber: bool = False,
    num_nodes: int | None = None,
    directed: bool = False,
    memory: int | str = "1GiB",
    overwrite: bool = False,
    progress: bool = False,
) -> CsrFolder:
    """Turn a table of edges into a folder that `open_csr` maps into memory.

    The table is read a batch at a time and sorted on disk (`EdgeSorter`), so that memory is
    bounded by ``memory`` plus 16 bytes a node and the ids, however many edges there are. While it
    works, up to 16 bytes an edge (32 with weights) lie beside ``out``, twice that when
    undirected. The folder appears whole or not at all. The graph is the one that
    ``graphclean.from_tables`` and ``check`` make: self-loops are dropped, unweighted duplicates
    count once, the weights of duplicates are summed; undirected, every edge runs both ways, with
    the larger weight where the two ways have different ones.

    Ids are 0..N-1 where both columns hold integers. Other ids come with ``nodes`` and ``id``, in
    the order of that table, or are numbered in sorted order (``renumber``; always where they are
    no integers). In text files such ids are text: ``"007"`` stays ``"007"``.

    Args:
        edges: ``.parquet``, ``.csv`` or ``.tsv`` (``.csv.gz`` too), one row an edge.
        out: Folder to write, such as ``graph.csr``.
        source: Column with the first end; default source, src or from, else the first.
        target: Column with the second end; default target, dst or to, else the second.
        weight: Column with weights, finite and not negative; default none.
        nodes: Table of nodes, of the same kinds of files.
        id: Column of ``nodes`` with the ids.
        renumber: Whether to number integers as well that are not 0..N-1.
        num_nodes: N, where nodes after the largest id have no edge.
        directed: Keep the direction of edges; by default they run both ways.
        memory: Working memory: bytes, or a number with KiB, MiB or GiB.
        overwrite: Whether a folder that was written so before may be replaced.
        progress: Whether to show progress on standard error.

    Raises:
        InputError: A file or column that does not exist or cannot be read, a missing or unknown
            id, an id outside 0..N-1, a weight that is negative or not finite, options that
            exclude each other, an ``out`` that is something else.
    """
    budget = parse_memory(memory)
    if (nodes is None) != (id is None):
        raise InputError("id", "missing" if id is None else id, "Pass nodes and id together.")
    numbered = "nodes" if nodes is not None else "renumber" if renumber else None
    if nodes is not None and renumber:
        raise InputError("renumber", renumber, "Leave it out: the table of nodes has the ids.")
    if num_nodes is not None and not 0 < num_nodes <= MAX_NODES:
        raise InputError("num_nodes", num_nodes, f"Pass a number from 1 to {MAX_NODES}.")
    table = TableStream(edges, "edges")
    ends = _ends(table, source, target)
    if weight is not None:
        table.has(weight, "weight")
    for argument, column in zip(("source", "target"), ends, strict=True):
        table.refuse_floats(column, argument)
    if numbered is None and not all(table.holds_integers(column) for column in ends):
        numbered = "renumber"
    if numbered is not None and num_nodes is not None:
        raise InputError("num_nodes", num_nodes, "Leave it out: the ids tell how many nodes.")
    with _whole_or_nothing(Path(out), overwrite) as (folder, runs):
        ids = None
        if nodes is not None and id is not None:
            ids = listed_ids(TableStream(nodes, "nodes"), id, table, ends)
        elif numbered is not None:
            ids = collected_ids(table, ends, progress)
        rows = RowNumbers(num_nodes) if ids is None else IdNumbers(ids)
        sorter = EdgeSorter(runs, budget, weighted=weight is not None)
        read = _sort(table, ends, weight, rows, sorter, not directed, progress)
        writer = CsrWriter(folder, weighted=weight is not None, symmetric=not directed)
        with writer, progress_bar(sorter.entries, "writing", progress) as bar:
            for block in sorter.merged():
                writer.append(*block)
                bar.update(sorter.done - bar.n)
        writer.finish(rows.num_nodes(read["rows"]), ids, read)
    return read_csr(out)


def parse_memory(memory: int | str) -> int:
    """Return a number of bytes, given as such or as ``"2GiB"``.

    Raises:
        InputError: Not a number with a known unit, or less than 16 MiB.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", str(memory).lower())
    if match is None or match[2] not in _UNITS:
        raise InputError("memory", memory, "Pass a number of bytes, or such as 512MiB or 2GiB.")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size < _LEAST_MEMORY:
        raise InputError("memory", memory, "Pass at least 16MiB.")
    return size


def _ends(table: TableStream, source: str | None, target: str | None) -> tuple[str, str]:
    if len(table.columns) < 2:
        raise InputError("edges", f"{len(table.columns)} column(s)", "Two are needed: the ends.")
    lower = {column.lower(): column for column in reversed(table.columns)}
    picked = []
    for argument, given, usual, position in (
        ("source", source, SOURCE_NAMES, 0),
        ("target", target, TARGET_NAMES, 1),
    ):
        found = next((lower[name] for name in usual if name in lower), table.columns[position])
        picked.append(table.has(found if given is None else given, argument))
    if picked[0] == picked[1]:
        raise InputError(
            "edges", f"both ends from column {picked[0]!r}", "Name the columns: source, target."
        )
    if all(re.fullmatch(r"-?[0-9]+", column) for column in picked):
        raise InputError(
            "edges",
            f"the first line {' '.join(picked)} is an edge",
            "Put a line with the names of the columns before it, such as source,target.",
        )
    return picked[0], picked[1]


def _sort(
    table: TableStream,
    ends: tuple[str, str],
    weight: str | None,
    rows: RowNumbers | IdNumbers,
    sorter: EdgeSorter,
    mirror: bool,
    progress: bool,
) -> dict[str, int]:
    """Fill the sorter; return how many rows and self-loops were read."""
    columns = [*ends, *([weight] if weight is not None else [])]
    types = [rows.dtype, rows.dtype, pa.float64()][: len(columns)]
    total = loops = 0
    with progress_bar(table.rows, "reading", progress) as bar:
        for source, target, *rest in table.read(columns, types):
            first, second = rows(source, "source"), rows(target, "target")
            values = _checked_weights(rest[0], total) if rest else None
            keep = first != second
            total += len(first)
            loops += int(len(first) - keep.sum())
            values = None if values is None else values[keep]
            sorter.add(second[keep], first[keep], values, mirror)
            bar.update(len(first))
    sorter.flush()
    return {"rows": total, "self_loops": loops}


def _checked_weights(values: pa.Array, done: int) -> np.ndarray:
    weights: np.ndarray = values.to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise InputError(
            "weight",
            f"{weights[wrong[0]]} at row {done + int(wrong[0])}",
            "Pass finite weights of at least zero.",
        )
    return weights


@contextmanager
def _whole_or_nothing(out: Path, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder that becomes ``out`` on success, and one for temporary files."""
    if out.exists() and not (overwrite and _replaceable(out)):
        fix = (
            "It is no folder that convert wrote: choose another."
            if overwrite
            else "It exists: choose another folder, or pass overwrite=True (--overwrite)."
        )
        raise InputError("out", str(out), fix)
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    folder, runs = beside / "graph", beside / "runs"
    try:
        try:
            folder.mkdir(parents=True)
            runs.mkdir()
        except OSError as error:
            raise InputError("out", str(out), f"It cannot be written: {error}") from error
        yield folder, runs
        if out.exists():
            out.rename(beside / "replaced")
        try:
            folder.rename(out)
        except BaseException:
            if (beside / "replaced").exists():
                (beside / "replaced").rename(out)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replaceable(out: Path) -> bool:
    """Whether a folder holds a converted graph and nothing else."""
    try:
        files = read_csr(out).meta["files"]
    except InputError:
        return False
    return {path.name for path in out.iterdir()} == {META, *files}
