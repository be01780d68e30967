"""Who is next to whom, and what label each was given."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphclean.data import node_ids
from graphclean.issues import LabelIssues
from graphclean.sparse import Adjacency
from graphclean.types import InputError


class Neighbours:
    """Undirected neighbours (no self-loops) and given labels around the nodes of a graph.

    Args:
        issues: The issues: given labels, ids and flags of the nodes that were judged.
        data: The graph: ``edge_index`` (long ``[2, E]``), ``num_nodes``, and ``y`` for the given
            labels of nodes that were not judged.

    Attributes:
        label: Given class per node, ``[N]``, -1 = unlabelled.
        flagged: Whether each node is flagged, bool ``[N]``.

    Raises:
        InputError: ``data`` has no edges, or fewer nodes than the issues name.
    """

    def __init__(self, issues: LabelIssues, data: Any) -> None:
        edge_index, count = (getattr(data, key, None) for key in ("edge_index", "num_nodes"))
        if edge_index is None or count is None:
            raise InputError("data", data, "Pass the graph, with edge_index and num_nodes.")
        frame, classes = issues.frame, len(issues.class_names)
        node = frame["node"].to_numpy()
        if node.max(initial=-1) >= count:
            raise InputError("data", f"{count} nodes", f"The issues name node {node.max()}.")
        given = {name: code for code, name in enumerate(issues.class_names)}
        self.label = _given_labels(data, count, classes)
        self.label[node] = frame["given_label"].map(given).to_numpy(dtype=int)
        self.flagged = np.zeros(count, dtype=bool)
        self.flagged[node] = frame["is_label_issue"].to_numpy()
        self._ids = node_ids(data)
        for position, node_id in zip(node, frame.index, strict=True):
            self._ids[position] = node_id
        graph = Adjacency.from_edges(edge_index, int(count)).towards("both").matrix
        self._start, self._to = graph.indptr, graph.indices

    def of(self, node: int) -> np.ndarray:
        """Return the neighbours of ``node`` in ascending order."""
        found: np.ndarray = self._to[self._start[node] : self._start[node + 1]]
        return found

    def name(self, node: int) -> str:
        """Return the id of ``node`` as text."""
        return str(self._ids[node])

    def agreement(self, node: np.ndarray) -> np.ndarray:
        """Return the share of labelled neighbours with the node's given label (NaN: none)."""
        source = np.repeat(np.arange(len(self.label)), np.diff(self._start))
        labelled = self.label[self._to] >= 0
        same = labelled & (self.label[self._to] == self.label[source])
        total = np.bincount(source[labelled], minlength=len(self.label))[node]
        equal = np.bincount(source[same], minlength=len(self.label))[node]
        return np.where(total > 0, equal / np.maximum(total, 1), np.nan)


def _given_labels(data: Any, count: int, classes: int) -> np.ndarray:
    """Return the labels that ``data.y`` gives, -1 where it gives none of the classes."""
    y = getattr(data, "y", None)
    if y is None or y.is_floating_point() or y.numel() != count:
        return np.full(count, -1)
    label = y.detach().cpu().reshape(-1).numpy().astype(int)
    return np.where((label >= 0) & (label < classes), label, -1)
