from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import InfluenceContradiction
from graphclean.nn.folds import plain_folds
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Any]


@pytest.mark.parametrize("alpha", [0.15, 0.6])
def test_score_is_the_contradicting_share_of_the_influence(alpha: float, planted: Make) -> None:
    data = planted(50, seed=4)
    data.y[::8] = -1
    y = data.y.numpy()
    adjacency = np.zeros((50, 50))
    adjacency[data.edge_index[1], data.edge_index[0]] = 1.0
    walk = adjacency / np.maximum(adjacency.sum(axis=1, keepdims=True), 1.0)
    influence = alpha * np.linalg.inv(np.eye(50) - (1 - alpha) * walk)
    fold = plain_folds(data.y >= 0, 3, spawn_seeds(1, 4)[0]).numpy()
    detector = InfluenceContradiction(alpha=alpha, steps=400, n_folds=3, random_state=1).fit(data)
    for i in np.flatnonzero((y >= 0) & (adjacency.sum(axis=1) > 0)):
        others = (y >= 0) & (fold != fold[i])
        score = influence[i, others & (y != y[i])].sum() / influence[i, others].sum()
        assert 1.0 - detector.label_quality_[i] == pytest.approx(score, abs=1e-4)


def test_flags_follow_the_mixture_and_the_score(planted: Make) -> None:
    data = planted(240, degree=14, homophily=0.95, noise=0.15, seed=2)
    detector = InfluenceContradiction().fit(data)
    score, flagged = 1.0 - detector.label_quality_, detector.is_label_issue_
    mixture = GaussianMixture(2, means_init=[[0.1], [0.9]], random_state=0).fit(score[:, None])
    upper = mixture.means_.argmax()
    posterior = mixture.predict_proba(score[:, None])[:, upper]
    between = (score > mixture.means_.min()) & (score < mixture.means_.max())
    clear = between & (np.abs(posterior - 0.5) > 0.4) & (np.abs(score - 0.5) > 0.01)
    assert clear.sum() > 20
    expected = (posterior > 0.5) & (score > 0.5)
    np.testing.assert_array_equal(flagged[clear], expected[clear])
    assert score[flagged].min() > max(0.5, score[~flagged].max())
    assert data.noise_mask.numpy()[flagged].mean() > 0.8


def test_what_most_influence_supports_is_not_flagged() -> None:
    """Two cliques and one odd label: a handful of small scores is no second component of wrong."""
    block = torch.ones(12, 12).triu(1).nonzero().t()
    edges = torch.cat([block, block + 12, torch.tensor([[0], [12]])], dim=1)
    data = Data(edge_index=torch.cat([edges, edges.flip(0)], dim=1), num_nodes=24)
    data.y = torch.arange(24) // 12
    detector = InfluenceContradiction().fit(data)
    assert detector.label_quality_.std() > 0.01
    assert not detector.is_label_issue_.any()
    data.y[5] = 1
    np.testing.assert_array_equal(np.flatnonzero(detector.fit(data).is_label_issue_), [5])


def test_without_edges_nothing_is_seen(planted: Make) -> None:
    data = planted(30)
    data.edge_index = torch.empty(2, 0, dtype=torch.long)
    detector = InfluenceContradiction(n_folds=3)
    assert not detector.votes(check(data), None).seen.any()
    assert not detector.fit(data).is_label_issue_.any()


@pytest.mark.parametrize("alpha", [0.0, 1.0, "x"])
def test_bad_alpha(alpha: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        InfluenceContradiction(alpha=alpha).fit(planted(30))
    assert caught.value.argument == "alpha"
