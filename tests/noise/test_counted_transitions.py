"""The estimators that count and read off: confident joint, anchors, DualT, verified labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from cleanlab.count import estimate_py_and_noise_matrices_from_probabilities
from torch_geometric.data import Data

from graphclean.noise import Anchors, ConfidentJoint, DualT, VerifiedCounts
from graphclean.noise.anchors import anchor_rows
from graphclean.noise.estimator import row_normalised, spread, true_prior

Make = Callable[..., Data]

TRUE = np.array([[0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.0, 0.2, 0.8]])
PRIOR = np.array([0.5, 0.3, 0.2])


@pytest.fixture
def data(noisy_blocks: Make) -> Data:
    return noisy_blocks(TRUE, PRIOR, n=600)


@pytest.fixture
def clean_probs(data: Data) -> np.ndarray:
    """Probabilities of the true class ``[N, 3]``, sharp for most nodes."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(600, 3))
    logits[np.arange(600), data.y_clean.numpy()] += 4.0
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_confident_joint_is_cleanlabs(data: Data, clean_probs: np.ndarray) -> None:
    data.y[5:30] = -1
    known = data.y.numpy() >= 0
    prior, noise_matrix, _, _ = estimate_py_and_noise_matrices_from_probabilities(
        data.y.numpy()[known], clean_probs[known]
    )
    found = ConfidentJoint().fit(data, clean_probs)
    np.testing.assert_allclose(found.transition_, noise_matrix.T, atol=1e-6)
    np.testing.assert_allclose(found.class_prior_, prior, atol=1e-6)


def test_confident_joint_recovers_the_planted_matrix(data: Data, clean_probs: np.ndarray) -> None:
    """Confident learning wants Pr(given): the clean probabilities go through T first."""
    found = ConfidentJoint().fit(data, clean_probs @ TRUE)
    assert np.abs(found.transition_ - TRUE).mean() < 0.05
    np.testing.assert_allclose(found.class_prior_, PRIOR, atol=0.08)


def test_anchors_read_off_the_noisy_posterior(data: Data, clean_probs: np.ndarray) -> None:
    """With one certain node in every class the rows of T are its noisy probabilities, exactly."""
    clean_probs[:3] = np.eye(3)
    found = Anchors().fit(data, clean_probs @ TRUE)
    np.testing.assert_allclose(found.transition_, TRUE, atol=1e-12)
    shares = np.bincount(data.y.numpy(), minlength=3) / 600
    np.testing.assert_allclose(found.class_prior_ @ TRUE, shares, atol=1e-9)


@pytest.mark.parametrize("quantile", [None, 0.97, 0.5])
def test_anchor_by_hand(quantile: float | None, clean_probs: np.ndarray) -> None:
    for i, row in enumerate(anchor_rows(clean_probs, quantile)):
        column = sorted(clean_probs[:, i])
        if quantile is None:
            wanted = column[-1]
        else:
            position = -int(-quantile * 599 // 1)  # the first value at or above the quantile
            wanted = max(value for value in column if value < column[position])
        assert row[i] == wanted
        assert any((row == candidate).all() for candidate in clean_probs)


def test_the_same_prediction_everywhere_is_its_own_anchor() -> None:
    probs = np.tile([0.2, 0.5, 0.3], (6, 1))
    np.testing.assert_array_equal(anchor_rows(probs, 0.97), probs[:3])


@pytest.mark.parametrize("quantile", [None, 0.9])
def test_dual_t_is_the_product_in_loops(
    quantile: float | None, data: Data, clean_probs: np.ndarray
) -> None:
    clean_probs[:, 2] *= 1e-6  # class 2 is never predicted
    clean_probs /= clean_probs.sum(axis=1, keepdims=True)
    club, counts = anchor_rows(clean_probs, quantile), np.zeros((3, 3))
    for row, label in zip(clean_probs, data.y.tolist(), strict=True):
        counts[int(row.argmax()), label] += 1
    expected = np.zeros((3, 3))
    for i in range(3):
        for predicted in range(3):
            for j in range(3):
                total = counts[predicted].sum()
                share = counts[predicted, j] / total if total else float(predicted == j)
                expected[i, j] += club[i, predicted] * share
    found = DualT(quantile=quantile).fit(data, clean_probs)
    np.testing.assert_allclose(found.transition_, expected, atol=1e-12)


def test_dual_t_recovers_the_planted_matrix(data: Data) -> None:
    """A classifier that is certain and right leaves the counting alone."""
    found = DualT().fit(data, np.eye(3)[data.y_clean.numpy()])
    counted = VerifiedCounts(data.y_clean).fit(data)
    np.testing.assert_allclose(found.transition_, counted.transition_, atol=1e-12)
    assert np.abs(found.transition_ - TRUE).max() < 0.08


def test_verified_counts_by_hand() -> None:
    data = Data(
        y=torch.tensor([0, 0, 1, 1, 1, 2, -1, 0]),
        edge_index=torch.tensor([[0, 1], [1, 2]]),
        num_nodes=8,
        class_names=["a", "b", "c", "d"],
    )
    verified = [0, 1, 1, 1, 1, -1, 3, 0]
    found = VerifiedCounts(verified).fit(data)
    expected = np.array([[1, 0, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(found.transition_, expected)
    np.testing.assert_allclose(found.class_prior_, [2 / 6, 4 / 6, 0, 0])
    error = np.sqrt(0.25 * 0.75 / 4)
    np.testing.assert_allclose(found.standard_error_[:2], [[0] * 4, [error, error, 0, 0]])
    assert np.isnan(found.standard_error_[2]).all()  # carried, never verified
    assert np.isnan(found.standard_error_[3]).all()  # verified on an unlabelled node only


def test_a_true_class_that_nobody_carries_is_counted(data: Data) -> None:
    data.y[data.y == 2] = 1
    found = VerifiedCounts(data.y_clean).fit(data.update({"class_names": list("abc")}))
    assert found.transition_[2, 2] == 0
    assert found.transition_[2, 1] == pytest.approx(1.0)
    assert found.class_prior_[2] == pytest.approx(float((data.y_clean == 2).float().mean()))


@pytest.mark.parametrize("stratified", [False, True])
def test_standard_errors_are_the_spread_of_repeated_samples(
    stratified: bool, noisy_blocks: Make
) -> None:
    data = noisy_blocks(TRUE, PRIOR, n=3000, seed=4)
    given, true = data.y.numpy(), data.y_clean.numpy()
    realised = np.array([np.bincount(given[true == i], minlength=3) for i in range(3)])
    realised = realised / realised.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    found, errors, naive = [], [], []
    for _ in range(60):
        if stratified:
            chosen = [rng.choice(np.flatnonzero(given == j), 60, replace=False) for j in range(3)]
        else:
            chosen = [rng.choice(3000, 180, replace=False)]
        verified = np.full(3000, -1)
        verified[np.concatenate(chosen)] = true[np.concatenate(chosen)]
        estimate = VerifiedCounts(verified, stratified=stratified).fit(data)
        found.append(estimate.transition_)
        errors.append(estimate.standard_error_)
        naive.append(VerifiedCounts(verified).fit(data).transition_)
    np.testing.assert_allclose(np.mean(found, axis=0), realised, atol=0.015)
    # Drawn per given class, N_ij varies less than a binomial: the error is on the safe side.
    ratio = np.std(found, axis=0)[TRUE > 0] / np.mean(errors, axis=0)[TRUE > 0]
    assert ratio.min() > 0.4
    assert ratio.max() < 1.3
    bias = np.abs(np.mean(naive, axis=0) - realised).max()
    assert (bias > 0.03) == stratified


def test_pieces() -> None:
    rows = row_normalised(np.array([[2.0, 2.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(rows, [[0.5, 0.5], [0.0, 1.0]])
    full = spread(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 2]), 3)
    np.testing.assert_array_equal(full, [[0.9, 0, 0.1], [0, 1, 0], [0.2, 0, 0.8]])
    assert np.isnan(spread(np.eye(2), np.array([0, 2]), 3, absent=np.nan)[1]).all()
    np.testing.assert_allclose(true_prior(TRUE, PRIOR @ TRUE), PRIOR, atol=1e-12)
    np.testing.assert_allclose(true_prior(TRUE, np.array([0.0, 0.0, 1.0])), [0, 0, 1])
