"""Self-excluded hops against explicit float64 matrices, and against the released code's order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphclean.sparse import HopOperator, Propagator, hops, walk_diagonals
from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.mapped import MappedPropagator
from graphclean.types import InputError

NORMS = ["sym", "row", "col", "none"]


def random_edges(seed, nodes, edges, *, directed=False, weighted=False, hub=False):
    """Edges with loops and parallel ones; node 0 is a hub, half the nodes may be isolated."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, rng.integers(nodes // 2, nodes) + 1, (2, edges))
    if hub:
        source[: edges // 2] = 0
    weight = rng.uniform(0.1, 2.0, edges) if weighted else None
    if not directed:
        source, target = np.concatenate([source, target]), np.concatenate([target, source])
        weight = None if weight is None else np.tile(weight, 2)
    edge_index = torch.tensor(np.stack([source, target]))
    return edge_index, None if weight is None else torch.tensor(weight)


def dense_operator(edge_index, weight, nodes, norm):
    """The definition, edge by edge."""
    dense = np.zeros((nodes, nodes))
    values = np.ones(edge_index.shape[1]) if weight is None else weight.numpy()
    for s, t, w in zip(*edge_index.tolist(), values, strict=True):
        if s != t:
            dense[t, s] = 1.0 if weight is None else dense[t, s] + w
    row, column = dense.sum(1), dense.sum(0)
    for i in range(nodes):
        for j in np.flatnonzero(dense[i]):
            scale = {"sym": (row[i] * column[j]) ** 0.5, "row": row[i], "col": column[j]}
            dense[i, j] /= scale.get(norm, 1.0)
    return dense


def excluded(power):
    return power - np.diag(np.diag(power))


def exact_matrices(s, count):
    return [excluded(np.linalg.matrix_power(s, k)) for k in range(1, count + 1)]


def released_matrices(s):
    """The order of operations of the released ``generate_new_feature``."""
    s2 = s @ s
    s3 = s @ s2
    np.fill_diagonal(s2, 0.0)
    np.fill_diagonal(s3, 0.0)
    s4 = s @ s3
    np.fill_diagonal(s4, 0.0)
    s5 = s @ s3
    np.fill_diagonal(s5, 0.0)
    return [s, s2, s3, s4, s5]


@pytest.fixture
def graph():
    return random_edges(7, 60, 260, hub=True)[0]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(1, 14),
    edges=st.integers(0, 60),
    directed=st.booleans(),
    weighted=st.booleans(),
    hub=st.booleans(),
    norm=st.sampled_from(NORMS),
    official=st.booleans(),
)
def test_equal_explicit_matrices_to_2e6(
    seed, nodes, edges, directed, weighted, hub, norm, official
):
    edge_index, weight = random_edges(
        seed, nodes, edges, directed=directed, weighted=weighted, hub=hub
    )
    s = dense_operator(edge_index, weight, nodes, norm)
    rng = np.random.default_rng(seed)
    labels = np.eye(3)[rng.integers(0, 3, nodes)]
    probs = rng.dirichlet(np.ones(3), nodes)
    x = np.concatenate([labels, probs], axis=1)
    matrices = released_matrices(s) if official else exact_matrices(s, 5)
    variant = "official" if official else "exact"
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-12)):
        operator = Propagator(edge_index, nodes, weight, norm=norm, dtype=dtype)
        walked = HopOperator(operator, 5, variant=variant).powers(torch.tensor(x, dtype=dtype))
        for hop, (found, matrix) in enumerate(zip(walked, matrices, strict=True), start=1):
            # What is subtracted can exceed what remains: without normalisation by far.
            scale = max(1.0, np.linalg.matrix_power(s, hop).sum(1).max())
            assert found.dtype == dtype
            assert np.abs(found.numpy() - matrix @ x).max() / scale < tolerance


@pytest.mark.parametrize("hops", [4, 5])
def test_official_and_exact_part_at_the_fourth_hop(graph, hops):
    operator = Propagator(graph, 60, dtype=torch.float64)
    x = torch.rand(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    official = list(HopOperator(operator, hops, variant="official").powers(x))
    exact = list(HopOperator(operator, hops).powers(x))
    assert len(official) == hops
    for same in range(3):
        assert torch.equal(official[same], exact[same])
    assert (official[3] - exact[3]).abs().max() > 1e-3
    if hops == 5:
        assert torch.equal(official[4], official[3])


@pytest.mark.parametrize("variant", ["exact", "official"])
def test_queries_and_column_blocks_only_select(graph, variant, monkeypatch):
    operator = HopOperator(Propagator(graph, 60), 5, variant=variant)
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(60, 7, generator=generator)
    query = torch.randint(0, 7, (60, 4), generator=generator)
    stacked = torch.stack(list(operator.powers(x)), dim=1)
    expected = stacked.gather(2, query.unsqueeze(1).expand(-1, 5, -1))
    for block in (None, 1, 3, 7, 99):
        found = operator.at(x, query, column_block=block)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        single = operator.at(x, query[:, 2], column_block=block)
        assert torch.equal(single, found[:, :, 2])

    widths = []
    original = HopOperator._walk
    monkeypatch.setattr(hops, "_WORKING_BYTES", 60 * 4 * hops._BUFFERS * 2)
    monkeypatch.setattr(
        HopOperator,
        "_walk",
        lambda self, x, columns: widths.append(x.shape[1]) or original(self, x, columns),
    )
    torch.testing.assert_close(operator.at(x, query), expected, atol=1e-6, rtol=0)
    assert widths == [2, 2, 2, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("block", [None, 2])
def test_features_are_the_entries_of_predictions_then_labels(graph, dtype, block):
    operator = HopOperator(Propagator(graph, 60, dtype=dtype), 3)
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(-1, 5, (60,), generator=generator)
    assert (labels == -1).any()
    onehot = torch.zeros(60, 5, dtype=dtype)
    for node, label in enumerate(labels.tolist()):
        if label >= 0:
            onehot[node, label] = 1.0
    probs = torch.rand(60, 5, dtype=dtype, generator=generator).softmax(dim=1)
    query = torch.randint(0, 5, (60, 2), generator=generator)
    expected = torch.cat([operator.at(probs, query), operator.at(onehot, query)], dim=1)
    for given_labels in (labels, onehot, onehot.bool()):
        found = operator.features(given_labels, probs, query, column_block=block)
        assert found.dtype == dtype
        assert found.shape == (60, 6, 2)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        one = operator.features(given_labels, probs, query[:, 0], column_block=block)
        assert torch.equal(one, found[:, :, 0])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("directed", [False, True])
def test_numbering_of_nodes_does_not_matter(norm, directed):
    edge_index, weight = random_edges(2, 40, 150, directed=directed, weighted=True)
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(40, 3, dtype=torch.float64, generator=generator)
    query = torch.randint(0, 3, (40,), generator=generator)
    order = torch.randperm(40, generator=generator)
    position = torch.argsort(order)
    found = []
    for edges, values, asked in (
        (edge_index, x, query),
        (position[edge_index], x[order], query[order]),
    ):
        operator = Propagator(edges, 40, weight, norm=norm, dtype=torch.float64)
        found.append(HopOperator(operator, 5).at(values, asked))
    torch.testing.assert_close(found[1], found[0][order], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("directed", [False, True])
def test_mapped_operator_gives_the_same(norm, directed):
    edge_index, weight = random_edges(4, 50, 200, directed=directed, weighted=True)
    options = {"norm": norm, "dtype": torch.float64}
    adjacency = Adjacency.from_edges(edge_index, 50, weight)
    x = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    query = torch.arange(50) % 3
    for diagonal in ("exact", "estimate"):
        plain, mapped = (
            HopOperator(operator, 5, diagonal=diagonal).at(x, query)
            for operator in (
                Propagator(edge_index, 50, weight, **options),
                MappedPropagator(adjacency, block_edges=64, **options),
            )
        )
        torch.testing.assert_close(plain, mapped, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "leaks"),
    [
        ({}, False),
        ({"variant": "official"}, False),
        ({"diagonal": "exact"}, False),
        ({"exclude_self": False}, True),
        ({"exclude_self": False, "variant": "official"}, True),
    ],
)
@pytest.mark.parametrize("norm", NORMS[:3])
def test_own_label_does_not_reach_its_own_row(graph, options, leaks, norm):
    operator = HopOperator(Propagator(graph, 60, norm=norm), 5, **options)
    labels = torch.arange(60) % 3
    probs = torch.full((60, 3), 1 / 3)
    for node in (0, 11, 23):
        flipped = labels.clone()
        flipped[node] = (labels[node] + 1) % 3
        for query in (labels, flipped):
            before, after = (operator.features(y, probs, query)[node] for y in (labels, flipped))
            moved = (before - after).abs().max().item()
            assert (moved > 1e-3) == leaks
            assert leaks or moved < 1e-6


def test_an_estimate_leaks_its_error_and_says_how_much(graph):
    operator = Propagator(graph, 60, dtype=torch.float64)
    exact = HopOperator(operator, 6, diagonal="exact")
    estimated = HopOperator(operator, 6, diagonal="estimate", probes=400)
    assert exact.diagonal_errors == [None] * 6
    assert estimated.diagonal_errors[:2] == [None] * 2
    x, query = torch.eye(60, dtype=torch.float64), torch.arange(60)
    assert exact.at(x, query).abs().max() < 1e-12
    left = estimated.at(x, query)
    for hop in range(2, 6):
        error = estimated.diagonal_errors[hop]
        off = exact.diagonals[hop] - estimated.diagonals[hop]
        torch.testing.assert_close(left[:, hop], off, atol=1e-12, rtol=0)
        assert (off.abs() <= 5 * error + 1e-12).double().mean() > 0.95
        assert off.abs().max() > error.median()


@pytest.mark.parametrize("norm", ["row", "col"])
def test_estimates_of_similar_operators_agree(norm):
    edge_index, weight = random_edges(4, 50, 200, weighted=True)
    walks = [
        HopOperator(
            Propagator(edge_index, 50, weight, norm=n, dtype=torch.float64),
            5,
            diagonal="estimate",
        )
        for n in ("sym", norm)
    ]
    for hop in range(5):
        torch.testing.assert_close(*[each.diagonals[hop] for each in walks])


def test_what_is_estimated_is_decided_by_the_budget(graph):
    def errors(hops, **options):
        operator = HopOperator(Propagator(graph, 60), hops, **options)
        return [error is not None for error in operator.diagonal_errors]

    assert errors(6) == [False] * 5 + [True]
    assert errors(5, budget=0) == [False] * 3 + [True] * 2
    assert errors(6, budget=0, diagonal="exact") == [False] * 6
    assert errors(4, diagonal="estimate") == [False] * 2 + [True] * 2
    assert errors(5, budget=0, variant="official") == [False] * 3 + [True] * 2
    cheap = walk_diagonals.closed_walk_work(Propagator(graph, 60).matrix, 4, symmetric=True)
    assert errors(5, budget=cheap) == [False] * 4 + [True]


@pytest.fixture
def computed(monkeypatch):
    """Record which powers' diagonals are computed, exactly or estimated."""
    powers = []
    exact, estimate = walk_diagonals.closed_walk_diagonal, walk_diagonals.estimate_closed_walks

    def recorded(matrix, hops, **options):
        powers.append(hops)
        return exact(matrix, hops, **options)

    def recorded_estimate(product, nodes, hops, **options):
        powers.append(("estimate", tuple(hops)))
        return estimate(product, nodes, hops, **options)

    monkeypatch.setattr(walk_diagonals, "closed_walk_diagonal", recorded)
    monkeypatch.setattr(walk_diagonals, "estimate_closed_walks", recorded_estimate)
    return powers


def test_diagonals_are_computed_once_per_graph(graph, computed):
    adjacency = Adjacency.from_edges(graph, 60)
    symmetric = Propagator.from_adjacency(adjacency)
    HopOperator(symmetric, 3)
    assert computed == [1, 2, 3]
    for norm in ("sym", "row", "col"):
        HopOperator(Propagator.from_adjacency(adjacency, norm=norm, dtype=torch.float64), 4)
    HopOperator(symmetric.to("cpu"), 4, exclude_self=False)
    HopOperator(symmetric, 5, variant="official", budget=0)
    assert computed == [1, 2, 3, 4]
    HopOperator(symmetric, 6)
    HopOperator(symmetric, 6)
    assert computed == [1, 2, 3, 4, ("estimate", (6,)), 5]
    HopOperator(symmetric, 6, seed=1)
    HopOperator(symmetric, 7, seed=1)
    assert computed[6:] == [("estimate", (6,)), ("estimate", (7,))]
    HopOperator(Propagator.from_adjacency(adjacency, norm="none"), 2)
    assert computed[8:] == [1, 2], "counts of walks are not their normalised weights"


def test_directed_operators_keep_their_own_diagonals(computed):
    edge_index, _ = random_edges(9, 30, 90, directed=True)
    adjacency = Adjacency.from_edges(edge_index, 30)
    for norm in ("row", "sym"):
        operator = Propagator.from_adjacency(adjacency, norm=norm)
        HopOperator(operator, 3)
        HopOperator(operator.to("cpu"), 3)
    assert computed == [1, 2, 3] * 2


def test_gradient(graph):
    operator = HopOperator(Propagator(graph, 60, dtype=torch.float64), 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    query = torch.arange(60) % 2
    weight = torch.rand(60, 2, dtype=torch.float64, generator=generator)
    for block in (None, 1):
        (found,) = torch.autograd.grad(
            (weight * operator.at(x, query, column_block=block)).sum(), x
        )
        s = dense_operator(graph, None, 60, "sym")
        chosen = torch.nn.functional.one_hot(query, 2).double().numpy()
        expected = sum(
            matrix.T @ (weight[:, k : k + 1].numpy() * chosen)
            for k, matrix in enumerate(exact_matrices(s, 2))
        )
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_no_edges():
    operator = HopOperator(Propagator(torch.empty(2, 0, dtype=torch.long), 4), 6)
    found = operator.features(torch.arange(4) % 2, torch.full((4, 2), 0.5), torch.arange(4) % 2)
    assert torch.equal(found, torch.zeros(4, 12))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("diagonal", ["exact", "estimate"])
def test_cuda_gives_the_same(graph, diagonal):
    plain = Propagator(graph, 60, dtype=torch.float64)
    labels = torch.arange(60) % 3
    probs = torch.rand(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = HopOperator(plain, 5, diagonal=diagonal).features(labels, probs, labels)
    fresh = Propagator(graph, 60, dtype=torch.float64).to("cuda")
    moved = HopOperator(fresh, 5, diagonal=diagonal)
    found = moved.features(labels.cuda(), probs.cuda(), labels.cuda())
    assert all(each.device.type == "cuda" for each in moved.diagonals)
    torch.testing.assert_close(found.cpu(), expected)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("hops", {"hops": 0}),
        ("hops", {"hops": 6, "variant": "official"}),
        ("variant", {"variant": "paper"}),
        ("diagonal", {"diagonal": "guess"}),
        ("probes", {"hops": 6, "probes": 1}),
    ],
)
def test_refuses_unusable_options(graph, argument, options):
    with pytest.raises(InputError, match=argument):
        HopOperator(Propagator(graph, 60), **options)


def test_refuses_loops_even_where_the_graph_is_known_without(graph):
    adjacency = Adjacency.from_edges(graph, 60)
    HopOperator(Propagator.from_adjacency(adjacency))
    with pytest.raises(InputError, match="self-loops"):
        HopOperator(Propagator.from_adjacency(adjacency, self_loops=True))


def test_refuses_labels_and_queries_that_do_not_exist(graph):
    operator = HopOperator(Propagator(graph, 60), 1)
    x, labels = torch.rand(60, 3), torch.zeros(60, dtype=torch.long)
    for wrong in (labels - 1, labels + 3, labels[:5], labels[:, None, None]):
        with pytest.raises(InputError, match="query"):
            operator.at(x, wrong)
    for wrong in (labels - 2, labels + 3):
        with pytest.raises(InputError, match="labels"):
            operator.features(wrong, x, labels)
    with pytest.raises(InputError, match="column_block"):
        operator.at(x, labels, column_block=0)
