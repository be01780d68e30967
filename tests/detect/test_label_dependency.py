from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import LabelDependency, NeighbourAgreement
from graphclean.detect.label_dependency import label_features
from graphclean.nn.folds import plain_folds
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Any]


def bipartite(n: int = 240, seed: int = 0) -> Data:
    """Return a graph in which nine edges of ten join the two classes, with 15 % flipped labels."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    chance = np.where(truth[:, None] != truth[None, :], 0.09, 0.01) * 120 / n
    upper = np.triu(rng.random((n, n)) < chance, 1)
    flip = rng.random(n) < 0.15
    return Data(
        edge_index=torch.from_numpy(np.argwhere(upper | upper.T).T),
        y=torch.from_numpy(np.where(flip, 1 - truth, truth)),
        noise_mask=torch.from_numpy(flip),
        num_nodes=n,
    )


def test_heterophily_is_learned_where_agreement_fails() -> None:
    data = bipartite()
    wrong = data.noise_mask.numpy()
    found = {
        hops: average_precision_score(
            wrong, 1.0 - NeighbourAgreement(hops=hops).fit(data).label_quality_
        )
        for hops in (1, 2)
    }
    detector = LabelDependency().fit(data)
    learned = average_precision_score(wrong, 1.0 - detector.label_quality_)
    assert found[1] < 0.15
    assert learned > 0.7
    assert learned > found[2] + 0.2
    flagged = detector.is_label_issue_
    assert wrong[flagged].mean() > 0.6
    np.testing.assert_array_equal(
        detector.suggested_label_[flagged & wrong], np.arange(240)[flagged & wrong] % 2
    )


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_features_are_those_of_the_labels_without_the_own_one(hops: int, planted: Make) -> None:
    data = planted(40, seed=3)
    data.edge_index = data.edge_index[:, (data.edge_index != 7).all(dim=0)]
    y = data.y.clone()
    y[::6] = -1
    features, seen = label_features(check(data), y, 3, hops)
    adjacency = np.zeros((40, 40))
    adjacency[data.edge_index[1], data.edge_index[0]] = 1.0
    degree = adjacency.sum(axis=1)
    walk = adjacency / np.maximum(degree, 1.0)[:, None]
    onehot = np.eye(3)[y.numpy()] * (y.numpy() >= 0)[:, None]
    prior = onehot.sum(axis=0) / onehot.sum()
    for i in range(40):
        hidden = onehot.copy()
        hidden[i] = 0.0
        expected, reached = [np.log1p(degree[i])], False
        for hop in range(1, hops + 1):
            around = np.linalg.matrix_power(walk, hop)[i] @ hidden
            count = degree[i] * around / max(around.sum(), 1e-12)
            share = (count + 3.0 * prior) / (count + 3.0 * prior).sum()
            expected += [*np.log(share / prior + 0.01), *np.log1p(count)]
            reached = reached or around.sum() > 0
        np.testing.assert_allclose(features[i].numpy(), expected, atol=1e-8)
        assert bool(seen[i]) == reached
    assert not seen[7]


def test_quality_is_that_of_a_model_of_the_other_folds(planted: Make) -> None:
    data = planted(90, seed=5)
    data.y[::11] = -1
    y = data.y
    fold = plain_folds(y >= 0, 3, spawn_seeds(2, 4)[0])
    detector = LabelDependency(l2=2.0, n_folds=3, random_state=2).fit(data)
    for k in range(3):
        hidden = y.masked_fill(fold == k, -1)
        features, _ = label_features(check(data), hidden, 3, 2)
        known = (hidden >= 0).numpy()
        scaler = StandardScaler().fit(features.numpy()[known])
        rows = scaler.transform(features.numpy())
        model = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(rows[known], y[known])
        judged = np.flatnonzero(fold == k)
        expected = model.predict_proba(rows)[judged, y[judged]]
        np.testing.assert_allclose(detector.label_quality_[judged], expected, atol=1e-4)


def test_labels_of_the_judged_fold_do_not_shape_its_model(planted: Make) -> None:
    data = planted(90, seed=5)
    fold = plain_folds(data.y >= 0, 3, spawn_seeds(0, 4)[0])
    detector = LabelDependency(n_folds=3)
    before = detector.votes(check(data), None).share
    poisoned = data.clone()
    poisoned.y[fold == 1] = (data.y[fold == 1] + 1) % 3
    after = detector.votes(check(poisoned), None).share
    assert torch.equal(after[fold == 1], before[fold == 1])
    assert (after[fold != 1] - before[fold != 1]).abs().max() > 0.01


def test_a_single_class_teaches_nothing() -> None:
    ring = torch.arange(8)
    data = Data(edge_index=torch.stack([ring, ring.roll(1)]), num_nodes=8)
    data.y = torch.tensor([0, 0, 0, 1, 0, 0, 0, 0])
    votes = LabelDependency(n_folds=8).votes(check(data), None)
    assert votes.seen.tolist() == [True, True, True, False, True, True, True, True]
    assert votes.share[3].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("argument", "value"), [("hops", 0), ("l2", 0.0), ("l2", float("inf")), ("l2", "1")]
)
def test_bad_parameters(argument: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        LabelDependency(**{argument: value}).fit(planted(30))
    assert caught.value.argument == argument


def test_a_sample_of_the_rows_teaches_nearly_the_same(
    planted: Callable[..., Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = check(planted(900, degree=10.0))
    every = LabelDependency(n_folds=3).votes(data, None).share
    monkeypatch.setattr("graphclean.detect.label_dependency.FIT_ROWS", 300)
    some = LabelDependency(n_folds=3).votes(data, None).share
    again = LabelDependency(n_folds=3).votes(data, None).share
    assert torch.equal(some, again)
    assert not torch.equal(some, every)
    assert (some - every).abs().mean() < 0.03
