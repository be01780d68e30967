from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from graphclean.detect.linear_discriminant import FoldedDiscriminant


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(classes, d))[y] + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), y


@pytest.mark.parametrize("shrinkage", [0.05, 0.3, 1.0])
def test_equals_scikit_learn_fold_by_fold(shrinkage: float) -> None:
    x, y = blobs(150, 7, 4)
    fold = np.random.default_rng(1).integers(0, 3, 150)
    found = FoldedDiscriminant(x, y, 4, shrinkage).out_of_fold(fold)
    for k in range(3):
        judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
        judge.fit(x[fold != k], y[fold != k])
        np.testing.assert_allclose(found[fold == k], judge.predict_proba(x[fold == k]), rtol=1e-8)


def test_own_label_moves_no_probability_by_a_single_bit() -> None:
    x, y = blobs(60, 5, 3)
    fold = np.arange(60) % 4
    before = FoldedDiscriminant(x, y, 3, 0.3).out_of_fold(fold)
    for node in range(8):
        poisoned = y.copy()
        poisoned[node] = (y[node] + 1) % 3
        after = FoldedDiscriminant(x, poisoned, 3, 0.3).out_of_fold(fold)
        same = fold == fold[node]
        np.testing.assert_array_equal(after[same], before[same])
        assert (after[~same] != before[~same]).any(axis=1).all()


def test_class_that_does_not_train_has_probability_zero() -> None:
    x, y = blobs(40, 3, 2)
    y[7] = 2
    fold = np.arange(40) % 4
    found = FoldedDiscriminant(x, y, 5, 0.3).out_of_fold(fold)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found[fold == 3, 2] == 0).all()
    assert (found[fold != 3, 2] > 0).all()
    assert (found[:, 3:] == 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rows_that_equal_their_class_mean_still_tell_the_classes_apart(scale: float) -> None:
    x, y = np.repeat(np.eye(2), 4, axis=0) * scale, np.repeat([0, 1], 4)
    found = FoldedDiscriminant(x, y, 2, 0.3).out_of_fold(np.arange(8) % 2)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    given = found[np.arange(8), y]
    assert (given >= 0.5).all()
    assert scale < 1 or (given > 0.7).all()


def test_constant_features_leave_the_class_shares() -> None:
    y = np.array([0, 0, 0, 1] * 4)
    for x in (np.zeros((16, 3)), np.ones((16, 3))):
        found = FoldedDiscriminant(x, y, 2, 0.3).out_of_fold(np.arange(16) // 4)
        np.testing.assert_allclose(found, np.tile([0.75, 0.25], (16, 1)))
