"""Reductions over neighbours: maximum, softmax, label histogram; ours against PyG's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.nn import SimpleConv
from torch_geometric.utils import softmax

from graphclean.evaluate.speed.cases import Case
from graphclean.evaluate.speed.comparison import OURS, Comparison
from graphclean.evaluate.speed.product import pyg_csr, settle
from graphclean.sparse import Adjacency
from graphclean.sparse.neighbourhoods import label_histogram
from graphclean.sparse.reductions import neighbour_max, neighbour_softmax


def maximum(case: Case) -> Comparison:
    """Compare the largest entry among the neighbours, C columns."""
    x = case.features(case.num_classes)
    found = _comparison("max", "largest entry among neighbours", case)
    found.expected = lambda: _exact_max(case, x)
    adjacency = _adjacency(found, case)
    csr = _pyg_csr(found, case)
    conv, by_csr = SimpleConv(aggr="max"), SimpleConv(aggr="max")
    found.add(OURS, lambda: neighbour_max(adjacency, x))
    found.add(
        "pyg",
        lambda: conv(x, case.edge_index),
        needs=2 * case.num_edges * case.num_classes * 4,
        note="edge_index, its default",
    )
    found.add("pyg_csr", lambda: by_csr(x, csr), note="torch CSR adjacency")
    return found


def edge_softmax(case: Case) -> Comparison:
    """Compare the softmax of one score per edge over the edges of a node."""
    scores = torch.from_numpy(
        np.random.default_rng(case.seed).standard_normal(case.num_edges, dtype=np.float32)
    )
    found = _comparison("softmax", "softmax over the edges of a node", case)
    # Both directions are there and sorted: the first row in its order is the target of every edge.
    target = case.edge_index[0]
    found.expected = lambda: _exact_softmax(case, scores)
    adjacency = _adjacency(found, case)
    found.add(OURS, lambda: neighbour_softmax(adjacency, scores))
    found.add(
        "pyg",
        lambda: softmax(scores, target, num_nodes=case.num_nodes),
        note="softmax(index), its default",
    )
    return found


def histogram(case: Case) -> Comparison:
    """Compare the count of every label among the neighbours."""
    labels = case.labels()
    found = _comparison("label_histogram", "labels among neighbours", case)
    found.expected = lambda: (
        (case.operator != 0).astype(np.float64) @ case.onehot().numpy().astype(np.float64)
    )
    adjacency = _adjacency(found, case)
    csr = _pyg_csr(found, case)
    conv, by_csr = SimpleConv(aggr="sum"), SimpleConv(aggr="sum")

    def onehot() -> Tensor:
        return torch.nn.functional.one_hot(labels, case.num_classes).float()

    settle(found, lambda: label_histogram(adjacency, labels, case.num_classes))
    found.add(OURS, lambda: label_histogram(adjacency, labels, case.num_classes))
    found.add(
        "pyg",
        lambda: conv(onehot(), case.edge_index),
        needs=2 * case.num_edges * case.num_classes * 4,
        note="one-hot labels on edge_index",
    )
    found.add("pyg_csr", lambda: by_csr(onehot(), csr), note="one-hot labels on torch CSR")
    return found


def _comparison(topic: str, title: str, case: Case) -> Comparison:
    return Comparison(
        f"{topic}/{case.name}",
        f"{title}, {case.sizes}, {case.num_classes} classes",
        expected=lambda: (),
    )


def _adjacency(found: Comparison, case: Case) -> Adjacency:
    made: Adjacency = found.prepare(
        "graphclean: edges to CSR", lambda: Adjacency.from_edges(case.edge_index, case.num_nodes)
    )
    return made


def _pyg_csr(found: Comparison, case: Case) -> Tensor:
    ones = torch.ones(case.num_edges)
    made: Tensor = found.prepare(
        "pyg_csr: to torch CSR", lambda: pyg_csr(case.num_nodes, (case.edge_index, ones))
    )
    return made


def _exact_max(case: Case, x: Tensor) -> NDArray[np.float64]:
    matrix, values = case.operator, x.numpy().astype(np.float64)
    found = np.zeros_like(values)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    for column in range(values.shape[1]):
        gathered = values[matrix.indices, column]
        found[filled, column] = np.maximum.reduceat(gathered, matrix.indptr[filled])
    return found


def _exact_softmax(case: Case, scores: Tensor) -> Any:
    exponential = np.exp(scores.numpy().astype(np.float64))
    target = case.edge_index[0].numpy()
    return exponential / np.bincount(target, exponential, case.num_nodes)[target]
