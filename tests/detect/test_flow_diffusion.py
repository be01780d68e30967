from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch_geometric.data import Data

from graphclean.detect import FlowDiffusion
from graphclean.detect.flow_diffusion import diffuse_flow, label_weighted
from graphclean.nn.folds import plain_folds
from graphclean.sparse import Adjacency
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Any]


def random_graph(n: int, seed: int) -> Adjacency:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < 0.25, 1)
    upper[np.arange(n - 1), np.arange(1, n)] = True  # connected
    edges = torch.from_numpy(np.argwhere(upper).T)
    weight = torch.from_numpy(rng.uniform(0.2, 2.0, edges.shape[1]))
    return Adjacency.from_edges(torch.cat([edges, edges.flip(0)], 1), n, weight.repeat(2))


def quadratic(adjacency: Adjacency, leak: float) -> np.ndarray:
    dense = adjacency.matrix.toarray()
    return (1.0 + leak) * np.diag(dense.sum(axis=1)) - dense


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_solution_meets_the_optimality_conditions(leak: float) -> None:
    adjacency, rng = random_graph(15, 0), np.random.default_rng(1)
    sink = torch.from_numpy(rng.uniform(0.5, 2.0, 15))
    source = torch.zeros(15, 3, dtype=torch.float64)
    source[torch.tensor([0, 5, 9]), torch.arange(3)] = 0.7 * sink.sum()
    found = diffuse_flow(adjacency, source, sink, leak=leak, sweeps=20_000, tol=1e-13)
    x = found.values.numpy()
    assert found.converged
    gradient = quadratic(adjacency, leak) @ x + sink.numpy()[:, None] - source.numpy()
    assert (x >= 0).all()
    assert gradient.min() > -1e-9
    assert np.abs(x * gradient).max() < 1e-8
    assert 3 < (x > 0).sum() < x.size


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_solution_is_that_of_non_negative_least_squares(seed: int) -> None:
    """With M = R'R, min x'Mx/2 + b'x over x >= 0 is the least-squares problem Rx = -R'^-1 b."""
    adjacency, rng = random_graph(20, seed), np.random.default_rng(seed)
    sink, source = rng.uniform(0.5, 2.0, 20), rng.uniform(0.0, 8.0, (20, 2))
    source[rng.random((20, 2)) < 0.6] = 0.0
    found = diffuse_flow(
        adjacency, torch.from_numpy(source), torch.from_numpy(sink), leak=0.3, tol=1e-13
    )
    factor = np.linalg.cholesky(quadratic(adjacency, 0.3)).T
    for c in range(2):
        exact, _ = nnls(factor, -np.linalg.solve(factor.T, sink - source[:, c]))
        np.testing.assert_allclose(found.values[:, c].numpy(), exact, atol=1e-9)


def test_two_nodes_by_hand() -> None:
    """Mass 5 on a sink of 2: 3 are sent over one edge, 2 of which the other node keeps."""
    pair = Adjacency.from_edges(torch.tensor([[0, 1], [1, 0]]), 3)
    source = torch.tensor([[3.0], [0.0], [9.0]], dtype=torch.float64)
    sink = torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64)
    found = diffuse_flow(pair, source, sink).values.view(-1)
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_sweeps_rise_towards_the_solution() -> None:
    adjacency = random_graph(15, 3)
    source = torch.zeros(15, 1, dtype=torch.float64)
    source[4] = 12.0
    sink = torch.ones(15, dtype=torch.float64)
    steps = [diffuse_flow(adjacency, source, sink, sweeps=n, tol=0.0) for n in (1, 5, 25, 2000)]
    assert [found.steps for found in steps[:3]] == [1, 5, 25]
    assert not steps[0].converged
    for early, late in pairwise(steps):
        assert (early.values <= late.values + 1e-12).all()
        assert (early.values > 0).sum() <= (late.values > 0).sum()
        assert not torch.equal(early.values, late.values)


def test_edges_are_weighted_by_the_labels(planted: Make) -> None:
    data = planted(40, seed=2)
    data.y[::5] = -1
    adjacency = Adjacency.of(data)
    weighted = label_weighted(adjacency, data.y, 0.25).matrix.toarray()
    y, before = data.y.tolist(), adjacency.matrix.toarray()
    for i, j in np.argwhere(before):
        known = y[i] >= 0 and y[j] >= 0
        assert weighted[i, j] == (0.25 if known and y[i] != y[j] else 1.0)
    assert (weighted[before == 0] == 0).all()
    assert (adjacency.matrix.data == 1).all()


def test_quality_is_the_share_of_the_potential(planted: Make) -> None:
    data = planted(45, seed=6)
    y, adjacency = data.y.numpy(), Adjacency.of(data).matrix.toarray()
    fold = plain_folds(data.y >= 0, 3, spawn_seeds(0, 4)[0]).numpy()
    detector = FlowDiffusion(epsilon=0.2, source=6.0, leak=0.5, n_folds=3).fit(data)
    for k in range(3):
        hidden = fold == k
        free = hidden[:, None] | hidden[None, :]
        weight = adjacency * np.where((y[:, None] == y[None, :]) | free, 1.0, 0.2)
        degree = weight.sum(axis=1)
        factor = np.linalg.cholesky(np.diag(1.5 * degree) - weight).T
        potential = np.empty((45, 3))
        for c in range(3):
            excess = 6.0 * degree * ((y == c) & ~hidden) - degree
            potential[:, c], _ = nnls(factor, np.linalg.solve(factor.T, excess))
        for i in np.flatnonzero(hidden & (potential.sum(axis=1) > 0.1)):
            share = potential[i, y[i]] / potential[i].sum()
            assert detector.label_quality_[i] == pytest.approx(share, abs=5e-3)


def test_a_contradicted_label_passes_little_on() -> None:
    """A clique of class 0 in which node 1 says 1: its edges to judged nodes are trusted alone."""
    edges = torch.ones(6, 6).triu(1).nonzero().t()
    data = Data(edge_index=torch.cat([edges, edges.flip(0)], dim=1), num_nodes=6)
    data.y = torch.tensor([0, 1, 0, 0, 0, 0])
    trusting, wary = (
        FlowDiffusion(epsilon=epsilon, n_folds=6).fit(data).label_quality_[[0, 2, 3, 4, 5]]
        for epsilon in (1.0, 0.0)
    )
    assert (wary > trusting + 0.01).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epsilon", -0.1),
        ("epsilon", 1.5),
        ("source", 1.0),
        ("source", "5"),
        ("leak", 0.0),
        ("leak", float("nan")),
        ("sweeps", 0),
        ("sweeps", 2.5),
    ],
)
def test_bad_parameters(argument: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        FlowDiffusion(**{argument: value}).fit(planted(30))
    assert caught.value.argument == argument
