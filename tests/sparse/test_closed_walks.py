"""Closed-walk diagonals, exact and estimated, against dense float64 powers."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphclean.sparse import closed_walk_diagonal, closed_walks, four_cycles, triangles
from graphclean.sparse.closed_walks import closed_walk_work
from graphclean.sparse.walk_estimate import estimate_closed_walks
from graphclean.types import InputError


def random_matrix(seed, nodes, fill, *, symmetric, loops=False, hub=False):
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(nodes, nodes)) * (rng.random((nodes, nodes)) < fill)
    if hub:
        dense[0] = dense[:, 0] = rng.normal(size=nodes)
    if symmetric:
        dense = np.triu(dense) + np.triu(dense, 1).T
    if not loops:
        np.fill_diagonal(dense, 0.0)
    return dense


def assert_equals_powers(dense, found, hops):
    power = np.linalg.matrix_power(dense, hops)
    scale = max(1.0, np.abs(np.linalg.matrix_power(np.abs(dense), hops)).max())
    np.testing.assert_allclose(found / scale, np.diag(power) / scale, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(1, 16),
    fill=st.sampled_from([0.0, 0.1, 0.3, 0.8]),
    symmetric=st.booleans(),
    loops=st.booleans(),
    hub=st.booleans(),
)
def test_equal_dense_powers_of_any_sign(seed, nodes, fill, symmetric, loops, hub):
    dense = random_matrix(seed, nodes, fill, symmetric=symmetric, loops=loops, hub=hub)
    matrix = sp.csr_array(dense)
    for hops in range(1, 7):
        for told in {None, False, symmetric}:
            found = closed_walk_diagonal(matrix, hops, symmetric=told)
            assert found.shape == (nodes,)
            assert found.dtype == np.float64
            assert_equals_powers(dense, found, hops)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dense_fill", [0.0, 0.1, 2.0])
def test_blocks_and_hash_collisions_change_nothing(symmetric, dense_fill, monkeypatch):
    dense = random_matrix(3, 70, 0.12, symmetric=symmetric, hub=True)
    monkeypatch.setattr(closed_walks, "_FILL_BUDGET", 37)
    monkeypatch.setattr(closed_walks, "_DENSE_FILL", dense_fill)
    monkeypatch.setattr(four_cycles, "_BLOCK_PATHS", 50)
    monkeypatch.setattr(triangles, "_BLOCK_PAIRS", 50)
    monkeypatch.setattr(triangles, "_PLACES_PER_EDGE", 0)
    monkeypatch.setattr(four_cycles, "_shift", lambda size: 60)
    for hops in range(2, 7):
        found = closed_walk_diagonal(sp.csr_array(dense), hops, symmetric=symmetric)
        assert_equals_powers(dense, found, hops)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_graph_of_many_blocks(symmetric):
    matrix = sp.random_array((700, 700), density=0.1, rng=np.random.default_rng(1), format="csr")
    matrix = matrix + matrix.T if symmetric else matrix
    matrix = sp.csr_array(matrix - sp.diags_array(matrix.diagonal()))
    dense = matrix.toarray()
    paths = closed_walk_work(matrix, 4, symmetric=symmetric)
    assert paths > 2 * four_cycles._BLOCK_PATHS
    for hops in (3, 4, 5):
        expected = np.diag(np.linalg.matrix_power(dense, hops))
        found = closed_walk_diagonal(matrix, hops)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_almost_symmetric_is_directed():
    dense = random_matrix(5, 12, 0.5, symmetric=True)
    for scale in (1.0, 1e-14):
        bent = scale * dense
        edge = np.argwhere(bent)[0]
        bent[tuple(edge)] *= 1.001
        found = closed_walk_diagonal(sp.csr_array(bent), 3) / scale**3
        np.testing.assert_allclose(found, np.diag(np.linalg.matrix_power(bent / scale, 3)))


def test_takes_memory_mapped_read_only_and_unsorted_arrays(tmp_path):
    dense = random_matrix(2, 30, 0.2, symmetric=True)
    plain = sp.csr_array(dense)
    parts = []
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(plain, name))
        parts.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    mapped = sp.csr_array(tuple(parts), shape=plain.shape)

    backwards = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(*ends(plain), strict=True)])
    twice = np.repeat(backwards, 2)
    doubled = sp.csr_array(
        (plain.data[twice] / 2, plain.indices[twice], 2 * plain.indptr), shape=plain.shape
    )
    before = doubled.indices.copy()
    for hops in range(1, 6):
        expected = closed_walk_diagonal(plain, hops)
        np.testing.assert_array_equal(closed_walk_diagonal(mapped, hops), expected)
        np.testing.assert_allclose(closed_walk_diagonal(doubled, hops), expected, atol=1e-12)
    np.testing.assert_array_equal(doubled.indices, before)


def ends(matrix):
    return matrix.indptr[:-1], matrix.indptr[1:]


def test_work_counts_paths_and_walks():
    star = np.zeros((6, 6))
    star[0, 1:] = star[1:, 0] = 1.0
    matrix = sp.csr_array(star)
    assert closed_walk_work(matrix, 3, symmetric=True) == 10
    # Every edge of a star has an end of degree one.
    assert closed_walk_work(matrix, 4, symmetric=True) == 5
    # Five ways back from the hub and five walks from every leaf; with one step more, capped by the
    # number of entries, five times five from the hub and five from every leaf.
    assert closed_walk_work(matrix, 5, symmetric=True) == (5 + 25) + (10 + 25)
    assert closed_walk_work(matrix, 5, symmetric=False) == 2 * ((5 + 25) + (10 + 25))


def test_refuses_no_hop():
    with pytest.raises(InputError, match="hops"):
        closed_walk_diagonal(sp.csr_array(np.eye(2)), 0)


def products(dense, symmetric):
    forth, back = torch.tensor(dense), torch.tensor(dense.T.copy())
    return (lambda x: forth @ x), (None if symmetric else lambda x: back @ x)


@pytest.mark.parametrize("symmetric", [True, False])
def test_estimates_are_unbiased_with_honest_errors(symmetric):
    nodes, hops = 150, (1, 2, 3, 4, 5, 6, 7)
    dense = np.abs(random_matrix(8, nodes, 0.08, symmetric=symmetric))
    dense /= np.abs(np.linalg.eigvals(dense)).max()
    product, transposed = products(dense, symmetric)
    runs = [
        estimate_closed_walks(
            product, nodes, hops, transposed=transposed, probes=probes, seed=probes
        )
        for probes in (64, 1024)
    ]
    for hop in hops:
        exact = np.diag(np.linalg.matrix_power(dense, hop))
        estimates = [(values.numpy(), error.numpy()) for values, error in (r[hop] for r in runs)]
        for values, error in estimates:
            assert values.dtype == error.dtype == np.float64
            deviations = (values - exact) / np.maximum(error, 1e-12)
            assert np.mean(np.abs(deviations) < 5) > 0.99
            # Long walks meet the same probes everywhere: their deviations are one deviation.
            if hop <= 4:
                assert 0.7 < np.sqrt(np.mean(deviations[error > 0] ** 2)) < 1.4
        # Sixteen times the probes: a quarter of the error.
        assert 0.2 < estimates[1][1].mean() / estimates[0][1].mean() < 0.3


def test_estimates_repeat_by_seed_and_leave_the_global_state_alone():
    dense = random_matrix(1, 40, 0.2, symmetric=True)
    product, _ = products(dense, True)
    state = torch.get_rng_state()
    first, again, other = (
        estimate_closed_walks(product, 40, [4], probes=20, seed=seed)[4] for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    alone = estimate_closed_walks(product, 40, [3], probes=20, seed=0)[3]
    beside = estimate_closed_walks(product, 40, [3, 4, 6], probes=20, seed=0)
    assert torch.equal(alone[0], beside[3][0])
    assert torch.equal(first[0], beside[4][0])


def test_estimates_refuse_one_probe_and_no_hop():
    product, _ = products(np.eye(3), True)
    with pytest.raises(InputError, match="probes"):
        estimate_closed_walks(product, 3, [4], probes=1)
    with pytest.raises(InputError, match="hops"):
        estimate_closed_walks(product, 3, [0], probes=2)
