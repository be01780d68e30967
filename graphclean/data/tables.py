"""Graphs as two tables: one row a node, one row an edge."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from graphclean.data.encode import copies_of_label, encode_columns
from graphclean.data.features import structural_features
from graphclean.data.labels import class_names, encode_labels, node_ids
from graphclean.data.table_files import label_column, read_table, typed_column
from graphclean.types import InputError

Table = pd.DataFrame | str | Path

_ID_NAMES = ("id", "node_id", "node")
_SOURCE_NAMES = ("source", "src", "from")
_TARGET_NAMES = ("target", "dst", "to")


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
    decision is a sentence in ``data.check_notes``.

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
    node_frame, nodes_untyped = read_table(nodes, "nodes")
    edge_frame, edges_untyped = read_table(edges, "edges")
    _require(node_frame, label, "label")
    id = _pick(node_frame, id, tuple(n for n in _ID_NAMES if n != label), "id")
    source, target = _ends(edge_frame, source, target)
    notes: list[str] = []
    weights = None
    if weight is not None:
        _require(edge_frame, weight, "weight")
        weights = _numbers(edge_frame[weight])
    elif "weight" in edge_frame.columns and "weight" not in (source, target):
        notes.append("edge column 'weight' is not used: pass weight='weight' to use it")
    columns = [c for c in node_frame.columns if c not in (id, label)]
    wanted = [features] if isinstance(features, str) else features
    for column in wanted or ():
        _require(node_frame, column, "features")
        if column not in columns:
            raise InputError("features", column, "It is the id or the label: leave it out.")
    table = node_frame[columns if wanted is None else list(wanted)]
    labels = node_frame[label]
    if nodes_untyped:
        table, labels = table.apply(typed_column), label_column(labels)
    ends = edge_frame[source], edge_frame[target]
    return build_graph(
        list(node_frame.index if id is None else node_frame[id]),
        table,
        labels,
        (e.mask(e == "") if edges_untyped else e for e in ends),
        weights,
        name=name,
        keep_copies=wanted is not None,
        notes=notes,
    )


def build_graph(
    ids: list[Hashable],
    table: pd.DataFrame,
    labels: Iterable[Any],
    ends: Iterable[Sequence[Hashable] | pd.Series],
    weight: np.ndarray | None,
    *,
    name: str | None,
    keep_copies: bool,
    notes: list[str],
) -> Data:
    """Assemble a graph from ids, feature columns, labels and edges given as pairs of ids."""
    y, names, label_notes = encode_labels(labels)
    notes += label_notes
    if not keep_copies:
        for column in copies_of_label(table, y):
            notes.append(f"column {column!r} left out: it repeats the label under another name")
            table = table.drop(columns=column)
    edge_index = _edge_index(ids, *ends)
    data = Data(edge_index=edge_index, y=y, num_nodes=len(ids))
    data.x, data.feature_names = encode_columns(table, notes)
    if data.x is None and ids:
        data.x, data.feature_names = structural_features(edge_index, len(ids))
        notes.append("no features: log degree and a spectral embedding of the graph stand in")
    if weight is not None:
        data.edge_weight = torch.from_numpy(weight.astype(np.float32))
    data.node_ids, data.class_names, data.check_notes = ids, names, notes
    if name is not None:
        data.name = name
    return data


def to_tables(data: Data) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write a graph as two tables that `from_tables` reads.

    Returns:
        Nodes with the columns ``id``, the features and ``label`` (missing where unlabelled), and
        edges with ``source``, ``target`` and, if there are weights, ``weight``; of an undirected
        graph every edge appears once.
    """
    ids = node_ids(data)
    columns: dict[str, Any] = {"id": ids}
    if getattr(data, "x", None) is not None:
        x = data.x.to_dense().cpu().numpy()
        names = getattr(data, "feature_names", None) or [f"x{i}" for i in range(x.shape[1])]
        for position, feature in enumerate(names):
            taken = feature in ("id", "label")
            columns[f"{feature} (feature)" if taken else feature] = x[:, position]
    classes = class_names(data)
    codes = data.y.view(-1).tolist()
    columns["label"] = pd.Series([classes[c] if c >= 0 else None for c in codes], dtype=object)
    weight = getattr(data, "edge_weight", None)
    row, col = data.edge_index.cpu()
    keep = torch.ones_like(row, dtype=torch.bool)
    if is_undirected(data.edge_index, weight, num_nodes=data.num_nodes):
        keep = row <= col
    edges = {
        "source": [ids[i] for i in row[keep].tolist()],
        "target": [ids[i] for i in col[keep].tolist()],
    }
    if weight is not None:
        edges["weight"] = weight.cpu()[keep].numpy()
    return pd.DataFrame(columns), pd.DataFrame(edges)


def _require(frame: pd.DataFrame, column: str | None, argument: str) -> None:
    if column in frame.columns:
        return
    known = [str(c) for c in frame.columns]
    close = difflib.get_close_matches(str(column), known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise InputError(argument, f"no column {column!r}", f"{hint}Columns: {', '.join(known)}.")


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
    first = _pick(frame, source, _SOURCE_NAMES, "source")
    second = _pick(frame, target, _TARGET_NAMES, "target")
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


def _edge_index(
    ids: list[Hashable],
    source: Sequence[Hashable] | pd.Series,
    target: Sequence[Hashable] | pd.Series,
) -> torch.Tensor:
    index = pd.Index(ids, tupleize_cols=False)
    if index.hasnans or (index == "").any():
        row = int(np.flatnonzero(index.isna() | (index == ""))[0])
        raise InputError("id", f"missing at row {row}", "Give every node an id.")
    if not index.is_unique:
        twice = index[index.duplicated()][:3].tolist()
        raise InputError("id", f"duplicates such as {twice}", "Give every node an id of its own.")
    rows = []
    for argument, values in (("source", source), ("target", target)):
        end = pd.Index(list(values), tupleize_cols=False)
        position = index.get_indexer(end)
        if (position < 0).any():  # 7 in one table may be "7" in the other
            position = index.map(str).get_indexer(end.map(str))
        unknown = np.flatnonzero(position < 0)
        if len(unknown):
            examples = list(dict.fromkeys(end[unknown].tolist()))[:3]
            raise InputError(
                argument,
                f"{len(unknown)} of {len(end)} edges have ids of no node, such as {examples}",
                "Add these nodes, drop the edges, or name the columns (id=, source=, target=).",
            )
        rows.append(torch.from_numpy(position.astype(np.int64)))
    return torch.stack(rows)
