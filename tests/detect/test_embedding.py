"""The embedding against dense matrices, its neighbours against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import embedding as module
from graphclean.detect.embedding import nearest, neighbour_votes, node_embedding, pair_cosines
from graphclean.types import InputError

Make = Callable[..., Any]


def unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-9)


def dense_embedding(graph: Data, x: np.ndarray, hops: int) -> np.ndarray:
    looped = np.eye(len(x))
    looped[tuple(graph.edge_index.numpy())] = 1.0
    scale = looped.sum(axis=1) ** -0.5
    rows = unit(np.linalg.matrix_power(scale[:, None] * looped * scale, hops) @ x)
    return unit(rows - rows.mean(axis=0))


def random_units(n: int, d: int, seed: int = 0) -> torch.Tensor:
    points = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(points, dim=1)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_dense_features(hops: int, planted: Make) -> None:
    data = planted(60, seed=1)
    data.x = torch.cat([data.x * 100 + 7, torch.full((60, 1), 0.1)], dim=1)
    graph = check(data)
    x = data.x.double().numpy()
    spread = x.std(axis=0)
    spread[-1] = np.inf  # the constant column says nothing
    expected = dense_embedding(graph, (x - x.mean(axis=0)) / spread, hops)
    found = node_embedding(graph, hops=hops)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_wide_bag_of_words_is_reduced_without_loss_of_what_has_low_rank(
    layout: str, planted: Make
) -> None:
    """Eight kinds of rows have rank eight: sixteen singular vectors keep every cosine."""
    data, generator = planted(60, seed=2), torch.Generator().manual_seed(0)
    kinds = (torch.rand(8, 300, generator=generator) < 0.04).float()
    bag = kinds[torch.randint(0, 8, (60,), generator=generator)]
    data.x = bag.to_sparse_csr() if layout == "sparse" else bag
    graph = check(data)
    counts = bag.double().numpy()
    rows = dense_embedding(graph, counts / counts.sum(axis=1, keepdims=True), 2)
    found = node_embedding(graph, dimensions=16)
    assert found.shape == (60, 16)
    np.testing.assert_allclose((found @ found.t()).numpy(), rows @ rows.T, atol=1e-5)


def test_labels_are_not_read_and_the_graph_is_untouched(planted: Make) -> None:
    graph = check(planted(60, seed=3))
    kept = graph.x.clone()
    before = node_embedding(graph)
    graph.y = (graph.y + 1) % 3
    assert torch.equal(node_embedding(graph), before)
    assert torch.equal(graph.x, kept)


def test_a_node_of_which_nothing_is_known_is_like_no_other(planted: Make) -> None:
    data = planted(60, seed=4)
    data.x = torch.eye(60)[:, :50]  # node 55 has no word
    data.edge_index = data.edge_index[:, (data.edge_index != 55).all(dim=0)]
    found = node_embedding(check(data))
    length = found.norm(dim=1)
    assert length[55] == 0
    assert torch.allclose(length[torch.arange(60) != 55], torch.ones(59))


def test_all_nodes_alike_are_like_nobody(planted: Make) -> None:
    data = planted(30)
    data.x, data.edge_index = torch.full((30, 4), 0.3), torch.empty(2, 0, dtype=torch.long)
    assert not node_embedding(check(data)).any()


@pytest.mark.parametrize("block", [64, 2**22])
def test_nearest_is_that_of_scikit_learn(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENTRIES", block)
    points, among = random_units(70, 5), torch.arange(70) % 3 != 0
    index, cosine = nearest(points, 6, among)
    candidates = among.nonzero().view(-1).numpy()
    finder = NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute")
    finder.fit(points.double().numpy()[candidates])
    distance, place = finder.kneighbors(points.double().numpy())
    for node in range(70):
        others = candidates[place[node]] != node
        assert index[node].tolist() == list(candidates[place[node]][others][:6])
        np.testing.assert_allclose(cosine[node], 1 - distance[node][others][:6], atol=1e-7)


def test_nearest_breaks_ties_by_node_number() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(4, 1)
    index, cosine = nearest(points, 3, torch.ones(8, dtype=torch.bool))
    assert index.tolist()[:3] == [[2, 4, 6], [3, 5, 7], [0, 4, 6]]
    assert (cosine == 1).all()


def test_nearest_returns_all_there_are() -> None:
    points = random_units(6, 3)
    assert nearest(points, 9, torch.ones(6, dtype=torch.bool))[0].shape == (6, 5)
    assert nearest(points, 9, torch.arange(6) < 1)[0].shape == (6, 0)
    index, _ = nearest(points, 2, torch.arange(6) < 3)
    assert set(index.flatten().tolist()) == {0, 1, 2}
    assert all(node not in row for node, row in enumerate(index.tolist()))


@pytest.mark.parametrize("k", [0, 2.0, True, "3"])
def test_bad_number_of_neighbours(k: Any) -> None:
    with pytest.raises(InputError) as caught:
        nearest(random_units(6, 3), k, torch.ones(6, dtype=torch.bool))
    assert (caught.value.argument, caught.value.value) == ("k", k)


def test_pair_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    points = random_units(9, 4)
    first, second = torch.arange(9), torch.arange(9).flip(0)
    expected = (points.double() @ points.double().t())[first, second]
    for block in (8, 2**22):
        monkeypatch.setattr(module, "_ENTRIES", block)
        torch.testing.assert_close(pair_cosines(points, first, second), expected)


def test_votes_by_hand() -> None:
    index = torch.tensor([[1, 2, 3], [3, 0, 2]])
    weight = torch.tensor([[1.0, 0.5, 0.25], [2.0, 1.0, 4.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, -1, 1])
    expected = [[0.0, 1.25, 0.0], [1.0, 2.0, 0.0]]
    assert neighbour_votes(index, weight, labels, 3).tolist() == expected
