"""Probability detectors against direct calls of cleanlab, and its counts against plain loops."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cleanlab.count import compute_confident_joint, estimate_latent
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from torch_geometric.data import Data

from graphclean.detect import ConfidentLearning, Disagreement, NormalizedMargin, SelfConfidence
from graphclean.detect.confident_learning import FILTERS, RANKS
from graphclean.detect.simple_scores import lowest
from graphclean.noise.confident_joint import (
    confident_joint,
    expected_issues,
    transition_from_joint,
)

Make = Callable[..., Any]
SIMPLE = {
    "self_confidence": SelfConfidence,
    "normalized_margin": NormalizedMargin,
}


@pytest.fixture
def case(planted: Make, some_probs: Make) -> tuple[Data, torch.Tensor, np.ndarray]:
    """A graph with unlabelled nodes, probabilities, and the labelled rows."""
    data = planted(300, classes=4, noise=0.2, pair=False, seed=2)
    data.y[::7] = -1
    return data, some_probs(data, 4), np.flatnonzero(data.y >= 0)


def test_every_filter_and_rank_of_cleanlab_is_offered() -> None:
    listed = str(inspect.getdoc(find_label_issues)).split("filter_by : {")[1].split("}")[0]
    assert set(FILTERS) == set(re.findall(r"'([a-z_]+)'", listed))
    labels, probs = np.array([0, 1, 0, 1]), np.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="Please choose a valid rank_by") as caught:
        get_label_quality_scores(labels, probs, method="no such rank")
    assert set(RANKS) == set(str(caught.value).split("rank_by:")[1].replace(",", " ").split())


@pytest.mark.parametrize("filter_by", FILTERS)
@pytest.mark.parametrize("rank_by", RANKS)
def test_confident_learning_is_cleanlab(filter_by: str, rank_by: str, case: Any) -> None:
    data, probs, rows = case
    detector = ConfidentLearning(filter_by=filter_by, rank_by=rank_by).fit(data, pred_probs=probs)
    labels, known = data.y.numpy()[rows], probs.numpy()[rows]
    expected = find_label_issues(labels, known, filter_by=filter_by, n_jobs=1)
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(detector.is_label_issue_[rows], expected)
    np.testing.assert_allclose(
        detector.label_quality_[rows],
        get_label_quality_scores(labels, known, method=rank_by),
        rtol=1e-12,
    )
    joint = compute_confident_joint(labels, known, calibrate=True)
    assert detector.noise_rate_.value == pytest.approx(1 - np.trace(joint) / len(rows))
    _, noise_matrix, _ = estimate_latent(joint, labels)
    np.testing.assert_allclose(detector.transition_, noise_matrix.T, atol=1e-12)


@pytest.mark.parametrize("method", SIMPLE)
def test_simple_scores_are_cleanlab_ranks(method: str, case: Any) -> None:
    data, probs, rows = case
    detector = SIMPLE[method]().fit(data, pred_probs=probs)
    labels, known = data.y.numpy()[rows], probs.numpy()[rows]
    quality = get_label_quality_scores(labels, known, method=method)
    np.testing.assert_allclose(detector.label_quality_[rows], quality, rtol=1e-12)
    joint = compute_confident_joint(labels, known, calibrate=True)
    wrong = int(joint.sum() - np.trace(joint))
    assert 0 < wrong < len(rows)
    expected = np.sort(np.argsort(quality, kind="stable")[:wrong])
    np.testing.assert_array_equal(np.flatnonzero(detector.is_label_issue_[rows]), expected)
    assert detector.transition_ is None


def test_disagreement_flags_where_argmax_differs(case: Any) -> None:
    data, probs, rows = case
    detector = Disagreement().fit(data, pred_probs=probs)
    differs = (probs.argmax(dim=1) != data.y).numpy()
    np.testing.assert_array_equal(detector.is_label_issue_[rows], differs[rows])
    assert detector.noise_rate_.value == pytest.approx(differs[rows].mean())
    given = probs.numpy()[rows, data.y.numpy()[rows]]
    np.testing.assert_allclose(detector.label_quality_[rows], given, rtol=1e-12)
    np.testing.assert_array_equal(
        detector.suggested_label_[rows], probs.argmax(dim=1).numpy()[rows]
    )


def counted_by_hand(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    classes = probs.shape[1]
    limit = [probs[labels == k, k].mean() if (labels == k).any() else 2.0 for k in range(classes)]
    counts = np.zeros((classes, classes))
    for label, row in zip(labels, probs, strict=True):
        sure = [k for k in range(classes) if row[k] >= limit[k] - 1e-6]
        if sure:
            counts[label, max(sure, key=lambda k: row[k])] += 1
    for k in range(classes):
        counts[k, k] = max(counts[k, k], 1)
        counts[k] *= (labels == k).sum() / counts[k].sum()
    return counts


@pytest.mark.parametrize("absent", [False, True])
def test_confident_joint_is_counted_as_defined(absent: bool, case: Any) -> None:
    data, probs, rows = case
    labels, known = data.y.numpy()[rows], probs.numpy()[rows]
    if absent:
        labels = np.where(labels == 2, 0, labels)
    joint = confident_joint(labels, known)
    by_hand = counted_by_hand(labels, known)
    assert np.abs(joint - by_hand).max() <= 1  # cleanlab rounds, keeping the sum of every row
    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(labels, minlength=4))
    assert expected_issues(labels, known) == joint.sum() - np.trace(joint)

    transition = transition_from_joint(joint)
    for true in range(4):
        column = joint[:, true]
        row = column / column.sum() if column.sum() else np.eye(4)[true]
        np.testing.assert_allclose(transition[true], row)
    kept = joint.copy()
    kept[:, 2] = 0.0
    np.testing.assert_array_equal(transition_from_joint(kept)[2], np.eye(4)[2])


def test_lowest_takes_ties_by_position() -> None:
    quality = np.array([0.5, 0.1, 0.5, 0.9, 0.1, 0.5])
    np.testing.assert_array_equal(np.flatnonzero(lowest(quality, 2.6)), [0, 1, 4])
    assert not lowest(quality, 0.4).any()
    assert lowest(quality, 6).all()


@pytest.mark.parametrize("filter_by", FILTERS)
def test_certain_probabilities_and_tiny_classes_pass_in_silence(filter_by: str) -> None:
    """One-hot rows, a class with one node and one without: cleanlab warns, or divides by zero."""
    y = torch.tensor([0] * 6 + [1] * 6 + [2] + [0])
    probs = torch.nn.functional.one_hot(torch.tensor([0] * 6 + [1] * 6 + [2, 1]), 4).double()
    data = Data(x=torch.ones(14, 1), edge_index=torch.tensor([[0], [1]]), y=y)
    data.class_names = list("abcd")
    for rank_by in RANKS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            detector = ConfidentLearning(filter_by=filter_by, rank_by=rank_by)
            detector.fit(data, pred_probs=probs)
        assert np.isfinite(detector.label_quality_).all()
        if rank_by != "confidence_weighted_entropy":  # cleanlab gives every one-hot row a 0 there
            assert detector.label_quality_.argmin() == 13
        assert detector.suggested_label_[13] == 1
        assert not detector.is_label_issue_[:13].any()
