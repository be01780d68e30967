"""SimiFeat against loops over scikit-learn's neighbours, and its ranks by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import SimiFeat
from graphclean.detect import simifeat as module
from graphclean.detect.embedding import node_embedding
from graphclean.types import InputError

Make = Callable[..., Any]


def looped_rounds(graph: Any, k: int, rounds: int, edges: bool) -> list[np.ndarray]:
    """Return q of every round, drawn as SimiFeat draws, collected node by node."""
    points, y = node_embedding(graph).double().numpy(), graph.y.numpy()
    linked = {tuple(pair) for pair in graph.edge_index.t().tolist()}
    labelled, rng = np.flatnonzero(y >= 0), np.random.default_rng(0)
    result = []
    for _ in range(rounds):
        voting = np.sort(labelled[rng.permutation(len(labelled))[: round(0.9 * len(labelled))]])
        finder = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute")
        place = finder.fit(points[voting]).kneighbors(points, return_distance=False)
        q = np.zeros((len(y), int(y.max()) + 1))
        for node in range(len(y)):
            near = set([j for j in voting[place[node]] if j != node][:k])
            if edges:
                near |= {j for j in voting if (node, j) in linked}
            for j in near:
                q[node, y[j]] += max(0.0, points[node] @ points[j])
        length = np.linalg.norm(q, axis=1, keepdims=True)
        result.append(np.divide(q, length, out=np.zeros_like(q), where=length > 0))
    return result


@pytest.mark.parametrize("edges", [True, False])
def test_votes_flags_and_suggestions_are_those_of_loops(edges: bool, planted: Make) -> None:
    data = planted(80, seed=4, noise=0.25)
    data.y[::7] = -1
    graph = check(data)
    rounds = looped_rounds(graph, 5, 7, edges)
    detector = SimiFeat(k=5, rounds=7, graph_edges=edges).fit(data)
    total = np.sum(rounds, axis=0)
    share = total / total.sum(axis=1, keepdims=True)
    votes = SimiFeat(k=5, rounds=7, graph_edges=edges).votes(graph, None)
    np.testing.assert_allclose(votes.share.numpy(), share, atol=1e-6)

    judged, y = (graph.y >= 0).numpy(), graph.y.numpy()
    rows = np.flatnonzero(judged)
    np.testing.assert_allclose(detector.label_quality_[rows], share[rows, y[rows]], atol=1e-6)
    winners = np.stack([q.argmax(axis=1) for q in rounds])
    expected = (winners != y).mean(axis=0) > 0.5
    np.testing.assert_array_equal(detector.is_label_issue_, expected & judged)
    assert expected[rows].any()
    for row in np.flatnonzero(detector.is_label_issue_):
        wins = np.bincount(winners[:, row], minlength=3)
        wins[y[row]] = -1
        assert wins[detector.suggested_label_[row]] == wins.max()


def test_edges_matter_and_are_not_counted_twice(planted: Make) -> None:
    graph = check(planted(80, seed=4))
    near = SimiFeat(k=5)._neighbourhood(graph)
    dense = np.zeros((80, 80), dtype=bool)
    dense[tuple(graph.edge_index.numpy())] = True
    is_edge = np.take_along_axis(dense, near.index.numpy(), axis=1)
    assert is_edge.any()
    assert not is_edge.all()
    assert not near.weight.numpy()[is_edge].any()
    assert (near.weight.numpy()[~is_edge] == near.cosine.numpy().clip(0)[~is_edge]).all()


def test_rank_flags_the_share_of_each_class_by_hand() -> None:
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, -1])
    given = torch.tensor([0.9, 0.0, 0.0, 0.5, 0.8, 0.3, 0.0, 1.0], dtype=torch.float64)
    rival = torch.tensor([0.1, 1.0, 0.6, 0.5, 0.2, 0.7, 0.0, 0.0], dtype=torch.float64)
    q = torch.where(
        (y == 1).unsqueeze(1), torch.stack([rival, given], 1), torch.stack([given, rival], 1)
    )
    seen = torch.tensor([True] * 6 + [False, True])
    # One of four in class 0: of the two without a vote the one with the stronger rival. Half of
    # the two seen ones in class 1: the one with .3.
    flagged = module._last(y, q, seen, np.array([0.75, 0.5]))
    assert flagged.nonzero().view(-1).tolist() == [1, 5]
    assert not module._last(y, q, seen, np.array([1.0, 1.0])).any()
    assert module._last(y, q, seen, np.array([0.0, 0.0])).tolist() == (seen & (y >= 0)).tolist()


def test_rank_counts_triples_and_inverts_t(planted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = check(planted(60, seed=6))
    points = node_embedding(graph).double().numpy()
    cosine = points @ points.T
    np.fill_diagonal(cosine, -np.inf)
    expected = np.zeros((3, 3, 3))
    y = graph.y.numpy()
    for node, row in enumerate((-cosine).argsort(axis=1)[:, :2]):
        if cosine[node, row[1]] > 0:
            expected[y[node], y[row[0]], y[row[1]]] += 1
    transition = np.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.3, 0.0, 0.7]])
    prior = np.array([0.5, 0.3, 0.2])

    def fixed(one: np.ndarray, two: np.ndarray, three: np.ndarray) -> tuple[np.ndarray, Any]:
        np.testing.assert_array_equal(three, expected)
        np.testing.assert_array_equal(two, expected.sum(axis=2))
        np.testing.assert_array_equal(one, expected.sum(axis=(1, 2)))
        return transition, prior

    monkeypatch.setattr(module, "hoc_transition", fixed)
    near = SimiFeat()._neighbourhood(graph)
    found, clean = module._clean_share(graph, near)
    assert found is transition
    # Pr(y = c | given = c) by Bayes, given shares .45 + .06, .05 + .24 and .06 + .14.
    np.testing.assert_allclose(clean, [0.45 / 0.51, 0.24 / 0.29, 0.14 / 0.20])
    detector = SimiFeat(method="rank").fit(graph)
    assert detector.transition_ is transition
    assert SimiFeat().fit(graph).transition_ is None


def test_rank_flags_about_as_much_as_is_wrong(planted: Make) -> None:
    data = planted(240, noise=0.2, degree=12, homophily=0.95, pair=False)
    vote, rank = (SimiFeat(method=m, rounds=5).fit(data) for m in ("vote", "rank"))
    np.testing.assert_array_equal(rank.label_quality_, vote.label_quality_)
    assert abs(rank.is_label_issue_.mean() - float(data.noise_mask.float().mean())) < 0.08
    np.testing.assert_allclose(rank.transition_.sum(axis=1), 1.0)
    assert data.noise_mask.numpy()[rank.is_label_issue_].mean() > 0.6


def test_too_few_nodes_for_a_triple_flag_nothing_by_rank() -> None:
    edge = torch.tensor([[0], [1]])
    data = Data(x=torch.eye(2), edge_index=edge, y=torch.tensor([0, 1]))
    detector = SimiFeat(method="rank").fit(data)
    assert not detector.is_label_issue_.any()
    assert detector.transition_.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "mean"), ("k", 0), ("rounds", 0), ("rounds", 2.5), ("graph_edges", 1), ("hops", 0)],
)
def test_bad_parameters(name: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        SimiFeat(**{name: value}).fit(planted(30))
    assert (caught.value.argument, caught.value.value) == (name, value)
