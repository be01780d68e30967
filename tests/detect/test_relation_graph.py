"""The relation graph against loops over pairs, refinement included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import RelationGraph
from graphclean.detect.embedding import nearest, node_embedding
from graphclean.detect.relation_pairs import SparsePairs
from graphclean.nn import OutOfFold
from graphclean.sparse import Adjacency
from graphclean.types import InputError

Make = Callable[..., Any]
N, C, K, R = 48, 3, 3, 2


@pytest.fixture
def graph(planted: Make) -> Data:
    data = planted(N, seed=9, noise=0.3)
    data.y[::8] = -1
    return check(data)


@pytest.fixture
def source(graph: Data) -> OutOfFold:
    """Predictions of no model, different for every repeat, fold and node."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.one_hot(graph.y_clean, C) * 2.0
    models = (truth + torch.randn(R, K, N, C, generator=generator)).softmax(dim=-1)
    fold = torch.stack([torch.arange(N) % K, torch.arange(N) // 5 % K])
    fold[:, graph.y < 0] = -1
    return OutOfFold(models.mean(dim=(0, 1)), fold, models)


def kernel(graph: Data, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return k of all pairs, 0 for a node with itself and for an unlabelled j."""
    f = node_embedding(graph).double().numpy()
    found = np.zeros((N, N))
    for i in range(N):
        for j in range(N):
            value = max(0.0, f[i] @ f[j]) * (left[i] @ right[j])
            if i != j and graph.y[j] >= 0 and value > 0.03:
                found[i, j] = value
    return found


def looped(graph: Data, probs: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return s of every node for every class as its label, o, and m, under one model."""
    y, k = graph.y.numpy(), kernel(graph, probs, probs)
    strength = max(sum(k[i] ** 4) for i in range(N) if y[i] >= 0)
    scores = np.zeros((N, C))
    for i in range(N):
        for c in range(C):
            labels = y.copy()
            labels[i] = c  # the label whose score is asked for
            r = np.where(labels[:, None] == labels[None, :], 1.0, -1.0) * k**4
            for j in np.flatnonzero(y >= 0):
                without = sum(r[j, m] for m in np.flatnonzero(y >= 0) if m != i)
                scores[i, c] += -r[i, j] if without / strength < -lam else r[i, j]
    return scores, k.sum(axis=1), strength


@pytest.mark.parametrize("lam", [0.05, 0.3, 0.999])
def test_scores_are_those_of_loops(lam: float, graph: Data, source: OutOfFold) -> None:
    expected, total, limit = np.zeros((N, C)), np.zeros(N), np.zeros(N)
    for models, folds in zip(source.model_probs, source.fold.clamp_min(0), strict=True):
        for k in range(K):
            mine = (folds == k).numpy()
            scores, outlier, strength = looped(graph, models[k].double().numpy(), lam)
            expected[mine] += scores[mine] / R
            total[mine] += outlier[mine] / R
            limit[mine] += strength / R
    detector = RelationGraph(pairs="dense", noise_threshold=lam)
    relations = detector.relations(graph, source)
    np.testing.assert_allclose(relations.scores().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(relations.total.numpy(), total, atol=1e-6)
    np.testing.assert_allclose(relations.strength.numpy(), limit, atol=1e-6)

    frame = detector.fit(graph, source).find_label_issues().frame
    rows = frame["node"].to_numpy()
    own = expected[rows, graph.y.numpy()[rows]]
    np.testing.assert_allclose(frame["relation_score"], own, atol=1e-6)
    np.testing.assert_allclose(frame["outlier_score"], total[rows], atol=1e-6)
    np.testing.assert_allclose(frame["label_quality"], 0.5 + 0.5 * own / (1 + abs(own)), atol=1e-6)
    np.testing.assert_array_equal(frame["is_label_issue"], own < -lam * limit[rows])
    best = expected[rows].argmax(axis=1)
    np.testing.assert_array_equal(frame["predicted_label"].astype(int), best)


def test_refinement_changes_scores(graph: Data, source: OutOfFold) -> None:
    refined, plain = (
        RelationGraph(noise_threshold=lam).relations(graph, source).scores()
        for lam in (0.05, 0.999)
    )
    assert (refined - plain).abs().max() > 0.1


def test_all_neighbours_make_sparse_dense(graph: Data, source: OutOfFold) -> None:
    dense = RelationGraph(pairs="dense").relations(graph, source)
    sparse = RelationGraph(pairs="sparse", k=N).relations(graph, source)
    auto = RelationGraph().relations(graph, source)
    few = RelationGraph(pairs="sparse", k=2).relations(graph, source)
    for name in ("support", "strength", "total"):
        assert torch.equal(getattr(auto, name), getattr(dense, name))
        torch.testing.assert_close(getattr(sparse, name), getattr(dense, name))
        assert not torch.allclose(getattr(few, name), getattr(dense, name))


def test_sparse_pairs_are_edges_and_nearest_both_ways(graph: Data) -> None:
    points, labelled = node_embedding(graph), graph.y >= 0
    expected = {(a, b) for a, b in graph.edge_index.t().tolist()}
    for i, row in enumerate(nearest(points, 3, labelled)[0].tolist()):
        expected |= {pair for j in row for pair in ((i, j), (j, i))}
    expected = {(i, j) for i, j in expected if labelled[j]}
    pairs = SparsePairs(points, labelled, Adjacency.of(graph), 3)
    rows = torch.arange(N) % 2 == 0
    for chosen in (rows, ~rows):
        found = [
            pair
            for block in pairs.blocks(chosen)
            for pair in zip(block.row.tolist(), block.col.tolist(), strict=True)
        ]
        assert len(found) == len(set(found))
        assert set(found) == {(i, j) for i, j in expected if chosen[i]}


@pytest.mark.parametrize("pairs", ["dense", "sparse"])
def test_own_label_moves_nothing_of_its_own(pairs: Any, graph: Data, source: OutOfFold) -> None:
    """The label reaches the models of the other folds: what these say is replaced by noise."""
    detector = RelationGraph(pairs=pairs, k=10)
    before = detector.relations(graph, source)
    for node in (1, 20, 41):
        poisoned = graph.clone()
        poisoned.y[node] = (graph.y[node] + 1) % C
        models = torch.rand(R, K, N, C, generator=torch.Generator().manual_seed(node))
        models /= models.sum(dim=-1, keepdim=True)
        for repeat in range(R):
            own = int(source.fold[repeat, node])
            models[repeat, own] = source.model_probs[repeat, own]
        merged = torch.full_like(source.pred_probs, 1 / C)
        after = detector.relations(poisoned, OutOfFold(merged, source.fold, models))
        assert torch.equal(after.support[node], before.support[node])
        assert torch.equal(after.total[node], before.total[node])
        # A sum over the classes: another label changes the order of the summands, not more.
        torch.testing.assert_close(after.strength[node], before.strength[node], rtol=1e-14, atol=0)
        assert not torch.allclose(after.support, before.support)


def test_own_probabilities_judge_by_the_row_of_the_judged_node(
    graph: Data, some_probs: Make
) -> None:
    probs = some_probs(graph, C)
    detector = RelationGraph()
    found = detector.relations(graph, probs)
    onehot = np.eye(C + 1)[graph.y.numpy()][:, :C]
    k = kernel(graph, probs.numpy(), onehot)
    np.testing.assert_allclose(found.support.numpy(), k**4 @ onehot, atol=1e-6)
    np.testing.assert_allclose(found.total.numpy(), k.sum(axis=1), atol=1e-6)
    others = torch.full_like(probs, 1 / C)
    others[20] = probs[20]
    again = detector.relations(graph, others)
    for name in ("support", "strength", "total"):
        assert torch.equal(getattr(again, name)[20], getattr(found, name)[20])


def test_votes_order_classes_as_scores_do(graph: Data, source: OutOfFold) -> None:
    detector = RelationGraph(noise_threshold=0.0)
    scores, votes = detector.relations(graph, source).scores(), detector.votes(graph, source)
    assert (detector.relations(graph, source).support < 0).any()
    assert votes.seen.all()
    assert torch.equal(votes.share.argsort(dim=1), scores.argsort(dim=1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pairs", "some"),
        ("k", 0),
        ("power", -1.0),
        ("power", "4"),
        ("cutoff", 1.0),
        ("noise_threshold", 1.5),
        ("noise_threshold", True),
        ("hops", 0),
    ],
)
def test_bad_parameters(name: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        RelationGraph(classifier="unreached", **{name: value}).fit(planted(30))
    assert (caught.value.argument, caught.value.value) == (name, value)
