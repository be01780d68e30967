from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from graphclean.detect import ConfidentLearning, LabelNonUniformity
from graphclean.detect.label_non_uniformity import non_uniformity

Make = Callable[..., Any]


def transport(probs: np.ndarray) -> float:
    """Wasserstein distance to the uniform distribution, moving mass costs 1: a linear program."""
    classes = len(probs)
    cost = 1.0 - np.eye(classes)
    rows = [np.kron(np.eye(classes)[i], np.ones(classes)) for i in range(classes)]
    columns = [np.kron(np.ones(classes), np.eye(classes)[j]) for j in range(classes)]
    found = linprog(
        cost.ravel(),
        A_eq=np.array(rows + columns),
        b_eq=np.concatenate([probs, np.full(classes, 1 / classes)]),
    )
    return float(found.fun)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_non_uniformity_is_the_wasserstein_distance_to_uniform(classes: int) -> None:
    probs = np.random.default_rng(classes).dirichlet(np.ones(classes), 5)
    np.testing.assert_allclose(non_uniformity(probs), [transport(row) for row in probs], atol=1e-9)
    assert non_uniformity(np.eye(classes)) == pytest.approx(1 - 1 / classes)
    assert non_uniformity(np.full((1, classes), 1 / classes)) == pytest.approx(0)


def test_quality_by_hand() -> None:
    probs = np.array(
        [[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0.25] * 4, [0.4, 0.4, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1]]
    )
    quality = LabelNonUniformity()._score(np.array([0, 1, 3, 1, 2]), probs)[0]
    # w = 0.75, 0.75, 0, 0.3, 0.3 of at most 0.75.
    assert quality.tolist() == pytest.approx([1.0, 0.0, 0.5, 0.7, 0.3])


def test_contradicted_labels_come_first_the_confident_ones_before(
    planted: Make, some_probs: Make
) -> None:
    data = planted(120)
    probs = some_probs(data, 3)
    detector = LabelNonUniformity().fit(data, pred_probs=probs)
    quality, agrees = detector.label_quality_, (probs.argmax(dim=1) == data.y).numpy()
    assert 20 < agrees.sum() < 110
    assert quality[~agrees].max() < 0.5 < quality[agrees].min()
    trust = non_uniformity(probs.numpy())
    assert (np.argsort(quality[~agrees]) == np.argsort(-trust[~agrees])).all()
    assert (np.argsort(quality[agrees]) == np.argsort(trust[agrees])).all()


def test_flags_as_many_as_confident_learning_counts(planted: Make, some_probs: Make) -> None:
    data = planted(120)
    probs = some_probs(data, 3)
    ours = LabelNonUniformity().fit(data, pred_probs=probs)
    theirs = ConfidentLearning().fit(data, pred_probs=probs)
    assert ours.noise_rate_ == theirs.noise_rate_
    count = round(ours.noise_rate_.value * 120)
    assert count > 5
    assert sorted(np.flatnonzero(ours.is_label_issue_)) == sorted(
        torch.tensor(ours.label_quality_).argsort()[:count].tolist()
    )
