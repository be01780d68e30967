"""Graphs from networkx, scipy and GraphML, and one door for all files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from graphclean.data.converted import from_converted
from graphclean.data.features import from_scipy_features
from graphclean.data.labels import encode_labels
from graphclean.data.npz import load_npz
from graphclean.data.tables import NodeColumns, build_graph, edges_between, from_tables
from graphclean.sparse.edge_tables import TABLE_SUFFIXES, table_suffix
from graphclean.types import InputError


def from_networkx(
    graph: Any,
    label: str,
    features: str | Sequence[str] | None = None,
    *,
    weight: str | None = None,
    name: str | None = None,
) -> Data:
    """Build a graph from a networkx graph; nodes may be any hashable objects.

    Args:
        graph: ``Graph``, ``DiGraph`` or a multigraph (parallel edges count as one, weights add).
        label: Node attribute with the label; nodes without it are unlabelled.
        features: Node attribute or attributes to use (numbers, strings, or vectors of numbers);
            default all but the label. See `graphclean.data.encode.encode_columns`.
        weight: Edge attribute with weights (1 where absent); default none.
        name: Name of the graph; default ``graph.name``.

    Raises:
        InputError: Not a networkx graph, or an attribute that no node has.
    """
    if not isinstance(graph, nx.Graph):
        raise InputError("graph", f"a {type(graph).__name__}", "Pass a networkx graph.")
    ids = list(graph.nodes)
    attributes = pd.DataFrame([dict(graph.nodes[node]) for node in ids], index=range(len(ids)))
    wanted = [features] if isinstance(features, str) else features
    for argument, keys in (("label", [label]), ("features", wanted or [])):
        for key in keys:
            if key not in attributes.columns:
                known = ", ".join(map(str, attributes.columns)) or "none"
                raise InputError(argument, f"no node attribute {key!r}", f"There are: {known}.")
    columns = [c for c in attributes.columns if c != label] if wanted is None else list(wanted)
    weights = None
    edges = list(graph.edges(data=weight, default=1.0) if weight else graph.edges())
    if weight is not None:
        weights = np.array([edge[2] for edge in edges], dtype=np.float64)
    source, target = [edge[0] for edge in edges], [edge[1] for edge in edges]
    if not graph.is_directed():
        source, target = source + target, target + source
        weights = None if weights is None else np.concatenate([weights, weights])
    nodes = NodeColumns(
        ids, _spread_vectors(attributes[columns]), attributes[label], chosen=wanted is not None
    )
    data = build_graph(nodes, edges_between(ids, source, target), weights, [])
    if name or graph.name:
        data.name = name or graph.name
    return data


def from_scipy(
    adjacency: Any,
    features: Any = None,
    labels: Iterable[Any] | None = None,
    *,
    node_ids: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    name: str | None = None,
) -> Data:
    """Build a graph from an adjacency matrix, features and labels.

    Args:
        adjacency: scipy sparse matrix or array ``[N, N]``; values other than 0 and 1 are weights.
        features: Dense or scipy sparse ``[N, F]``; default structural features.
        labels: One label a node: strings, numbers, -1 or missing for unlabelled.
        node_ids: Ids of the nodes; default their row numbers.
        feature_names: Names of the ``F`` features.
        name: Name of the graph.

    Raises:
        InputError: If shapes do not fit.
    """
    matrix = sp.coo_matrix(adjacency)
    nodes = matrix.shape[0]
    if matrix.shape != (nodes, nodes):
        raise InputError("adjacency", f"shape {matrix.shape}", "Pass a square matrix [N, N].")
    data = Data(
        edge_index=torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64)),
        num_nodes=nodes,
    )
    if matrix.nnz and not (matrix.data == 1).all():
        data.edge_weight = torch.from_numpy(matrix.data.astype(np.float32))
    data.check_notes = []
    if features is not None:
        sparse = sp.issparse(features)
        shape = np.shape(features)
        if len(shape) != 2 or shape[0] != nodes:
            raise InputError("features", f"shape {shape}", f"Pass a matrix [{nodes}, F].")
        dense = None if sparse else torch.from_numpy(np.asarray(features, dtype=np.float32).copy())
        data.x = from_scipy_features(features) if dense is None else dense
    if labels is not None:
        data.y, data.class_names, data.check_notes = encode_labels(labels)
        if len(data.y) != nodes:
            raise InputError(
                "labels", f"{len(data.y)} labels", f"Pass one for each of {nodes} nodes."
            )
    if node_ids is not None:
        data.node_ids = list(node_ids)
    if feature_names is not None:
        data.feature_names = [str(feature) for feature in feature_names]
    if name is not None:
        data.name = name
    return data


def load_graphml(
    path: str | Path,
    label: str,
    features: str | Sequence[str] | None = None,
    *,
    weight: str | None = None,
) -> Data:
    """Read a GraphML file; see `from_networkx` for the arguments.

    Raises:
        InputError: If the file does not exist or is not GraphML.
    """
    path = _existing(path)
    try:
        graph = nx.read_graphml(path)
    except (nx.NetworkXError, SyntaxError, ValueError, KeyError) as error:
        raise InputError("path", str(path), f"It is not valid GraphML: {error}") from error
    return from_networkx(graph, label, features, weight=weight, name=path.stem)


def read_graph(
    path: str | Path,
    label: str | None = None,
    *,
    nodes: str | Path | None = None,
    edges: str | Path | None = None,
    id: str | None = None,
    source: str | None = None,
    target: str | None = None,
    weight: str | None = None,
    features: str | Sequence[str] | None = None,
) -> Data:
    """Read a graph from a file, by its suffix, or from a folder.

    - ``.npz``: `load_npz` (the labels are in the file: no other argument).
    - ``.graphml``: `load_graphml` (``label``; ``features`` and ``weight`` if wanted).
    - ``.csv .tsv .parquet``: `from_tables` (the table of nodes; ``edges`` and ``label``).
    - a folder that ``graphclean convert`` wrote: `graphclean.data.converted.from_converted`
      (``nodes`` and ``label``; without them a graph of edges only).

    Raises:
        InputError: If the suffix is not known, the file does not exist, an argument is missing
            or one is given that this kind of file does not use.
    """
    path = Path(path)
    given = {
        "label": label,
        "nodes": nodes,
        "edges": edges,
        "id": id,
        "source": source,
        "target": target,
        "weight": weight,
        "features": features,
    }
    if path.is_dir():
        _only(given, "converted graphs", ("nodes", "label", "id", "features"))
        return from_converted(path, nodes, label=label, id=id, features=features)
    suffix = table_suffix(_existing(path))
    if suffix == ".npz":
        _only(given, f"{suffix} files", ())
        return load_npz(path)
    if suffix not in (".graphml", *TABLE_SUFFIXES):
        raise InputError(
            "path",
            str(path),
            f"Pass a file with suffix .npz, .graphml, {', '.join(TABLE_SUFFIXES)}, or a folder "
            "written by graphclean convert (of a Data object in memory: save_npz writes it without "
            "pickle).",
        )
    if label is None:
        raise InputError("label", "missing", "Name the column or attribute that holds the labels.")
    if suffix == ".graphml":
        _only(given, f"{suffix} files", ("label", "features", "weight"))
        return load_graphml(path, label, features, weight=weight)
    if nodes is not None:
        raise InputError("nodes", str(nodes), f"Leave it out: {path.name} is the table of nodes.")
    if edges is None:
        raise InputError("edges", "missing", f"Pass the table of edges that goes with {path.name}.")
    return from_tables(
        path,
        edges,
        label=label,
        id=id,
        source=source,
        target=target,
        weight=weight,
        features=features,
        name=path.name.split(".")[0],
    )


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError("path", str(path), "There is no such file.")
    return path


def _only(given: dict[str, Any], source: str, used: tuple[str, ...]) -> None:
    for argument, value in given.items():
        if value is not None and argument not in used:
            raise InputError(argument, value, f"Leave it out: {source} do not use it.")


def _spread_vectors(table: pd.DataFrame) -> pd.DataFrame:
    """Replace columns whose cells are vectors of one length by one column an entry."""
    parts: list[pd.DataFrame | pd.Series] = []
    for column in table.columns:
        cells = table[column]
        if len(cells) and all(isinstance(cell, (list, tuple, np.ndarray)) for cell in cells):
            lengths = {len(cell) for cell in cells}
            if len(lengths) > 1:
                raise InputError(
                    "features",
                    f"{column!r} has vectors of lengths {sorted(lengths)[:3]}",
                    "Pad them.",
                )
            spread = pd.DataFrame([list(cell) for cell in cells], index=table.index)
            spread.columns = pd.Index([f"{column}[{i}]" for i in spread.columns])
            parts.append(spread)
        else:
            parts.append(cells)
    return pd.concat(parts, axis=1) if parts else table
