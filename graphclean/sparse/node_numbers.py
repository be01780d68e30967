"""Which row of the matrix an id of a table of edges is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from graphclean.sparse.edge_tables import TableStream
from graphclean.sparse.external_sort import MAX_NODES
from graphclean.types import InputError

_UNIQUE_ROWS = 2**22
"""Ids with repetitions that are collected before they are thinned out."""


def progress_bar(total: int | None, what: str, progress: bool) -> tqdm[None]:
    """Return the bar of one pass; without a total it counts up."""
    return tqdm(total=total, desc=what, unit="", unit_scale=True, disable=not progress)


class RowNumbers:
    """Ids that are rows already: integers 0..N-1."""

    dtype = pa.int64()

    def __init__(self, num_nodes: int | None) -> None:
        self.stated, self.largest = num_nodes, -1

    def __call__(self, ids: pa.Array, end: str) -> np.ndarray:
        """Return the rows of a batch of ids, int64; ``end`` names them in errors."""
        rows: np.ndarray = ids.to_numpy()
        if not len(rows):
            return rows
        limit = self.stated or MAX_NODES
        least, largest = int(rows.min()), int(rows.max())
        if least < 0 or largest >= limit:
            raise InputError(
                end,
                least if least < 0 else largest,
                f"Pass ids 0..{limit - 1}, or renumber=True, or nodes=... with id=....",
            )
        self.largest = max(self.largest, largest)
        return rows

    def num_nodes(self, edges: int) -> int:
        """Return N; refuse ids so large that almost all rows would be empty."""
        found = self.largest + 1
        if self.stated is None and found > 20 * edges + 1000:
            raise InputError(
                "edges",
                f"{edges} edges with ids up to {self.largest}",
                "Pass renumber=True to number the ids, or num_nodes=... if they are 0..N-1.",
            )
        if not (self.stated or found):
            raise InputError("edges", "no edges", "Pass num_nodes=... for a graph without edges.")
        return self.stated or found


class IdNumbers:
    """Ids by their position in a list; the list is hashed once."""

    def __init__(self, ids: pa.Array) -> None:
        self.dtype = ids.type
        self._index = pd.Index(ids.to_pandas())

    def __call__(self, ids: pa.Array, end: str) -> np.ndarray:
        """Return the rows of a batch of ids, int64; ``end`` names them in errors."""
        coded = ids.dictionary_encode()
        position = self._index.get_indexer(pd.Index(coded.dictionary.to_pandas()))
        unknown = np.flatnonzero(position < 0)
        if len(unknown):
            examples = coded.dictionary.take(pa.array(unknown[:3])).to_pylist()
            raise InputError(
                end, f"ids of no node, such as {examples}", "Add these nodes or drop the edges."
            )
        rows: np.ndarray = position[coded.indices.to_numpy()].astype(np.int64, copy=False)
        return rows

    def num_nodes(self, edges: int) -> int:
        """Return N."""
        return len(self._index)


def listed_ids(
    nodes: TableStream, column: str, table: TableStream, ends: tuple[str, str]
) -> pa.Array:
    """Return the ids of the table of nodes, integers if those of the edges are too."""
    nodes.refuse_floats(nodes.has(column, "id"), "id")
    integers = nodes.holds_integers(column) and all(table.holds_integers(end) for end in ends)
    text = nodes.is_text or table.is_text
    dtype = pa.int64() if integers and not text else pa.large_string()
    parts = [batch[0] for batch in nodes.read([column], [dtype])]
    ids = pa.concat_arrays(parts) if parts else pa.array([], dtype)
    if not len(ids):
        raise InputError("nodes", str(nodes.path), "It has no rows: pass a table of nodes.")
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        raise InputError(
            "id", f"duplicates such as {twice[:3].to_pylist()}", "Give every node its own id."
        )
    return ids


def collected_ids(table: TableStream, ends: tuple[str, str], progress: bool) -> pa.Array:
    """Return the distinct ids of all edges, sorted."""
    integers = not table.is_text and all(table.holds_integers(end) for end in ends)
    dtype = pa.int64() if integers else pa.large_string()
    known, fresh, size = pa.array([], dtype), [], 0
    with progress_bar(table.rows, "ids", progress) as bar:
        for source, target in table.read(ends, [dtype, dtype]):
            fresh += [source.unique(), target.unique()]
            size += len(fresh[-1]) + len(fresh[-2])
            if size > max(_UNIQUE_ROWS, len(known)):
                known, fresh, size = pa.concat_arrays([known, *fresh]).unique(), [], 0
            bar.update(len(source))
    known = pa.concat_arrays([known, *fresh]).unique()
    if not len(known):
        raise InputError("edges", str(table.path), "It has no edges: pass nodes=... with id=....")
    return known.take(pc.array_sort_indices(known))
