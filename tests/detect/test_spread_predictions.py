"""Predictions spread by personalised PageRank against dense algebra, and who may move them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect.hop_evidence import spread_predictions
from graphclean.nn import MLP, OutOfFold, cross_fit, stratified_folds

Make = Callable[..., Any]
SUSPECTS = (3, 10, 21, 57)


@pytest.fixture
def graph(planted: Make) -> Data:
    """Checked graph with unlabelled nodes and, from node 55 on, isolated ones."""
    data = planted(60, seed=5, degree=5.0)
    data.y[::8] = -1
    data.edge_index = data.edge_index[:, (data.edge_index < 55).all(dim=0)]
    return check(data)


def out_of_fold(data: Data, folds: Tensor) -> OutOfFold:
    return cross_fit(MLP(hidden=8, epochs=10, val_fraction=0.0, patience=None), data, folds=folds)


@pytest.fixture
def folds(graph: Data) -> Tensor:
    """Two repeats of three folds."""
    return torch.stack([stratified_folds(graph.y, graph.y >= 0, 3, seed) for seed in (0, 1)])


def pagerank(graph: Data, alpha: float, steps: int) -> np.ndarray:
    """Return sum_t alpha (1 - alpha)^t S^t for t < steps, and (1 - alpha)^steps S^steps, dense."""
    dense = np.eye(graph.num_nodes)
    source, target = graph.edge_index.numpy()
    dense[target, source] = dense[source, target] = 1.0
    scale = 1.0 / np.sqrt(dense.sum(axis=1))
    kept = (1.0 - alpha) * scale[:, None] * dense * scale[None, :]
    powers = [np.linalg.matrix_power(kept, t) for t in range(steps + 1)]
    return np.asarray(alpha * sum(powers[:-1]) + powers[-1])


@pytest.mark.parametrize(("alpha", "steps"), [(0.1, 10), (0.4, 3), (1.0, 2)])
def test_against_dense_pagerank(alpha: float, steps: int, graph: Data, folds: Tensor) -> None:
    source = out_of_fold(graph, folds)
    walk, expected = pagerank(graph, alpha, steps), np.zeros((60, 3))
    for repeat in range(2):
        models = source.model_probs[repeat].double().numpy()
        for node in range(60):
            fold = int(folds[repeat, node])
            seen = models[fold] if fold >= 0 else models.mean(axis=0)
            expected[node] += walk[node] @ seen
    found = spread_predictions(graph, source, alpha=alpha, steps=steps)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-6)


def test_rows_are_distributions(graph: Data, folds: Tensor) -> None:
    found = spread_predictions(graph, out_of_fold(graph, folds))
    np.testing.assert_allclose(found.sum(dim=1), 1.0, atol=1e-12)
    assert (found >= 0).all()


def test_isolated_nodes_keep_their_prediction(graph: Data, folds: Tensor) -> None:
    source = out_of_fold(graph, folds)
    found = spread_predictions(graph, source)
    torch.testing.assert_close(found[55:], source.pred_probs[55:].double(), rtol=0, atol=1e-6)
    assert (found[:55] - source.pred_probs[:55]).abs().amax(dim=1).min() > 1e-4


def test_columns_beyond_a_block_are_walked_too(graph: Data, folds: Tensor) -> None:
    """Forty classes: the predictions of three models do not fit into one block of columns."""
    generator = torch.Generator().manual_seed(0)
    models = torch.rand(2, 3, 60, 40, generator=generator).softmax(dim=3)
    source = OutOfFold(models.mean(dim=(0, 1)), folds, models)
    found = spread_predictions(graph, source)
    part = OutOfFold(source.pred_probs[:, :4], folds, models[..., :4])
    few = spread_predictions(graph, part)
    shares = found[:, :4] / found[:, :4].sum(dim=1, keepdim=True)
    torch.testing.assert_close(shares, few, rtol=0, atol=1e-7)


@pytest.mark.parametrize("node", SUSPECTS)
def test_own_label_moves_nothing(node: int, graph: Data, folds: Tensor) -> None:
    """All models fitted anew; equal to the last bit."""
    poisoned = graph.clone()
    poisoned.y[node] = (graph.y[node] + 1) % 3
    before, after = (spread_predictions(d, out_of_fold(d, folds)) for d in (graph, poisoned))
    assert torch.equal(before[node], after[node])
    assert not torch.equal(before, after)


@pytest.mark.parametrize("node", [node for node in SUSPECTS if node < 55])
def test_merged_predictions_would_leak(node: int, graph: Data, folds: Tensor) -> None:
    """Smoothing what every node's own models say brings the label back through neighbours."""
    poisoned = graph.clone()
    poisoned.y[node] = (graph.y[node] + 1) % 3
    walk = pagerank(graph, 0.1, 10)
    before, after = (
        walk[node] @ out_of_fold(d, folds).pred_probs.double().numpy() for d in (graph, poisoned)
    )
    assert np.abs(before - after).max() > 1e-4
