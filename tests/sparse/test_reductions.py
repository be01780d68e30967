"""Neighbour reductions and graph statistics against dense loops, PyG and numpy."""

import numpy as np
import pytest
import torch
from torch_geometric.utils import homophily, scatter, softmax

from graphclean.sparse import Adjacency, Propagator, reductions
from graphclean.sparse.neighbourhoods import (
    degree_statistics,
    edge_homophily,
    label_histogram,
    local_homophily,
    one_hot_labels,
)
from graphclean.sparse.reductions import (
    csr_edge_index,
    neighbour_max,
    neighbour_mean,
    neighbour_min,
    neighbour_softmax,
    neighbour_sum,
)
from graphclean.types import InputError

NODES = 23
REDUCE = {
    "sum": neighbour_sum,
    "mean": neighbour_mean,
    "max": neighbour_max,
    "min": neighbour_min,
}


def random_adjacency(seed=0, *, weighted=False, directed=True):
    rng = np.random.default_rng(seed)
    dense = (rng.random((NODES, NODES)) < 0.15).astype(float)
    dense[5] = 1.0
    if not directed:
        dense = np.maximum(dense, dense.T)
    np.fill_diagonal(dense, 0.0)
    dense[[2, NODES - 1]] = 0.0
    dense[:, [2, NODES - 1]] = 0.0
    target, source = dense.nonzero()
    edge_index = torch.from_numpy(np.stack([source, target]))
    weight = None
    if weighted:
        drawn = rng.uniform(0.2, 2.0, (NODES, NODES))
        weight = torch.from_numpy(drawn[target, source])
    return Adjacency.from_edges(edge_index, NODES, weight)


def features(dtype=torch.float64, columns=3):
    generator = torch.Generator().manual_seed(4)
    return torch.randn(NODES, columns, dtype=dtype, generator=generator)


def brute_force(matrix, x, kind):
    out = np.zeros((NODES, x.shape[1]))
    for i, row in enumerate(matrix):
        near = row.nonzero()[0]
        if len(near):
            weighted = row[near] @ x[near]
            out[i] = {
                "sum": weighted,
                "mean": weighted / row.sum(),
                "max": x[near].max(axis=0),
                "min": x[near].min(axis=0),
            }[kind]
    return out


@pytest.mark.parametrize("kind", list(REDUCE))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", [None, "sym", "row"])
def test_reductions_equal_dense_loops(kind, weighted, norm):
    graph = random_adjacency(weighted=weighted)
    if norm is not None:
        graph = Propagator.from_adjacency(graph, norm=norm, dtype=torch.float64)
    x = features() - 5.0  # a maximum below zero is not mistaken for a missing one
    expected = brute_force(graph.matrix.toarray(), x.numpy(), kind)
    np.testing.assert_allclose(REDUCE[kind](graph, x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(REDUCE[kind](graph, x[:, 0]).numpy(), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("kind", list(REDUCE))
@pytest.mark.parametrize("directed", [False, True])
def test_gradients(kind, directed):
    graph = random_adjacency(directed=directed)
    x = features().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: REDUCE[kind](graph, v), (x,))


@pytest.mark.parametrize("kind", list(REDUCE))
def test_reductions_equal_pyg(kind):
    graph, x = random_adjacency(), features(torch.float32)
    source, target = csr_edge_index(graph)
    expected = scatter(x[source], target, dim_size=NODES, reduce=kind)
    torch.testing.assert_close(REDUCE[kind](graph, x), expected)


@pytest.mark.parametrize("kind", ["max", "min"])
def test_gathering_in_blocks_equals_one_pass(kind, monkeypatch):
    """The path of other devices, on a CPU."""
    graph, x = random_adjacency(), features().requires_grad_()
    expected = REDUCE[kind](graph, x)
    monkeypatch.setattr(reductions, "_BLOCK", 20)
    matrix = reductions.csr(graph, x.dtype, x.device)
    found = reductions._gathered_extreme(matrix, x, kind)
    assert torch.equal(found, expected)
    (wanted,) = torch.autograd.grad(expected.square().sum(), x)
    (got,) = torch.autograd.grad(found.square().sum(), x)
    torch.testing.assert_close(got, wanted)


def test_softmax_equals_pyg_and_sums_to_one():
    graph = random_adjacency(weighted=True)
    _, target = csr_edge_index(graph)
    scores = torch.randn(len(target), 2, dtype=torch.float64, requires_grad=True)
    found = neighbour_softmax(graph, scores)
    torch.testing.assert_close(found, softmax(scores, target, num_nodes=NODES))
    total = scatter(found, target, dim_size=NODES)
    has_edge = torch.from_numpy(graph.degree > 0)
    torch.testing.assert_close(total[has_edge], torch.ones_like(total[has_edge]))
    torch.testing.assert_close(neighbour_softmax(graph, scores[:, 1]), found[:, 1])
    assert torch.autograd.gradcheck(lambda s: neighbour_softmax(graph, s), (scores,))
    huge = neighbour_softmax(graph, scores.detach() + 1e4)
    torch.testing.assert_close(huge, found.detach())


def test_edges_come_back_in_the_order_of_the_matrix():
    graph = random_adjacency(weighted=True)
    source, target = csr_edge_index(Propagator.from_adjacency(graph))
    entries = graph.matrix.toarray()[target, source]
    np.testing.assert_array_equal(entries, graph.matrix.data)


def some_labels(seed=3):
    return torch.from_numpy(np.random.default_rng(seed).integers(-1, 3, NODES))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", [None, "row"])
def test_histogram_and_local_homophily_equal_loops(weighted, norm):
    graph = random_adjacency(weighted=True)
    if norm is not None:
        graph = Propagator.from_adjacency(graph, norm=norm, dtype=torch.float64)
    labels = some_labels()
    matrix = graph.matrix.toarray()
    if not weighted:
        matrix = (matrix > 0).astype(float)
    counts, share = np.zeros((NODES, 4)), np.full(NODES, np.nan)
    for i in range(NODES):
        for j in range(NODES):
            if labels[j] >= 0:
                counts[i, labels[j]] += matrix[i, j]
        if labels[i] >= 0 and counts[i].sum() > 0:
            share[i] = counts[i, labels[i]] / counts[i].sum()
    found = label_histogram(graph, labels, 4, weighted=weighted)
    np.testing.assert_allclose(found.numpy(), counts, rtol=1e-6)
    found = local_homophily(graph, labels, weighted=weighted)
    np.testing.assert_allclose(found.numpy(), share, rtol=1e-6)
    assert 3 < np.isnan(share).sum() < NODES - 3
    assert label_histogram(graph, labels).shape == (NODES, 3)


def test_homophily_equals_pyg():
    graph, labels = random_adjacency(), some_labels().clamp(min=0)
    edge_index = csr_edge_index(graph)
    assert edge_homophily(graph, labels) == pytest.approx(homophily(edge_index, labels, None))
    local = local_homophily(graph, labels).nan_to_num(0.0)
    assert float(local.mean()) == pytest.approx(
        homophily(edge_index, labels, None, method="node"), rel=1e-6
    )


@pytest.mark.parametrize("weighted", [True, False])
def test_shares_have_the_precision_of_the_operator(weighted):
    star = torch.tensor([[1, 2, 3], [0, 0, 0]])
    graph, labels = (
        Propagator(star, 4, norm="none", dtype=torch.float64),
        torch.tensor([0, 0, 1, 1]),
    )
    assert local_homophily(graph, labels, weighted=weighted)[0].item() == 1 / 3
    assert local_homophily(graph.adjacency, labels).dtype == torch.float32


def test_edge_homophily_leaves_unlabelled_ends_out():
    graph, labels = random_adjacency(), some_labels()
    edge_index = csr_edge_index(graph)
    known = (labels[edge_index] >= 0).all(dim=0)
    expected = homophily(edge_index[:, known], labels, None)
    assert edge_homophily(graph, labels) == pytest.approx(expected)
    assert np.isnan(edge_homophily(graph, torch.full((NODES,), -1)))
    assert local_homophily(graph, torch.full((NODES,), -1)).isnan().all()


def test_own_label_is_not_in_a_node_s_histogram():
    graph, labels = random_adjacency(directed=False), some_labels()
    flipped = labels.clone()
    flipped[5] = (labels[5] + 1) % 3
    before, after = (label_histogram(graph, y, 3) for y in (labels, flipped))
    assert torch.equal(before[5], after[5])
    assert not torch.equal(before, after)
    looped = Propagator.from_adjacency(graph, self_loops=True)
    for refused in (label_histogram, local_homophily, edge_homophily):
        with pytest.raises(InputError, match="self-loops"):
            refused(looped, labels)


def test_counts_beyond_bfloat16_are_exact():
    star = torch.stack([torch.arange(1, 400), torch.zeros(399, dtype=torch.long)])
    graph = Propagator(star, 400, norm="none", dtype=torch.bfloat16)
    assert label_histogram(graph, torch.zeros(400, dtype=torch.long))[0, 0] == 399


def test_degree_statistics():
    graph = random_adjacency()
    degree = (graph.matrix.toarray() > 0).sum(axis=1)
    found = degree_statistics(graph)
    assert (found.num_nodes, found.num_edges) == (NODES, degree.sum())
    assert (found.minimum, found.maximum, found.isolated) == (0, degree.max(), (degree == 0).sum())
    assert found.mean == pytest.approx(degree.mean())
    assert found.quantiles[0.5] == np.median(degree)
    pairs = np.abs(degree[:, None] - degree[None, :]).sum()
    assert found.gini == pytest.approx(pairs / (2 * NODES**2 * degree.mean()))
    assert found.hub_share == pytest.approx(degree.max() / degree.sum())
    looped = Propagator.from_adjacency(graph, self_loops=True)
    assert degree_statistics(looped) == found


@pytest.mark.parametrize("nodes", [0, 3])
def test_graphs_without_edges(nodes):
    graph = Adjacency.from_edges(torch.zeros(2, 0, dtype=torch.long), nodes)
    found = degree_statistics(graph)
    assert (found.mean, found.gini, found.hub_share, found.isolated) == (0.0, 0.0, 0.0, nodes)
    x, labels = torch.ones(nodes, 2), torch.zeros(nodes, dtype=torch.long)
    for reduce in REDUCE.values():
        assert torch.equal(reduce(graph, x), torch.zeros(nodes, 2))
    assert neighbour_softmax(graph, torch.ones(0)).shape == (0,)
    assert local_homophily(graph, labels).isnan().all()
    assert label_histogram(graph, labels, 2).shape == (nodes, 2)


def test_refuses_what_does_not_fit():
    graph = random_adjacency()
    with pytest.raises(InputError, match="x: "):
        neighbour_max(graph, torch.rand(NODES + 1))
    with pytest.raises(InputError, match="x: "):
        neighbour_sum(graph, torch.ones(NODES, dtype=torch.long))
    with pytest.raises(InputError, match=r"Convert it to the operator's torch\.float32"):
        neighbour_sum(Propagator.from_adjacency(graph), features())
    with pytest.raises(InputError, match="scores"):
        neighbour_softmax(graph, torch.rand(3))
    with pytest.raises(InputError, match="labels"):
        local_homophily(graph, torch.rand(NODES))
    with pytest.raises(InputError, match="labels: 2"):
        one_hot_labels(torch.tensor([0, 2]), 2)
