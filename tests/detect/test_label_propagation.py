from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import LabelPropagationResidual
from graphclean.nn.folds import plain_folds
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Any]


def dense_adjacency(data: Data) -> np.ndarray:
    matrix = np.zeros((data.num_nodes, data.num_nodes))
    matrix[data.edge_index[1], data.edge_index[0]] = 1.0
    np.fill_diagonal(matrix, 0.0)
    return matrix


@pytest.mark.parametrize("class_mass", [True, False])
@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_quality_is_the_closed_form_on_the_labels_of_the_other_folds(
    alpha: float, class_mass: bool, planted: Make
) -> None:
    data = planted(60, seed=1)
    data.y[::7] = -1
    adjacency = dense_adjacency(data)
    root = adjacency.sum(axis=1) ** -0.5
    system = np.eye(60) - alpha * root[:, None] * adjacency * root
    fold = plain_folds(data.y >= 0, 4, spawn_seeds(3, 5)[0]).numpy()
    expected = np.full(60, np.nan)
    for k in range(4):
        labels = np.eye(3)[data.y.numpy()] * ((fold != k) & (fold >= 0))[:, None]
        spread = (1 - alpha) * np.linalg.solve(system, labels)
        if class_mass:
            spread *= labels.sum(axis=0) / spread.sum(axis=0)
        share = spread / spread.sum(axis=1, keepdims=True)
        rows = np.flatnonzero(fold == k)
        expected[rows] = share[rows, data.y[rows]]
    detector = LabelPropagationResidual(
        alpha=alpha, steps=400, class_mass=class_mass, n_folds=4, random_state=3
    ).fit(data)
    np.testing.assert_allclose(detector.label_quality_, expected, atol=2e-4)


def test_where_no_label_arrives_nothing_is_flagged(planted: Make) -> None:
    data = planted(40, seed=2)
    data.edge_index = data.edge_index[:, (data.edge_index < 30).all(dim=0)]
    detector = LabelPropagationResidual(n_folds=3)
    votes = detector.votes(check(data), None)
    alone = ~torch.isin(torch.arange(40), data.edge_index)
    assert torch.equal(votes.seen, ~alone)
    assert not detector.fit(data).is_label_issue_[alone.numpy()].any()


@pytest.mark.parametrize(
    ("params", "argument"),
    [({"alpha": 1.0}, "alpha"), ({"alpha": 0}, "alpha"), ({"steps": 0}, "steps")],
)
def test_bad_parameters(params: dict[str, Any], argument: str, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        LabelPropagationResidual(**params).fit(planted(30))
    assert caught.value.argument == argument
