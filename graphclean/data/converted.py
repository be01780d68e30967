"""Graphs that ``graphclean convert`` wrote: edges in a folder, everything else in a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch_geometric.data import Data

from graphclean.data.ids import find_ids, id_index
from graphclean.data.tables import NodeColumns, Table, build_graph, read_nodes
from graphclean.sparse.storage import META, CsrFolder, read_csr
from graphclean.types import InputError


def is_converted(path: str | Path) -> bool:
    """Whether a path is a folder with the files of a converted graph."""
    return (Path(path) / META).is_file()


def from_converted(
    folder: str | Path,
    nodes: Table | None = None,
    *,
    label: str | None = None,
    id: str | None = None,
    features: str | Sequence[str] | None = None,
) -> Data:
    """Load a graph that ``graphclean convert`` wrote into memory.

    Nodes keep the order that they have in the folder, whatever the order of the table; every node
    has one row in it. Without a table there is neither ``x`` nor ``y``.

    Args:
        folder: What ``convert`` wrote.
        nodes: Table of nodes: a frame or the path of a CSV, TSV or Parquet file.
        label: Column of ``nodes`` with the labels.
        id: Column of ``nodes`` with the ids; default as for `from_tables`.
        features: Columns of ``nodes`` to use; default all but the id and the label.

    Raises:
        InputError: The folder or the table cannot be read, ``nodes`` without ``label`` or the
            other way round, a node without a row, or a row that is no node.
    """
    opened = read_csr(folder)
    given = {"label": label, "id": id, "features": features}
    if nodes is None:
        for argument, value in given.items():
            if value is not None:
                raise InputError(
                    "nodes", "missing", f"Pass the table of nodes that {argument}={value!r} names."
                )
    elif label is None:
        raise InputError("label", "missing", "Name the column that holds the labels.")
    data = opened.to_data()
    if opened.meta["symmetric"]:  # rows are sources too: so they are in the order of `check`
        data.edge_index = data.edge_index.flip(0)
    if nodes is not None and label is not None:
        columns = read_nodes(nodes, label=label, id=id, features=features)
        built = build_graph(_in_order(columns, opened), data.edge_index, None, [])
        if "edge_weight" in data:
            built.edge_weight = data.edge_weight
        data = built
    data.name = Path(folder).resolve().name.split(".")[0]
    return data


def _in_order(columns: NodeColumns, folder: CsrFolder) -> NodeColumns:
    """Return one row for every node of the folder, in its order."""
    index = id_index(columns.ids)
    ids: Sequence[Any] = folder.ids() or range(folder.num_nodes)
    rows = find_ids(index, ids)
    without = np.flatnonzero(rows < 0)
    spare = np.ones(len(index), dtype=bool)
    spare[rows[rows >= 0]] = False
    wrong = []
    if len(without):
        wrong.append(
            f"{len(without)} of {len(ids)} nodes of {folder.path.name} have no row, "
            f"such as {[ids[node] for node in without[:3]]}"
        )
    if spare.any():
        wrong.append(
            f"{int(spare.sum())} of {len(index)} rows are no node of {folder.path.name}, "
            f"such as {index[spare][:3].tolist()}"
        )
    if wrong:
        raise InputError(
            "nodes",
            "; ".join(wrong),
            "Pass the table that belongs to the graph, name its column of ids (id=), or, if nodes "
            "without edges have rows, convert with nodes=... and id=... too.",
        )
    return columns if (rows == np.arange(len(rows))).all() else columns.take(rows)
