"""The operator, closed walks and hop features against dense float64 matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_dense_adj

from graphclean.sparse import HopOperator, Propagator, closed_walk_diagonal
from graphclean.types import InputError


def random_graph(seed, nodes, edges, *, directed=False, weighted=False, hub=False):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, nodes, (2, edges))
    if hub:
        source[: edges // 2] = 0
    weight = rng.uniform(0.1, 2.0, edges) if weighted else np.ones(edges)
    dense = np.zeros((nodes, nodes))
    for s, t, w in zip(source, target, weight, strict=True):
        if s != t:
            dense[t, s] = dense[t, s] + w if weighted else 1.0
    edge_index = torch.tensor(np.stack([source, target]))
    edge_weight = torch.tensor(weight) if weighted else None
    if not directed:
        dense_back = np.zeros((nodes, nodes))
        for s, t, w in zip(source, target, weight, strict=True):
            if s != t:
                dense_back[s, t] = dense_back[s, t] + w if weighted else 1.0
        dense = dense + dense_back if weighted else np.maximum(dense, dense_back)
        edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        edge_weight = None if edge_weight is None else edge_weight.repeat(2)
    return edge_index, edge_weight, dense


def dense_normalised(dense, norm):
    with np.errstate(divide="ignore"):
        row, column = dense.sum(1), dense.sum(0)
        inverse = {
            "sym": (row**-0.5, column**-0.5),
            "row": (row**-1.0, np.ones_like(row)),
            "col": (np.ones_like(row), column**-1.0),
            "none": (np.ones_like(row), np.ones_like(row)),
        }[norm]
    left, right = (np.where(np.isfinite(v), v, 0.0) for v in inverse)
    return left[:, None] * dense * right[None, :]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(1, 14),
    edges=st.integers(0, 50),
    directed=st.booleans(),
    weighted=st.booleans(),
    hub=st.booleans(),
    norm=st.sampled_from(["sym", "row", "col", "none"]),
)
def test_operator_and_hops_equal_dense_powers(seed, nodes, edges, directed, weighted, hub, norm):
    edge_index, weight, dense = random_graph(
        seed, nodes, edges, directed=directed, weighted=weighted, hub=hub
    )
    expected = dense_normalised(dense, norm)
    prop = Propagator(edge_index, nodes, weight, norm=norm, dtype=torch.float64)
    np.testing.assert_allclose(prop.matrix.toarray(), expected, atol=1e-12)

    x = torch.randn(nodes, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    operator = HopOperator(prop, hops=5)
    power = np.eye(nodes)
    for hop, walked in enumerate(operator.powers(x), start=1):
        power = power @ expected
        scale = max(1.0, np.abs(power).max())
        diagonal = closed_walk_diagonal(prop.matrix, hop)
        np.testing.assert_allclose(diagonal / scale, np.diag(power) / scale, atol=1e-10)
        reference = (power - np.diag(np.diag(power))) @ x.numpy()
        np.testing.assert_allclose(walked.numpy() / scale, reference / scale, atol=1e-9)


def test_streaming_in_small_blocks_changes_nothing(monkeypatch):
    edge_index, _, dense = random_graph(3, 60, 400, hub=True)
    prop = Propagator(edge_index, 60, dtype=torch.float64)
    whole = [closed_walk_diagonal(prop.matrix, k) for k in range(2, 6)]
    monkeypatch.setattr("graphclean.sparse.closed_walks._FILL_BUDGET", 37)
    blocks = [closed_walk_diagonal(prop.matrix, k) for k in range(2, 6)]
    np.testing.assert_allclose(blocks, whole, atol=1e-13)
    expected = np.diag(np.linalg.matrix_power(dense_normalised(dense, "sym"), 3))
    np.testing.assert_allclose(blocks[1], expected, atol=1e-12)


def test_single_precision_hops_stay_within_2e6_of_float64():
    edge_index, _, dense = random_graph(5, 200, 1500, hub=True)
    labels = torch.nn.functional.one_hot(torch.arange(200) % 4).float()
    expected = dense_normalised(dense, "sym")
    for hop, walked in enumerate(HopOperator(Propagator(edge_index, 200), 5).powers(labels), 1):
        power = np.linalg.matrix_power(expected, hop)
        reference = (power - np.diag(np.diag(power))) @ labels.double().numpy()
        assert np.abs(walked.numpy() - reference).max() < 2e-6


def test_gathered_entries_and_permutation():
    edge_index, _, _ = random_graph(7, 30, 120)
    x = torch.rand(30, 4)
    query = torch.arange(30) % 4
    operator = HopOperator(Propagator(edge_index, 30), 3)
    gathered = operator.at(x, query)
    stacked = torch.stack(list(operator.powers(x)))
    assert torch.equal(gathered, stacked[:, torch.arange(30), query].T)

    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    position = torch.empty_like(order)
    position[order] = torch.arange(30)
    permuted = HopOperator(Propagator(position[edge_index], 30), 3).at(x[order], query[order])
    torch.testing.assert_close(permuted, gathered[order], atol=1e-6, rtol=1e-5)


def test_own_label_leaks_only_without_self_exclusion():
    edge_index, _, _ = random_graph(11, 25, 90)
    labels = torch.arange(25) % 3
    flipped = labels.clone()
    flipped[4] = (labels[4] + 1) % 3
    prop = Propagator(edge_index, 25)
    query = labels
    for exclude, leaks in ((True, False), (False, True)):
        operator = HopOperator(prop, 3, exclude_self=exclude)
        before, after = (
            operator.at(torch.nn.functional.one_hot(y, 3).float(), query)[4]
            for y in (labels, flipped)
        )
        moved = (before - after).abs().max().item()
        assert (moved > 1e-3) == leaks
        assert leaks or moved < 1e-6


def test_gcn_normalisation_matches_pyg():
    edge_index, _, _ = random_graph(2, 40, 150)
    edge_index = torch.unique(edge_index[:, edge_index[0] != edge_index[1]], dim=1)
    index, weight = gcn_norm(edge_index, num_nodes=40)
    expected = to_dense_adj(index, edge_attr=weight, max_num_nodes=40)[0].T
    prop = Propagator(edge_index, 40, self_loops=True)
    torch.testing.assert_close(prop.csr.to_dense(), expected)


@pytest.mark.parametrize("directed", [False, True])
def test_gradient(directed):
    edge_index, weight, _ = random_graph(4, 9, 20, directed=directed, weighted=True)
    prop = Propagator(edge_index, 9, weight, dtype=torch.float64)
    x = torch.rand(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: prop @ v, (x,))
    assert torch.allclose(prop @ x[:, 0], (prop @ x)[:, 0])


def test_refuses_what_it_cannot_do():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(InputError, match="norm"):
        Propagator(edge_index, 2, norm="both")
    with pytest.raises(InputError, match="self-loops"):
        HopOperator(Propagator(edge_index, 2, self_loops=True))
    with pytest.raises(InputError, match="hops"):
        HopOperator(Propagator(edge_index, 2), 0)
    with pytest.raises(InputError, match="hops"):
        closed_walk_diagonal(Propagator(edge_index, 2).matrix, 0)
