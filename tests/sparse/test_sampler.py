"""Sampled operators: real and distinct edges, exact when nothing is left out, right on average."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from graphclean.sparse import Propagator
from graphclean.sparse.convert import convert_edges
from graphclean.sparse.mapped import MappedPropagator
from graphclean.sparse.sampler import NeighbourSampler
from graphclean.types import InputError

NODES = 80
NORMS = ("sym", "row", "col", "none")
OPTIONS = [
    {"norm": norm, "self_loops": loops} for norm, loops in itertools.product(NORMS, [False, True])
]


def propagator(*, directed=False, weighted=False, **options):
    """A graph with a hub (0), a node of one edge (78) and a node of none (79)."""
    rng = np.random.default_rng(5)
    edges = rng.integers(0, NODES - 2, (2, 300))
    edges[0, :60] = 0
    edges = np.concatenate([edges, [[3], [78]]], axis=1)
    weight = rng.uniform(0.2, 2.0, edges.shape[1])
    if not directed:
        edges, weight = np.concatenate([edges, edges[::-1]], axis=1), np.tile(weight, 2)
    values = torch.from_numpy(weight) if weighted else None
    return Propagator(torch.from_numpy(edges.copy()), NODES, values, **options)


def product(batch, x):
    h = x[batch.nodes]
    for layer in batch.layers:
        assert layer.shape[1] == len(h)
        h = layer @ h
    return h


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("fanouts", [[-1], [-1, -1], [-1, 1000, -1]])
def test_with_all_neighbours_it_is_the_full_product(options, weighted, directed, fanouts):
    operator = propagator(directed=directed, weighted=weighted, **options)
    x = torch.randn(NODES, 3, generator=torch.Generator().manual_seed(0))
    full = x
    for _ in fanouts:
        full = operator @ full
    seeds = torch.tensor([79, 0, 78, 5, 41])
    batch = NeighbourSampler(operator, fanouts, generator=0).sample(seeds)
    assert len(batch.layers) == len(fanouts)
    torch.testing.assert_close(product(batch, x), full[seeds], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("fanouts", [[3], [4, 2], [2, 5, 1]])
def test_edges_are_real_distinct_and_as_many_as_asked_for(loops, fanouts):
    operator = propagator(norm="none", self_loops=loops)
    adjacency = operator.adjacency
    sampler = NeighbourSampler(operator, fanouts, generator=1)
    seeds = torch.tensor([0, 79, 17, 78])
    batch = sampler.sample(seeds)
    nodes = batch.nodes.numpy()
    assert torch.equal(batch.nodes[:4], seeds)
    assert len(set(nodes.tolist())) == len(nodes)
    assert batch.layers[-1].shape[0] == len(seeds)
    assert batch.layers[0].shape[1] == len(nodes)
    dense = adjacency.matrix.toarray()
    for layer, fanout in zip(batch.layers, reversed(fanouts), strict=True):
        start, column = layer.crow_indices().numpy(), layer.col_indices().numpy()
        values = layer.values().numpy()
        assert start.dtype == column.dtype == np.int32
        for row in range(layer.shape[0]):
            part = slice(start[row], start[row + 1])
            own = column[part] == row
            assert own.sum() == loops
            assert (np.diff(column[part]) > 0).all(), "sorted and distinct"
            node, sources = nodes[row], nodes[column[part][~own]]
            assert (dense[node, sources] == 1).all()
            degree = adjacency.degree[node]
            assert len(sources) == min(degree, fanout)
            if len(sources):
                np.testing.assert_allclose(values[part][~own], degree / len(sources), rtol=1e-6)
            np.testing.assert_array_equal(values[part][own], 1.0)
    torch.testing.assert_close(
        batch.layers[0].to_dense(), batch.layers[0].to_sparse_coo().to_dense()
    )


def test_row_normalisation_is_the_mean_of_the_sample():
    batch = NeighbourSampler(propagator(norm="row"), [3], generator=2).sample(torch.arange(78))
    layer = batch.layers[0]
    counts = layer.crow_indices().diff()
    expected = torch.repeat_interleave(1.0 / counts, counts)
    torch.testing.assert_close(layer.values(), expected)


@pytest.mark.parametrize(("degree", "count"), [(3, 1), (3, 2), (4, 3), (6, 3)])
def test_every_subset_is_equally_likely(degree, count):
    """Chi-squared over all subsets of a hub's neighbours: the 99.9 % bound, with a fixed seed."""
    edges = torch.stack([torch.arange(1, degree + 1), torch.zeros(degree, dtype=torch.long)])
    sampler = NeighbourSampler(Propagator(edges, degree + 1, norm="row"), [count], generator=3)
    subsets = list(itertools.combinations(range(1, degree + 1), count))
    draws = 100 * len(subsets)
    found: Counter[tuple[int, ...]] = Counter()
    seed = torch.tensor([0])
    for _ in range(draws):
        found[tuple(sorted(sampler.sample(seed).nodes[1:].tolist()))] += 1
    assert set(found) <= set(subsets)
    chi2 = sum((found[s] - 100) ** 2 / 100 for s in subsets)
    freedom = len(subsets) - 1
    assert chi2 < freedom + 3.1 * np.sqrt(2 * freedom) + 10


@pytest.mark.parametrize("options", OPTIONS[1::2])
def test_the_mean_of_samples_is_the_full_product(options):
    operator = propagator(weighted=True, dtype=torch.float64, **options)
    x = torch.rand(NODES, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    full = operator @ (operator @ x)
    sampler = NeighbourSampler(operator, [3, 2], generator=7)
    seeds = torch.arange(NODES)
    samples = torch.stack([product(sampler.sample(seeds), x) for _ in range(225)])
    error = (samples.mean(dim=0) - full).abs()
    spread = samples.std(dim=0) / 15
    assert (error <= 5 * spread + 1e-12).all()
    assert (spread > 0).any()
    assert (error <= 2 * spread + 1e-12).double().mean() > 0.9


def test_the_seed_fixes_the_draws_and_the_draws_differ():
    operator = propagator(norm="row")
    seeds = torch.tensor([0, 9, 33])

    def drawn(generator, times=1):
        sampler = NeighbourSampler(operator, [4, 4], generator=generator)
        return [sampler.sample(seeds) for _ in range(times)]

    first, second = drawn(11, 2)
    again = drawn(torch.Generator().manual_seed(11))[0]
    assert torch.equal(first.nodes, again.nodes)
    for a, b in zip(first.layers, again.layers, strict=True):
        assert torch.equal(a.to_dense(), b.to_dense())
    assert first.nodes.tolist() != second.nodes.tolist()
    assert first.nodes.tolist() != drawn(12)[0].nodes.tolist()
    assert drawn(None)[0].layers[0].shape[0] >= 3


@pytest.mark.parametrize("weighted", [False, True])
def test_on_a_mapped_graph(weighted, tmp_path):
    rng = np.random.default_rng(9)
    table = pd.DataFrame(rng.integers(0, 50, (200, 2)), columns=["a", "b"])
    table["w"] = rng.uniform(0.5, 1.0, 200)
    table.to_parquet(tmp_path / "edges.parquet")
    weight = "w" if weighted else None
    folder = tmp_path / "g.csr"
    mapped = convert_edges(tmp_path / "edges.parquet", folder, weight=weight, num_nodes=50)
    operator = MappedPropagator(mapped.adjacency(), norm="sym", self_loops=True)
    plain = Propagator.from_adjacency(mapped.adjacency(), norm="sym", self_loops=True)
    seeds = torch.tensor([4, 0, 31])
    found, expected = (
        NeighbourSampler(each, [3, 3], generator=13).sample(seeds) for each in (operator, plain)
    )
    assert torch.equal(found.nodes, expected.nodes)
    for a, b in zip(found.layers, expected.layers, strict=True):
        torch.testing.assert_close(a.to_dense(), b.to_dense())
    everything = NeighbourSampler(operator, [-1], generator=0).sample(torch.arange(50))
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(product(everything, x), operator @ x, rtol=1e-5, atol=1e-6)


def test_an_adjacency_is_sampled_as_it_is():
    adjacency = propagator().adjacency
    batch = NeighbourSampler(adjacency, [-1], generator=0).sample(torch.arange(NODES))
    torch.testing.assert_close(
        batch.layers[0].to_dense().double(), torch.from_numpy(adjacency.matrix.toarray())
    )
    moved = batch.to("cpu")
    assert torch.equal(moved.nodes, batch.nodes)


def test_what_it_refuses():
    operator = propagator()
    for fanouts in ([], [0], [5, -2]):
        with pytest.raises(InputError, match="fanouts"):
            NeighbourSampler(operator, fanouts)
    sampler = NeighbourSampler(operator, [2], generator=0)
    for seeds, message in (([0, NODES], f"seeds: {NODES}"), ([-1], "-1"), ([4, 2, 4], "4 twice")):
        with pytest.raises(InputError, match=message):
            sampler.sample(torch.tensor(seeds))
    assert torch.equal(sampler.sample(torch.tensor([4, 2])).nodes[:2], torch.tensor([4, 2]))
