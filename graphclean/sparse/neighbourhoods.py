"""What the neighbourhoods of a graph look like: label histograms, homophily, degrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graphclean.sparse import kernels
from graphclean.sparse.backend import spmm
from graphclean.sparse.propagator import Propagator
from graphclean.sparse.reductions import Graph, csr, unweighted
from graphclean.types import InputError

_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.99)


def one_hot_labels(
    labels: Tensor, num_classes: int | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return hard labels ``[N]`` as ``[N, C]``; a row of zeros where the label is -1.

    Args:
        labels: Integer ``[N]``, -1 = unlabelled.
        num_classes: C; None takes the largest label + 1.
        dtype: Type of the result.

    Raises:
        InputError: A label is outside -1..C-1.
    """
    low, high = (int(v) for v in labels.aminmax()) if len(labels) else (-1, -1)
    classes = high + 1 if num_classes is None else num_classes
    if low < -1 or high >= classes:
        fix = f"Use classes 0..{classes - 1}, and -1 for unlabelled nodes."
        raise InputError("labels", low if low < -1 else high, fix)
    known = labels >= 0
    hot = torch.zeros(len(labels), classes, dtype=dtype, device=labels.device)
    hot[known, labels[known].long()] = 1.0
    return hot


def label_histogram(
    graph: Graph, labels: Tensor, num_classes: int | None = None, *, weighted: bool = False
) -> Tensor:
    r"""Labels among the neighbours, :math:`H_{ic} = \sum_j w_{ij} [y_j = c]`.

    Args:
        graph: Row i holds the sources of the edges that point at i; no self-loops.
        labels: Integer ``[N]``, -1 = unlabelled and not counted.
        num_classes: C; None takes the largest label + 1.
        weighted: Add up the weights of the edges, rather than count them.

    Returns:
        ``[N, C]``; float64 for an operator in float64, otherwise float32.

    Raises:
        InputError: A shape or label does not fit, or an operator with self-loops.
    """
    _check_labels(graph, labels)
    matrix = csr(graph, _precision(graph), labels.device)
    if not weighted:
        matrix = unweighted(matrix)
    return spmm(matrix, one_hot_labels(labels, num_classes, matrix.dtype))


def local_homophily(graph: Graph, labels: Tensor, *, weighted: bool = False) -> Tensor:
    r"""Share of a node's labelled neighbours that carry its own label.

    .. math:: h_i = \sum_j w_{ij} [y_j = y_i] / \sum_j w_{ij} [y_j \ge 0]

    The mean over the nodes is the node homophily of Pei et al. (*Geom-GCN*, ICLR 2020).

    Args:
        graph: Row i holds the sources of the edges that point at i; no self-loops.
        labels: Integer ``[N]``, -1 = unlabelled.
        weighted: Weigh neighbours by the edges, rather than equally.

    Returns:
        ``[N]`` in [0, 1], float64 for an operator in float64, otherwise float32; NaN where the node
        or all its neighbours are unlabelled.

    Raises:
        InputError: A shape does not fit, or an operator with self-loops: a node would agree with
            itself.
    """
    agreeing, labelled = _agreement(graph, labels, weighted=weighted)
    known = (labels >= 0) & (labelled > 0)
    return torch.where(known, agreeing / labelled, float("nan"))


def edge_homophily(graph: Graph, labels: Tensor) -> float:
    """Share of the edges between labelled nodes whose ends carry the same label.

    Zhu et al., *Beyond Homophily in Graph Neural Networks*, NeurIPS 2020. Classes of unequal size
    raise it: compare it with what the class sizes alone give.

    Args:
        graph: A graph without self-loops; weights play no part.
        labels: Integer ``[N]``, -1 = unlabelled.

    Returns:
        In [0, 1]; NaN without such an edge.

    Raises:
        InputError: A shape does not fit, or an operator with self-loops.
    """
    agreeing, labelled = _agreement(graph, labels, weighted=False)
    known = labels >= 0
    edges = float(labelled[known].double().sum())
    return float(agreeing[known].double().sum()) / edges if edges else float("nan")


@dataclass(frozen=True)
class DegreeStatistics:
    """How the edges spread over the nodes; degrees count the edges that point at a node.

    Attributes:
        num_nodes: Number of nodes.
        num_edges: Number of entries: every undirected edge counts twice.
        minimum: Smallest degree.
        mean: Mean degree.
        maximum: Largest degree.
        quantiles: Degree by probability, for 0.25, 0.5, 0.75, 0.9 and 0.99.
        isolated: Number of nodes of degree 0.
        gini: Gini coefficient in [0, 1]: 0 if all degrees are equal, near 1 if a few hubs have all.
        hub_share: Share of the edges at the one percent of nodes with the largest degrees.
    """

    num_nodes: int
    num_edges: int
    minimum: int
    mean: float
    maximum: int
    quantiles: dict[float, float]
    isolated: int
    gini: float
    hub_share: float


def degree_statistics(graph: Graph) -> DegreeStatistics:
    """Return the degree statistics of a graph; an operator's self-loops are not counted."""
    adjacency = graph.adjacency if isinstance(graph, Propagator) else graph
    degree = np.sort(adjacency.degree)
    nodes, edges = len(degree), int(degree.sum())
    hubs = -(-nodes // 100)
    # Gini of sorted d_1 <= ... <= d_n: sum over i of (2 i - n - 1) d_i, over n sum d.
    ranks = 2.0 * np.arange(1, nodes + 1) - nodes - 1
    return DegreeStatistics(
        num_nodes=nodes,
        num_edges=edges,
        minimum=int(degree[0]) if nodes else 0,
        mean=edges / nodes if nodes else 0.0,
        maximum=int(degree[-1]) if nodes else 0,
        quantiles={p: float(np.quantile(degree, p)) if nodes else 0.0 for p in _QUANTILES},
        isolated=int((degree == 0).sum()),
        gini=float(ranks @ degree) / (nodes * edges) if edges else 0.0,
        hub_share=float(degree[nodes - hubs :].sum()) / edges if edges else 0.0,
    )


def _agreement(graph: Graph, labels: Tensor, *, weighted: bool) -> tuple[Tensor, Tensor]:
    """Return the weight of neighbours with a node's own label, and of all labelled ones."""
    _check_labels(graph, labels)
    matrix = csr(graph, _precision(graph), labels.device)
    values = matrix.values() if weighted else None
    entries = (matrix.crow_indices(), matrix.col_indices(), values)
    known = (labels >= 0).to(torch.int8)
    agreeing = kernels.label_agreement(*entries, labels, labels)
    labelled = kernels.label_agreement(*entries, known, torch.ones_like(known))
    return agreeing.to(matrix.dtype), labelled.to(matrix.dtype)


def _precision(graph: Graph) -> torch.dtype:
    """Return the type to count in: bfloat16 would stop at 256."""
    wide = isinstance(graph, Propagator) and graph.dtype == torch.float64
    return torch.float64 if wide else torch.float32


def _check_labels(graph: Graph, labels: Tensor) -> None:
    if labels.dim() != 1 or len(labels) != graph.num_nodes or labels.is_floating_point():
        shown = f"{tuple(labels.shape)} {labels.dtype}"
        raise InputError("labels", shown, f"Pass integer labels [{graph.num_nodes}].")
    if isinstance(graph, Propagator) and graph.self_loops:
        fix = "Build it with self_loops=False: a node would be its own neighbour."
        raise InputError("graph", "has self-loops", fix)
