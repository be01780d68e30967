"""Two-pass kNN agreement against loops over scikit-learn's neighbours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import KnnAgreement
from graphclean.detect.embedding import nearest, node_embedding
from graphclean.detect.knn_agreement import clean_set
from graphclean.nn.folds import plain_folds
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Any]


def voters(points: np.ndarray, allowed: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """Return for every node the k nearest allowed others of positive cosine, with the cosine."""
    candidates = np.flatnonzero(allowed)
    finder = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute")
    distance, place = finder.fit(points[candidates]).kneighbors(points)
    found = []
    for node in range(len(points)):
        pairs = zip(candidates[place[node]], 1 - distance[node], strict=True)
        found.append([(int(j), c) for j, c in pairs if j != node][:k])
    return [[(j, c) for j, c in near if c > 0] for near in found]


def winner(near: list[tuple[int, float]], label: np.ndarray, classes: int) -> int:
    """Return the most frequent label of the neighbours; the nearer ones decide a tie."""
    ranked = [
        (sum(label[j] == c for j, _ in near), sum(s for j, s in near if label[j] == c), c)
        for c in range(classes)
    ]
    return max(ranked)[2] if near else -1


@pytest.mark.parametrize("k", [3, 8])
def test_votes_are_those_of_loops(k: int, planted: Make) -> None:
    data = planted(90, seed=2, noise=0.25)
    data.y[::7] = -1
    graph = check(data)
    points = node_embedding(graph).double().numpy()
    seed = spawn_seeds(0, 1)[0]
    fold = plain_folds(graph.y >= 0, 4, seed).numpy()
    votes = KnnAgreement(k=k, n_folds=4).votes(graph, None)
    for held in range(4):
        y = np.where(fold == held, -1, graph.y.numpy())
        near = voters(points, y >= 0, k)
        corrected = np.array([winner(n, y, 3) for n in near])
        assert (corrected[y >= 0] != y[y >= 0]).any()
        for node in np.flatnonzero(fold == held):
            said = [int(corrected[j]) for j, _ in near[node] if corrected[j] >= 0]
            expected = np.bincount(said, minlength=3) / len(said)
            np.testing.assert_allclose(votes.share[node], expected, atol=1e-3)


def test_first_pass_would_leak_without_folds(planted: Make) -> None:
    """A node's label is handed back by the neighbours that it relabelled."""
    graph = check(planted(60, seed=5, noise=0.3))
    graph.nearest = nearest(node_embedding(graph), 30, graph.y >= 0)
    moved = 0
    for node in range(60):
        poisoned = copy.copy(graph)
        poisoned.y = graph.y.clone()
        poisoned.y[node] = (graph.y[node] + 1) % 3
        plain, shifted = (KnnAgreement(k=3)._weights(g, g.y, 0)[node] for g in (graph, poisoned))
        moved += bool((plain - shifted).abs().max() > 0.5)
    assert moved > 3


def test_clean_set_by_hand() -> None:
    y = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, -1])
    agrees = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    quality = np.array([0.9, 0.6, 0.8, 0.8, 0.5, 0.4, 0.9, 0.3, 0.2, 0.0])
    # Agreeing: 4, 2 and 1; the median is 2.
    assert np.flatnonzero(clean_set(y, agrees, quality)).tolist() == [0, 2, 4, 5, 7]
    assert not clean_set(y, np.zeros(10, dtype=bool), quality).any()


def test_clean_set_is_clean_and_balanced(planted: Make) -> None:
    data: Data = planted(180, seed=1, noise=0.2, degree=12)
    frame = KnnAgreement().fit(data).find_label_issues().frame
    kept = frame[frame["in_clean_set"]]
    assert not kept["is_label_issue"].any()
    counts = np.sort(kept["given_label"].value_counts().to_numpy())
    agreeing = frame[~frame["is_label_issue"]]["given_label"].value_counts()
    assert counts.max() == np.median(agreeing)
    assert data.noise_mask.numpy()[kept["node"]].mean() < 0.05


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("k", 1.5), ("hops", 0), ("n_folds", 1)])
def test_bad_parameters(name: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        KnnAgreement(**{name: value}).fit(planted(30))
    assert (caught.value.argument, caught.value.value) == (name, value)
