"""The operator against dense float64 matrices, PyG's normalisation and finite differences."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_dense_adj

from graphclean.sparse import Adjacency, Propagator
from graphclean.types import InputError


def random_graph(seed, nodes, edges, *, directed=False, weighted=False, hub=False):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, nodes, (2, edges))
    if hub:
        source[: edges // 2] = 0
    weight = rng.uniform(0.1, 2.0, edges) if weighted else np.ones(edges)
    if not directed:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
        weight = np.concatenate([weight, weight])
    dense = np.zeros((nodes, nodes))
    for s, t, w in zip(source, target, weight, strict=True):
        if s != t:
            dense[t, s] = dense[t, s] + w if weighted else 1.0
    return (
        torch.tensor(np.stack([source, target])),
        (torch.tensor(weight) if weighted else None),
        dense,
    )


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


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(1, 14),
    edges=st.integers(0, 50),
    directed=st.booleans(),
    weighted=st.booleans(),
    hub=st.booleans(),
    self_loops=st.booleans(),
    norm=st.sampled_from(["sym", "row", "col", "none"]),
    direction=st.sampled_from(["in", "out", "both"]),
)
def test_operator_equals_the_dense_one(
    seed, nodes, edges, directed, weighted, hub, self_loops, norm, direction
):
    edge_index, weight, dense = random_graph(
        seed, nodes, edges, directed=directed, weighted=weighted, hub=hub
    )
    symmetric = np.allclose(dense, dense.T, atol=0)
    if direction == "out":
        dense = dense.T
    elif direction == "both" and not symmetric:
        dense = dense + dense.T if weighted else np.maximum(dense, dense.T)
    expected = dense_normalised(dense + np.eye(nodes) * self_loops, norm)
    prop = Propagator(
        edge_index,
        nodes,
        weight,
        norm=norm,
        self_loops=self_loops,
        direction=direction,
        dtype=torch.float64,
    )
    np.testing.assert_allclose(prop.matrix.toarray(), expected, atol=1e-12)
    np.testing.assert_allclose(prop.csr.to_dense(), expected, atol=1e-12)
    np.testing.assert_allclose(prop.csr_transposed.to_dense(), expected.T, atol=1e-12)
    assert prop.is_symmetric <= np.allclose(expected, expected.T, atol=1e-12)

    x = np.random.default_rng(seed).normal(size=(nodes, 3)) * (np.arange(3) < 2)
    np.testing.assert_allclose(prop @ torch.from_numpy(x), expected @ x, atol=1e-12)
    np.testing.assert_allclose(prop @ torch.from_numpy(x[:, 0]), expected @ x[:, 0], atol=1e-12)
    for sparse in (torch.from_numpy(x).to_sparse_csr(), torch.from_numpy(x).to_sparse()):
        product = prop @ sparse
        assert product.layout == torch.sparse_csr
        np.testing.assert_allclose(product.to_dense(), expected @ x, atol=1e-12)
    for right in (sp.csr_array(x), sp.coo_matrix(x)):
        product = prop @ right
        assert sp.issparse(product)
        np.testing.assert_allclose(product.toarray(), expected @ x, atol=1e-12)


def test_gcn_normalisation_matches_pyg():
    edge_index, _, _ = random_graph(2, 40, 150)
    edge_index = torch.unique(edge_index[:, edge_index[0] != edge_index[1]], dim=1)
    index, weight = gcn_norm(edge_index, num_nodes=40)
    expected = to_dense_adj(index, edge_attr=weight, max_num_nodes=40)[0].T
    prop = Propagator(edge_index, 40, self_loops=True)
    torch.testing.assert_close(prop.csr.to_dense(), expected)


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("directed", [False, True])
def test_gradient(directed, norm):
    edge_index, weight, _ = random_graph(4, 9, 20, directed=directed, weighted=True)
    prop = Propagator(edge_index, 9, weight, norm=norm, dtype=torch.float64)
    x = torch.rand(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: prop @ v, (x,))


def test_no_transpose_is_made_of_a_symmetric_operator():
    edge_index, _, _ = random_graph(4, 9, 20)
    prop = Propagator(edge_index, 9)
    x = torch.rand(9, 2, requires_grad=True)
    (prop @ x).square().sum().backward()
    assert prop.csr_transposed is prop.csr
    assert prop.csr.col_indices().dtype == torch.int32


def test_bfloat16_is_the_rounded_product():
    edge_index, _, dense = random_graph(6, 30, 100)
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    product = Propagator(edge_index, 30, dtype=torch.bfloat16) @ x.bfloat16()
    assert product.dtype == torch.bfloat16
    expected = dense_normalised(dense, "sym") @ x.double().numpy()
    np.testing.assert_allclose(product.float(), expected, atol=0.05)


def test_built_once_per_graph_until_the_edges_change():
    edge_index, _, _ = random_graph(1, 12, 30)
    data = Data(edge_index=edge_index, num_nodes=12)
    first = Propagator.from_data(data)
    assert Propagator.from_data(data) is first
    assert Propagator.from_data(copy.copy(data)) is first
    rows = Propagator.from_data(data, norm="row")
    assert rows is not first
    assert rows.adjacency is first.adjacency is Adjacency.of(data)
    assert Propagator.from_data(data, norm="row") is rows

    data.edge_weight = torch.rand(edge_index.shape[1]) + 0.1
    weighted = Propagator.from_data(data)
    assert weighted is not first
    assert Propagator.from_data(data) is weighted
    data.edge_weight.mul_(torch.arange(edge_index.shape[1]) + 1.0)
    assert not np.allclose(Propagator.from_data(data).matrix.data, weighted.matrix.data)
    del data.edge_weight
    data.edge_index[:, 0] = torch.tensor([0, 11])
    changed = Propagator.from_data(data)
    assert changed.matrix[11, 0] > 0
    assert Propagator.from_data(Data(edge_index=data.edge_index, num_nodes=13)).num_nodes == 13


def test_the_cache_lets_go_of_a_dead_graph_without_the_garbage_collector():
    edge_index, _, _ = random_graph(1, 12, 30)
    data = Data(edge_index=edge_index, num_nodes=12)
    alive = weakref.ref(Propagator.from_data(data).adjacency)
    gc.collect()
    gc.disable()
    try:
        del data, edge_index
        assert alive() is None
    finally:
        gc.enable()


def test_pickles_without_what_can_be_made_again():
    edge_index, _, dense = random_graph(3, 10, 30)
    prop = Propagator(edge_index, 10, dtype=torch.float64)
    prop.memo["walks"] = prop.adjacency.memo["walks"] = np.zeros(10**6)
    text = pickle.dumps(prop)
    assert len(text) < 10**5
    again = pickle.loads(text)
    np.testing.assert_allclose(again @ torch.eye(10).double(), dense_normalised(dense, "sym"))


def test_isolated_nodes_and_the_empty_graph():
    prop = Propagator(torch.empty(2, 0, dtype=torch.long), 3, norm="row")
    assert torch.equal(prop @ torch.ones(3, 2), torch.zeros(3, 2))
    assert prop.adjacency.degree.tolist() == [0, 0, 0]
    loops = Propagator(torch.tensor([[1], [1]]), 2)
    assert loops.matrix.nnz == 0


def test_refuses_what_it_cannot_do():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    with pytest.raises(InputError, match="norm"):
        Propagator(edge_index, 2, norm="both")
    with pytest.raises(InputError, match="direction"):
        Propagator(edge_index, 2, direction="up")
    with pytest.raises(InputError, match="dtype"):
        Propagator(edge_index, 2, dtype=torch.int64)
    with pytest.raises(InputError, match=r"edge_index.*2"):
        Propagator(torch.tensor([[0, 2], [1, 0]]), 2)
    with pytest.raises(InputError, match=r"edge_index.*-1"):
        Propagator(torch.tensor([[0, -1], [1, 0]]), 2)
    with pytest.raises(InputError, match="3 rows"):
        Propagator(edge_index, 2) @ torch.ones(3, 1)
