"""The estimators that compare labels of near nodes: HOC and the latent class model."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.noise import HOC, NeighbourLatentClass, hoc_transition, realised_transition
from graphclean.noise._propagated import propagated_features
from graphclean.noise.neighbour_lca import latent_classes
from graphclean.noise.neighbour_triples import graph_triples, knn_triples, neighbour_counts
from graphclean.types import InputError

Make = Callable[..., Data]

PRIOR = np.array([0.35, 0.25, 0.2, 0.12, 0.08])
PAIR = 0.8 * np.eye(5) + 0.2 * np.roll(np.eye(5), 1, axis=1)
MIXED = 0.75 * np.eye(5) + 0.05 + np.diag([0.05, -0.05, 0, 0.05], k=1)[:5, :5]
MIXED = MIXED / MIXED.sum(axis=1, keepdims=True)


def realised(data: Data, classes: int) -> np.ndarray:
    return realised_transition(data.y_clean, data.y, classes).double().numpy()


def error(estimator: HOC | NeighbourLatentClass, data: Data) -> float:
    return float(np.abs(estimator.fit(data).transition_ - realised(data, 5)).mean())


def small_graph() -> Data:
    rng = np.random.default_rng(3)
    edges = torch.from_numpy(rng.integers(0, 24, (2, 60)))
    y = torch.from_numpy(rng.integers(-1, 3, 25))
    return check(Data(edge_index=edges, y=y, x=torch.from_numpy(rng.normal(size=(25, 4)))))


def test_graph_triples_are_the_mean_over_all_pairs_of_neighbours() -> None:
    graph = small_graph()
    near = [set() for _ in range(25)]
    for source, target in graph.edge_index.t().tolist():
        near[target].add(source)
    counts, expected = np.zeros((25, 3)), np.zeros((3, 3, 3))
    for node, around in enumerate(near):
        known = [other for other in around if graph.y[other] >= 0]
        for other in known:
            counts[node, graph.y[other]] += 1
        pairs = list(itertools.permutations(known, 2))
        if graph.y[node] >= 0:
            for first, second in pairs:
                place = (graph.y[node], graph.y[first], graph.y[second])
                expected[place] += 1 / len(pairs)
    np.testing.assert_allclose(neighbour_counts(graph, graph.y, 3), counts)
    np.testing.assert_allclose(graph_triples(graph, graph.y, 3), expected, atol=1e-12)


def test_knn_triples_by_hand() -> None:
    graph = small_graph()
    graph.y[0] = 1
    features = propagated_features(graph, 3, 0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    labelled = np.flatnonzero(graph.y.numpy() >= 0)
    size, rng, expected = round(0.9 * len(labelled)), np.random.default_rng(0), np.zeros((3, 3, 3))
    for _ in range(4):
        subset = labelled[rng.choice(len(labelled), size, replace=False)]
        cosine = unit[subset] @ unit[subset].T
        np.fill_diagonal(cosine, -2.0)
        for row, node in enumerate(subset):
            first, second = subset[np.argsort(-cosine[row], kind="stable")[:2]]
            expected[graph.y[node], graph.y[first], graph.y[second]] += 1
    found = knn_triples(graph, graph.y, 3, rounds=4, components=3, seed=0)
    np.testing.assert_allclose(found, expected)
    few = graph.y.masked_fill(torch.arange(25) > int(labelled[1]), -1)
    with pytest.raises(InputError, match="2 labels"):
        knn_triples(graph, few, 3, rounds=4, components=3, seed=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_propagated_features_are_the_truncated_decomposition(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 30)) * (rng.random((40, 30)) < 0.08)
    x[:, 0] = 3.0 * (np.arange(40) < 13)
    edges = torch.from_numpy(rng.integers(0, 39, (2, 80)))
    features = torch.from_numpy(x).float()
    graph = check(
        Data(
            x=features.to_sparse() if sparse else features,
            edge_index=edges,
            y=torch.arange(40) % 2,
        )
    )
    adjacency = np.eye(40)
    adjacency[tuple(graph.edge_index.numpy())] = 1.0
    scale = 1.0 / np.sqrt(adjacency.sum(axis=1))
    smooth = scale[:, None] * adjacency * scale
    left, singular, _ = np.linalg.svd(smooth @ smooth @ features.double().numpy())
    wanted = (left[:, :4] * singular[:4]) @ (left[:, :4] * singular[:4]).T
    found = propagated_features(graph, 4, 0)
    assert found.shape == (40, 4)
    np.testing.assert_allclose(found @ found.T, wanted, atol=1e-3 * wanted.max())


def consensus(transition: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, ...]:
    one = prior @ transition
    two, three = np.zeros((len(prior),) * 2), np.zeros((len(prior),) * 3)
    for weight, row in zip(prior, transition, strict=True):
        two += weight * np.multiply.outer(row, row)
        three += weight * np.multiply.outer(np.multiply.outer(row, row), row)
    return one, two, three


@pytest.mark.parametrize("scale", [1.0, 5000.0])
def test_hoc_recovers_what_made_the_counts(scale: float) -> None:
    counts = [scale * part for part in consensus(MIXED, PRIOR)]
    transition, prior = hoc_transition(*counts, steps=1000)
    assert np.abs(transition - MIXED).max() < 5e-3
    assert np.abs(prior - PRIOR).max() < 5e-3


def test_hoc_finds_the_identity_where_labels_agree() -> None:
    transition, prior = hoc_transition(*consensus(np.eye(4), np.full(4, 0.25)), steps=700)
    np.testing.assert_allclose(transition, np.eye(4), atol=5e-3)
    np.testing.assert_allclose(prior, 0.25, atol=5e-3)


@pytest.mark.parametrize(
    ("position", "value", "argument"),
    [
        (1, np.ones((5, 4)), "counts2"),
        (2, np.zeros((5, 5, 5)), "counts3"),
        (0, np.full(5, np.nan), "counts1"),
        (1, -np.ones((5, 5)), "counts2"),
    ],
)
def test_hoc_refuses_what_is_no_count(position: int, value: np.ndarray, argument: str) -> None:
    counts = list(consensus(MIXED, PRIOR))
    counts[position] = value
    with pytest.raises(InputError) as caught:
        hoc_transition(*counts)
    assert caught.value.argument == argument


def test_hoc_recovers_the_planted_matrix_where_features_tell_classes(noisy_blocks: Make) -> None:
    data = noisy_blocks(PAIR, PRIOR, n=2000, homophily=0.95, spread=8.0)
    assert error(HOC(rounds=5, steps=700), data) < 0.02


@pytest.mark.parametrize("homophily", [0.0, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("planted", [PAIR, MIXED], ids=["pair", "mixed"])
def test_latent_classes_recover_the_planted_matrix(
    planted: np.ndarray, homophily: float, noisy_blocks: Make
) -> None:
    data = noisy_blocks(planted, PRIOR, n=4000, homophily=homophily, seed=2)
    estimator = NeighbourLatentClass()
    assert error(estimator, data) < (0.025 if homophily else 0.045)
    np.testing.assert_allclose(estimator.class_prior_, PRIOR, atol=0.03 if homophily else 0.08)
    assert 1 < estimator.n_iter_ <= 500
    source, target = data.edge_index
    seen = realised_transition(data.y_clean[target], data.y[source], 5).double().numpy()
    assert np.abs(estimator.neighbour_emission_ - seen).mean() < 0.025


def test_hoc_on_the_graph_charges_heterophily_to_noise(noisy_blocks: Make) -> None:
    data = noisy_blocks(PAIR, PRIOR, n=4000, homophily=0.7, seed=2)
    hoc = HOC(views="graph", steps=600)
    assert error(NeighbourLatentClass(), data) < 0.5 * error(hoc, data)
    assert 0.55 < np.diag(hoc.transition_).mean() < 0.72


@pytest.mark.parametrize("planted", [PAIR, np.eye(5)], ids=["pair", "identity"])
def test_latent_classes_live_with_perfect_homophily(
    planted: np.ndarray, noisy_blocks: Make
) -> None:
    data = noisy_blocks(planted, PRIOR, n=2000, homophily=1.0)
    assert error(NeighbourLatentClass(), data) < 0.015


def test_expectation_maximisation_step_by_loops() -> None:
    triples = np.random.default_rng(0).random((3, 3, 3)) + 2.0 * np.eye(3)[:, :, None]
    identity, prior = np.eye(3), np.full(3, 1 / 3)
    beside = triples.sum(axis=2) / triples.sum(axis=(1, 2))[:, None]
    transition, emission = 0.8 * identity + 0.2 / 3, 0.9 * beside + 0.1 / 3
    for _ in range(2):
        own, near, mass = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3)
        for a, b, c in itertools.product(range(3), repeat=3):
            joint = prior * transition[:, a] * emission[:, b] * emission[:, c]
            for i in range(3):
                part = triples[a, b, c] * joint[i] / joint.sum()
                own[i, a] += part
                near[i, b] += part
                near[i, c] += part
                mass[i] += part
        transition = own / own.sum(axis=1, keepdims=True)
        emission, prior = near / near.sum(axis=1, keepdims=True), mass / mass.sum()
    found = latent_classes(triples, max_iter=2)
    np.testing.assert_allclose(found.transition, transition, atol=1e-9)
    np.testing.assert_allclose(found.emission, emission, atol=1e-9)
    np.testing.assert_allclose(found.prior, prior, atol=1e-9)
    assert found.n_iter == 2


def test_a_class_seen_only_around_others_keeps_its_labels() -> None:
    triples = np.zeros((3, 3, 3))
    triples[:2, :2, :2] = consensus(np.array([[0.9, 0.1], [0.1, 0.9]]), np.full(2, 0.5))[2]
    triples[0, 0, 2] = triples[0, 2, 0] = 0.01
    found = latent_classes(triples)
    np.testing.assert_array_equal(found.transition[2], [0, 0, 1])
    np.testing.assert_array_equal(found.emission[2], [0, 0, 1])
    assert found.prior[2] == 0
    assert found.emission[0, 2] > 0
    nothing = latent_classes(np.zeros((3, 3, 3)))
    np.testing.assert_array_equal(nothing.transition, np.eye(3))
    assert (nothing.prior == 0).all()
