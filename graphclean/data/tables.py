"""Graphs as two tables: one row a node, one row an edge."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from graphclean.data.encode import copies_of_label, encode_columns
from graphclean.data.features import structural_features
from graphclean.data.ids import find_ids, id_index
from graphclean.data.labels import class_names, encode_labels, node_ids
from graphclean.data.node_frame import node_frame
from graphclean.data.table_files import label_column, read_table, typed_column
from graphclean.sparse.convert import SOURCE_NAMES, TARGET_NAMES
from graphclean.sparse.edge_tables import no_column
from graphclean.types import InputError

Table = pd.DataFrame | str | Path

_ID_NAMES = ("id", "node_id", "node")


def from_tables(
    nodes: Table,
    edges: Table,
    *,
    label: str,
    id: str | None = None,
    source: str | None = None,
    target: str | None = None,
    weight: str | None = None,
    features: str | Sequence[str] | None = None,
    name: str | None = None,
) -> Data:
    """Build a graph from a table of nodes and a table of edges.

    Tables are pandas frames or paths of CSV, TSV or Parquet files (``.csv.gz`` too). Ids and
    labels survive: ``data.node_ids`` and ``data.class_names`` give them back and `to_tables`
    writes them. In CSV and TSV files ids and labels are read as strings (``"007"`` stays
    ``"007"``). A missing or empty label (in files also NA, N/A or NaN) becomes -1.

    Features are made by `graphclean.data.encode.encode_columns`; a column that merely repeats the
    label is left out; where no column carries anything, `structural_features` stand in. Every such
    decision is a sentence in ``data.check_notes``. The columns themselves stay in
    ``data.node_frame``, with their types and gaps, for learners of tables.

    Args:
        nodes: One row a node.
        edges: One row an edge, in either direction.
        label: Column of ``nodes`` with the labels.
        id: Column of ``nodes`` with the ids; default a column called id, node_id or node, else
            the index of the frame (of a file: the row number from 0).
        source: Column of ``edges``; default source, src or from, else the first column.
        target: Column of ``edges``; default target, dst or to, else the second column.
        weight: Column of ``edges`` with weights; default none.
        features: Columns of ``nodes`` to use; default all but the id and the label.
        name: Name of the graph, for reports.

    Raises:
        InputError: A file or column that does not exist, duplicate or missing ids, an edge to an
            id that is not a node, a label that is not a class, a number that is infinite.
    """
    columns = read_nodes(nodes, label=label, id=id, features=features)
    edge_frame, edges_untyped = read_table(edges, "edges")
    source, target = _ends(edge_frame, source, target)
    notes: list[str] = []
    weights = None
    if weight is not None:
        _require(edge_frame, weight, "weight")
        weights = _numbers(edge_frame[weight])
    elif "weight" in edge_frame.columns and "weight" not in (source, target):
        notes.append("edge column 'weight' is not used: pass weight='weight' to use it")
    ends = [edge_frame[source], edge_frame[target]]
    del edge_frame
    if edges_untyped:
        ends = [end.mask(end == "") for end in ends]
    edge_index = edges_between(columns.ids, *ends)
    del ends
    data = build_graph(columns, edge_index, weights, notes)
    if name is not None:
        data.name = name
    return data


@dataclass(frozen=True)
class NodeColumns:
    """What a table says about its nodes, in the order of its rows.

    Attributes:
        ids: One id a node.
        features: The columns to make features of.
        labels: One label a node, as written.
        chosen: Whether the user named the features: then copies of the label are among them.
    """

    ids: list[Hashable]
    features: pd.DataFrame
    labels: pd.Series
    chosen: bool

    def take(self, rows: np.ndarray) -> NodeColumns:
        """Return the nodes of some rows, in their order."""
        ids = [self.ids[row] for row in rows.tolist()]
        return NodeColumns(ids, self.features.iloc[rows], self.labels.iloc[rows], self.chosen)


def read_nodes(
    nodes: Table, *, label: str, id: str | None, features: str | Sequence[str] | None
) -> NodeColumns:
    """Read the table of nodes; see `from_tables`.

    Raises:
        InputError: The table cannot be read, or a column does not exist.
    """
    frame, untyped = read_table(nodes, "nodes")
    _require(frame, label, "label")
    id = id_column(frame, id, label)
    columns = [c for c in frame.columns if c not in (id, label)]
    wanted = [features] if isinstance(features, str) else features
    for column in wanted or ():
        _require(frame, column, "features")
        if column not in columns:
            raise InputError("features", column, "It is the id or the label: leave it out.")
    table = frame[columns if wanted is None else list(wanted)]
    labels = frame[label]
    if untyped:
        table, labels = table.apply(typed_column), label_column(labels)
    ids = (frame.index if id is None else frame[id]).tolist()
    return NodeColumns(ids, table, labels, chosen=wanted is not None)


def id_column(frame: pd.DataFrame, id: str | None, label: str) -> str | None:
    """Return the column with the ids: the named one, else a usual one; None for the index."""
    return _pick(frame, id, tuple(name for name in _ID_NAMES if name != label), "id")


def edges_between(
    ids: list[Hashable],
    source: Sequence[Hashable] | pd.Series,
    target: Sequence[Hashable] | pd.Series,
) -> torch.Tensor:
    """Return long ``[2, E]``: pairs of ids as pairs of nodes.

    Raises:
        InputError: An id of a node is missing or not unique, or an edge names no node.
    """
    index = id_index(ids)
    edges = np.empty((2, len(source)), dtype=np.int64)
    for end, (argument, values) in enumerate((("source", source), ("target", target))):
        edges[end] = find_ids(index, values)
        unknown = np.flatnonzero(edges[end] < 0)
        if len(unknown):
            first = pd.Series(values, dtype=object).iloc[unknown].unique()[:3].tolist()
            raise InputError(
                argument,
                f"{len(unknown)} of {len(values)} edges have ids of no node, such as {first}",
                "Add these nodes, drop the edges, or name the columns (id=, source=, target=).",
            )
    return torch.from_numpy(edges)


def build_graph(
    nodes: NodeColumns, edge_index: torch.Tensor, weight: np.ndarray | None, notes: list[str]
) -> Data:
    """Assemble a graph from its nodes and edges; ``notes`` are kept and added to."""
    y, names, label_notes = encode_labels(nodes.labels)
    notes += label_notes
    table, count = nodes.features, len(nodes.ids)
    if not nodes.chosen:
        for column in copies_of_label(table, y):
            notes.append(f"column {column!r} left out: it repeats the label under another name")
            table = table.drop(columns=column)
    data = Data(edge_index=edge_index, y=y, num_nodes=count)
    if len(table.columns):
        data.node_frame = node_frame(table)
    data.x, data.feature_names = encode_columns(table, notes)
    if data.x is None and count:
        data.x, data.feature_names = structural_features(edge_index, count)
        notes.append("no features: log degree and a spectral embedding of the graph stand in")
    if weight is not None:
        data.edge_weight = torch.from_numpy(weight.astype(np.float32))
    data.node_ids, data.class_names, data.check_notes = nodes.ids, names, notes
    return data


def to_tables(data: Data) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write a graph as two tables that `from_tables` reads.

    Returns:
        Nodes with the columns ``id``, the features (those of ``node_frame`` where there is one,
        else of ``x``) and ``label`` (missing where unlabelled), and edges with ``source``,
        ``target`` and, if there are weights, ``weight``; of an undirected graph every edge
        appears once.
    """
    ids = node_ids(data)
    columns: dict[str, Any] = {"id": ids}
    for feature, values in _features(data).items():
        columns[f"{feature} (feature)" if feature in ("id", "label") else feature] = values
    classes = class_names(data)
    codes = data.y.view(-1).tolist()
    columns["label"] = pd.Series([classes[c] if c >= 0 else None for c in codes], dtype=object)
    weight = getattr(data, "edge_weight", None)
    row, col = data.edge_index.cpu()
    keep = torch.ones_like(row, dtype=torch.bool)
    if is_undirected(data.edge_index, weight, num_nodes=data.num_nodes):
        keep = row <= col
    index = pd.Index(ids, tupleize_cols=False)
    edges = {
        "source": index.take(row[keep].numpy()),
        "target": index.take(col[keep].numpy()),
    }
    if weight is not None:
        edges["weight"] = weight.cpu()[keep].numpy()
    return pd.DataFrame(columns), pd.DataFrame(edges)


def _features(data: Data) -> dict[str, Any]:
    frame = getattr(data, "node_frame", None)
    if frame is not None:
        return {name: frame[name].array for name in frame.columns}
    if getattr(data, "x", None) is None:
        return {}
    x = data.x.to_dense().cpu().numpy()
    names = getattr(data, "feature_names", None) or [f"x{i}" for i in range(x.shape[1])]
    return {name: x[:, position] for position, name in enumerate(names)}


def _require(frame: pd.DataFrame, column: str | None, argument: str) -> None:
    if column not in frame.columns:
        raise no_column(column, frame.columns, argument)


def _pick(
    frame: pd.DataFrame, column: str | None, usual: tuple[str, ...], argument: str
) -> str | None:
    """Return the named column, else the first of the usual names that exists, else None."""
    if column is not None:
        _require(frame, column, argument)
        return column
    lower = {str(c).lower(): c for c in reversed(frame.columns)}
    return next((lower[name] for name in usual if name in lower), None)


def _ends(frame: pd.DataFrame, source: str | None, target: str | None) -> tuple[str, str]:
    if len(frame.columns) < 2:
        raise InputError("edges", f"{len(frame.columns)} column(s)", "Two are needed: the ends.")
    first = _pick(frame, source, SOURCE_NAMES, "source")
    second = _pick(frame, target, TARGET_NAMES, "target")
    first = frame.columns[0] if first is None else first
    second = frame.columns[1] if second is None else second
    if first == second:
        raise InputError(
            "edges", f"both ends from column {first!r}", "Name the columns: source=..., target=..."
        )
    return first, second


def _numbers(values: pd.Series) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(numbers).any():
        row = int(np.flatnonzero(np.isnan(numbers))[0])
        raise InputError("weight", f"{values.iloc[row]!r} at row {row}", "Pass a number.")
    return numbers
