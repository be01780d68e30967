from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import NeighbourAgreement, NeighbourView
from graphclean.nn.folds import plain_folds
from graphclean.noise.neighbour_lca import latent_classes
from graphclean.noise.neighbour_triples import graph_triples
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Data]


def by_hand(data: Data, temper: float, n_folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return votes and posteriors ``[N, 3]`` in loops; NaN where no neighbour is known."""
    graph = check(data)
    fold_seed, *_ = spawn_seeds(0, 1 + n_folds)
    folds = plain_folds(graph.y >= 0, n_folds, fold_seed)
    votes = np.full((len(graph.y), 3), np.nan)
    posterior = votes.copy()
    edges = graph.edge_index.t().tolist()
    for fold in range(n_folds):
        y = graph.y.masked_fill(folds == fold, -1)
        found = latent_classes(graph_triples(graph, y, 3))
        emission = 0.99 * found.emission + 0.01 / 3
        transition = 0.99 * found.transition + 0.01 / 3
        for node in torch.nonzero(folds == fold).flatten().tolist():
            near = [int(y[source]) for source, target in edges if target == node]
            near = [label for label in near if label >= 0]
            if not near:
                continue
            row = np.array(
                [
                    found.prior[c] * np.prod([emission[c, b] ** temper for b in near])
                    for c in (0, 1, 2)
                ]
            )
            votes[node] = row / row.sum()
            both = row * transition[:, int(graph.y[node])]
            posterior[node] = both / both.sum()
    return votes, posterior


@pytest.mark.parametrize("temper", [0.3, 1.0])
def test_votes_and_quality_are_the_posteriors_in_loops(temper: float, planted: Make) -> None:
    data = planted(90, seed=5)
    data.edge_index = data.edge_index[:, (data.edge_index != 8).all(dim=0)]
    votes, posterior = by_hand(data, temper, 4)
    detector = NeighbourView(temper=temper, n_folds=4)
    found = detector.votes(check(data), None)
    seen = np.isfinite(votes[:, 0])
    assert not seen[8]
    np.testing.assert_array_equal(found.seen.numpy(), seen)
    np.testing.assert_allclose(found.share.numpy()[seen], votes[seen], atol=1e-9)
    detector.fit(data)
    given = posterior[np.arange(90), data.y.numpy()]
    np.testing.assert_allclose(detector.label_quality_[seen], given[seen], atol=1e-9)
    flags = np.where(seen, posterior.argmax(axis=1) != data.y.numpy(), False)
    np.testing.assert_array_equal(detector.is_label_issue_, flags)
    np.testing.assert_array_equal(detector.suggested_label_[flags], posterior.argmax(axis=1)[flags])
    assert detector.noise_rate_.value == pytest.approx(1 - detector.label_quality_.mean())
    np.testing.assert_allclose(detector.transition_.sum(axis=1), 1.0)


def test_heterophily_is_no_noise(planted: Make) -> None:
    """Every class stands beside the two others and never beside itself."""
    data = planted(900, noise=0.1, degree=10.0, homophily=0.9, seed=1)
    source, target = data.edge_index  # node i is of class i mod 3
    data.edge_index = torch.stack([source, (target + (target % 3 == source % 3)) % 900])
    wrong = data.noise_mask.numpy()
    found, plain = (
        average_precision_score(wrong, -detector.fit(data).label_quality_)
        for detector in (NeighbourView(n_folds=5), NeighbourAgreement(hops=1))
    )
    assert found > plain + 0.3


def test_pair_noise_is_told_from_its_reverse(planted: Make) -> None:
    """T enters: of two labels with the same votes, the one that T cannot make is believed."""
    data = planted(900, noise=0.2, degree=8.0, homophily=0.8, seed=2)
    detector = NeighbourView().fit(data)
    share = detector.votes(check(data), None).share.numpy()
    given = data.y.numpy()
    votes = share[np.arange(900), given]
    wrong = data.noise_mask.numpy()
    with_t = average_precision_score(wrong, -detector.label_quality_)
    assert with_t > average_precision_score(wrong, -votes) + 0.01
    assert np.diag(detector.transition_).mean() == pytest.approx(0.8, abs=0.06)
    cycle = detector.transition_[[0, 1, 2], [1, 2, 0]]
    assert cycle.min() > 0.1


def test_without_edges_nothing_is_flagged(planted: Make) -> None:
    data = planted(40)
    data.edge_index = torch.empty(2, 0, dtype=torch.long)
    detector = NeighbourView(n_folds=3).fit(data)
    assert not detector.is_label_issue_.any()
    np.testing.assert_array_equal(detector.transition_, 0.99 * np.eye(3) + 0.01 / 3)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("temper", 0.0), ("temper", 1.5), ("temper", "half"), ("temper", True), ("max_iter", 0)],
)
def test_bad_parameter(argument: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        NeighbourView(**{argument: value}).fit(planted(30))
    assert caught.value.argument == argument
    assert caught.value.fix.endswith(".")
