"""Label propagation: ours, PyG, networkx; scikit-learn beside them."""

from __future__ import annotations

import warnings
from typing import Any

import networkx as nx
import numpy as np
import torch
from networkx.algorithms.node_classification import local_and_global_consistency
from numpy.typing import NDArray
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor
from torch_geometric.nn.models import LabelPropagation

from graphclean.evaluate.speed.cases import Case
from graphclean.evaluate.speed.comparison import OURS, Comparison
from graphclean.evaluate.speed.product import ours, pyg_csr, pyg_edges
from graphclean.sparse.solvers import label_propagation

ALPHA, STEPS = 0.9, 50
_LABELLED = 0.1
_NEIGHBOURS = 10
_SURE = 1e-6
"""Lead of the best class from which on rounding cannot change it."""


def propagate_labels(case: Case, device: str) -> Comparison:
    """Compare 50 steps of Y <- alpha S Y + (1 - alpha) Y0 from 10 % labelled nodes."""
    start = _start(case).to(device)
    found = Comparison(
        f"label_propagation/{case.name}",
        f"label propagation, {STEPS} steps, {case.sizes}, {case.num_classes} classes",
        expected=lambda: _exact(case),
    )
    operator = found.prepare("graphclean: edges to CSR", lambda: ours(case, device))
    weighted = found.prepare(
        "pyg: gcn_norm of edge_index", lambda: pyg_edges(case, device, loops=False)
    )
    # PyG normalises a CSR adjacency itself, at every call.
    ones = torch.ones(case.num_edges, device=device)
    csr = found.prepare(
        "pyg_csr: to torch CSR", lambda: pyg_csr(case.num_nodes, (weighted[0], ones))
    )

    def run(tol: float | None) -> Tensor:
        return label_propagation(operator, start, alpha=ALPHA, steps=STEPS, tol=tol).values

    peer = LabelPropagation(STEPS, ALPHA)
    edges, weight = weighted
    found.add(OURS, lambda: run(None), note="all steps")
    found.add(
        "pyg",
        # PyG clamps to [0, 1] after every step unless it is given another step.
        lambda: peer(start, edges, edge_weight=weight, post_step=_unchanged),
        needs=2 * case.num_edges * case.num_classes * 4,
        note="edge_index, its default",
    )
    found.add(
        "pyg_csr",
        lambda: peer(start, csr, post_step=_unchanged),
        note="its best: torch CSR adjacency",
    )
    found.add(
        "graphclean_until_settled",
        lambda: run(1e-4),
        like_for_like=False,
        tolerance=1e-2,
        note="stops when no entry changes by more than 1e-4",
    )
    return found


def propagate_labels_small(case: Case) -> Comparison:
    """Compare with networkx, which returns labels, at a size that it can take."""
    start = _start(case)
    exact = _exact(case)
    # networkx starts from zero: after as many steps it lacks the term (alpha S)^steps Y0.
    lacking = exact - ALPHA**STEPS * _power(case, start.numpy().astype(np.float64))
    best = exact.argmax(axis=1)
    sure = (best == lacking.argmax(axis=1)) & (_lead(exact) > _SURE) & (_lead(lacking) > _SURE)
    found = Comparison(
        f"label_propagation_networkx/{case.name}",
        f"label propagation, {STEPS} steps, {case.sizes}, {case.num_classes} classes: best class",
        expected=lambda: best[sure],
    )
    operator = found.prepare("graphclean: edges to CSR", lambda: ours(case, "cpu"))
    graph = found.prepare("networkx: edges to Graph", lambda: _networkx(case))

    def by_us() -> NDArray[np.int64]:
        spread = label_propagation(operator, start, alpha=ALPHA, steps=STEPS, tol=None)
        return spread.values.argmax(dim=1).numpy()

    def by_networkx() -> Any:
        return local_and_global_consistency(graph, alpha=ALPHA, max_iter=STEPS)

    found.add(OURS, by_us, check=lambda: by_us()[sure], tolerance=0.0)
    found.add("networkx", by_networkx, check=lambda: np.asarray(by_networkx())[sure], tolerance=0.0)
    points = case.features(16).numpy()
    given = np.where(_labelled(case), case.labels().numpy(), -1)

    def by_sklearn() -> Any:
        model = LabelSpreading(
            kernel="knn", n_neighbors=_NEIGHBOURS, alpha=ALPHA, max_iter=STEPS, tol=0.0
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="max_iter")
            return model.fit(points, given).transduction_

    found.add(
        "sklearn_knn",
        by_sklearn,
        like_for_like=False,
        tolerance=None,
        note=f"not like for like: takes points, builds its own {_NEIGHBOURS}-neighbour graph",
    )
    return found


def _labelled(case: Case) -> NDArray[np.bool_]:
    share = np.random.default_rng(case.seed + 1).random(case.num_nodes)
    chosen: NDArray[np.bool_] = share < _LABELLED
    return chosen


def _start(case: Case) -> Tensor:
    return case.onehot() * torch.from_numpy(_labelled(case)).unsqueeze(1)


def _exact(case: Case) -> NDArray[np.float64]:
    start = _start(case).numpy().astype(np.float64)
    state = start
    for _ in range(STEPS):
        state = ALPHA * (case.operator @ state) + (1 - ALPHA) * start
    return state


def _power(case: Case, x: NDArray[np.float64]) -> NDArray[np.float64]:
    for _ in range(STEPS):
        x = case.operator @ x
    return x


def _lead(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the best class of every node leads."""
    ordered = np.sort(scores, axis=1)
    lead: NDArray[np.float64] = ordered[:, -1] - ordered[:, -2]
    return lead


def _networkx(case: Case) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(case.num_nodes))
    graph.add_edges_from(case.edge_index.T.tolist())
    labels = case.labels().tolist()
    for node in np.flatnonzero(_labelled(case)).tolist():
        graph.nodes[node]["label"] = labels[node]
    return graph


def _unchanged(y: Tensor) -> Tensor:
    return y
