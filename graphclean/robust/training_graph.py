"""The graph as a trainer may show it to others: with the labels of the training rows only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn.supervision import Supervision

_READ = ("x", "edge_index", "edge_weight", "edge_attr", "num_nodes", "node_ids", "node_frame")


def known_labels(labels: Supervision) -> Tensor:
    """Return the labels of the training rows ``[N]``, long, -1 elsewhere.

    Of a soft target it is the most probable class.
    """
    target, rows = labels.target.cpu(), labels.train_index.cpu()
    hard = target.argmax(dim=1) if target.dim() == 2 else target
    known = torch.full_like(hard, -1)
    known[rows] = hard[rows]
    return known


def bare_graph(data: Any) -> Data:
    """Return features and edges of a graph alone: no label, no mask, no truth."""
    kept = {key: data[key] for key in _READ if key in data and data[key] is not None}
    kept.setdefault("num_nodes", data.num_nodes)
    return Data(**kept)


def training_graph(data: Any, labels: Supervision) -> Data:
    """Return features and edges of a graph with `known_labels` as ``y``, and all classes named.

    It holds no mask, no truth, and no label of any other row.
    """
    graph = bare_graph(data)
    graph.y = known_labels(labels)
    graph.class_names = [str(number) for number in range(labels.num_classes)]
    return graph
