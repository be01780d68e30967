from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from graphclean.data import check
from graphclean.detect import FastReCoV
from graphclean.detect.embedding import node_embedding
from graphclean.detect.fast_recov import class_folds, worst_fold_p_values
from graphclean.detect.linear_discriminant import FoldedDiscriminant
from graphclean.noise.confident_joint import expected_issues
from graphclean.types import InputError, numpy_rng, spawn_seeds

Make = Callable[..., Any]


def sklearn_out_of_fold(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    probs = np.empty((len(y), y.max() + 1))
    for k in np.unique(fold):
        judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)
        probs[fold == k] = judge.fit(x[fold != k], y[fold != k]).predict_proba(x[fold == k])
    return probs


def embedded(data: Any, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    embedding_seed, fold_seed = spawn_seeds(seed, 2)
    x = node_embedding(check(data), random_state=embedding_seed).double().numpy()
    return x, data.y.numpy(), numpy_rng(fold_seed)


def test_memory_is_a_moving_average_over_gathering_folds(planted: Make) -> None:
    data = planted(120, noise=0.2)
    detector = FastReCoV(runs=6, n_folds=4, memory=0.6, temperature=0.2, random_state=3).fit(data)
    x, y, rng = embedded(data, 3)
    nodes, memory = np.arange(120), np.zeros((120, 3))
    for run in range(6):
        noise = rng.gumbel(size=120)
        trust = noise if run == 0 else memory[nodes, y] / 0.2 + noise
        probs = sklearn_out_of_fold(x, y, class_folds(y, trust, 4))
        memory = probs if run == 0 else 0.6 * memory + 0.4 * probs
    quality = memory[nodes, y]
    np.testing.assert_allclose(detector.label_quality_, quality, rtol=1e-7)
    count = round(expected_issues(y, memory))
    assert count > 5
    assert set(np.flatnonzero(detector.is_label_issue_)) == set(np.argsort(quality)[:count])
    assert detector.noise_rate_.value == pytest.approx(expected_issues(y, memory) / 120)


def test_suspicious_nodes_gather_in_the_last_fold(planted: Make) -> None:
    data = planted(180, noise=0.15, degree=12)
    y, wrong = data.y.numpy(), data.noise_mask.numpy()
    quality = FastReCoV().fit(data).label_quality_
    rng, shares = np.random.default_rng(0), {}
    for temperature in (0.1, 1e9):
        folds = [class_folds(y, quality / temperature + rng.gumbel(size=180), 5) for _ in range(30)]
        shares[temperature] = np.mean([(fold[wrong] == 4).mean() for fold in folds])
    assert shares[0.1] > 0.6
    assert shares[1e9] == pytest.approx(0.2, abs=0.06)


def test_draw_is_a_softmax_without_replacement() -> None:
    """The first of the order is node i with probability softmax(m / tau)_i, the second likewise."""
    rng, m = np.random.default_rng(0), np.array([0.0, 0.1, 0.3])
    keys = m / 0.2 + rng.gumbel(size=(20_000, 3))
    orders = (-keys).argsort(axis=1)
    weight = np.exp(m / 0.2)
    first = weight / weight.sum()
    np.testing.assert_allclose(np.bincount(orders[:, 0]) / 20_000, first, atol=0.015)
    pair = ((orders[:, 0] == 2) & (orders[:, 1] == 1)).mean()
    assert pair == pytest.approx(first[2] * weight[1] / (weight[0] + weight[1]), abs=0.015)


@pytest.mark.parametrize(("sizes", "n_folds"), [((40, 20), 4), ((31, 17, 5, 1), 5), ((1, 1), 5)])
def test_folds_are_equal_and_follow_the_key_in_every_class(
    sizes: tuple[int, ...], n_folds: int
) -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    key = rng.normal(size=len(y))
    fold = class_folds(y, key, n_folds)
    count = np.bincount(fold)
    assert len(count) == min(n_folds, len(y))
    assert count.max() - count.min() <= 1
    for c, size in enumerate(sizes):
        mine = fold[y == c]
        assert (np.diff(mine[np.argsort(-key[y == c])]) >= 0).all()
        assert np.bincount(mine).max() <= -(-size // n_folds) + 1


@pytest.mark.parametrize("method", ["fast", "recov"])
def test_own_label_trains_no_model_that_judges_it(
    method: Any, planted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folds may follow the label; given the folds, it moves its row in no run."""
    runs, plain = [], FoldedDiscriminant.out_of_fold

    def spied(self: FoldedDiscriminant, fold: np.ndarray) -> np.ndarray:
        runs.append((self, fold, plain(self, fold)))
        return runs[-1][2]

    monkeypatch.setattr(FoldedDiscriminant, "out_of_fold", spied)
    data = planted(60)
    FastReCoV(method=method, runs=4, n_folds=3).fit(data)
    assert len(runs) == 4
    for node in (4, 31):
        other = data.y.numpy().copy()
        other[node] = (other[node] + 1) % 3
        for model, fold, before in runs:
            after = plain(FoldedDiscriminant(model.features, other, 3, 0.3), fold)
            np.testing.assert_array_equal(after[node], before[node])
            assert not np.array_equal(after, before)


def test_numbers_of_the_classes_do_not_matter(planted: Make) -> None:
    data = planted(90, seed=8)
    data.class_names = ["ash", "birch", "cedar"]
    renumbered = data.clone()
    renumbered.y = torch.tensor([2, 0, 1])[data.y]
    renumbered.class_names = ["birch", "cedar", "ash"]
    frames = [FastReCoV(runs=4).fit(d).find_label_issues().frame for d in (data, renumbered)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-8)


def test_original_counts_the_worst_folds(planted: Make) -> None:
    data = planted(90, noise=0.1, degree=12, seed=2)
    detector = FastReCoV(method="recov", runs=120, n_folds=5, random_state=1).fit(data)
    x, y, rng = embedded(data, 1)
    count = np.zeros(90, dtype=int)
    for _ in range(120):
        fold = class_folds(y, rng.gumbel(size=90), 5)
        given = sklearn_out_of_fold(x, y, fold)[np.arange(90), y]
        count[fold == np.argmin([given[fold == k].mean() for k in range(5)])] += 1
    tail = [sum(comb(120, k) * 0.2**k * 0.8 ** (120 - k) for k in range(c, 121)) for c in count]
    np.testing.assert_allclose(detector.label_quality_, tail, rtol=1e-9, atol=1e-15)
    wrong = data.noise_mask.numpy()
    assert np.median(detector.label_quality_[wrong]) < 0.01
    assert np.median(detector.label_quality_[~wrong]) > 0.3
    # Benjamini-Hochberg by its definition: all up to the last p(k) <= 0.05 k / n.
    ordered = np.sort(tail)
    passed = np.flatnonzero(ordered <= 0.05 * np.arange(1, 91) / 90)
    assert len(passed) > 0
    assert (detector.is_label_issue_ == (np.array(tail) <= ordered[passed[-1]] + 1e-15)).all()
    adjusted = false_discovery_control(detector.label_quality_)
    assert (detector.is_label_issue_ == (adjusted <= 0.05)).all()


def test_count_of_a_clean_graph_is_binomial() -> None:
    """The p-value of a Bin(R, 1/K) count is at most u with probability at most u."""
    count = np.random.default_rng(0).binomial(100, 0.2, size=20_000)
    p = worst_fold_p_values(count, 100, 5)
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level * 1.1
    assert worst_fold_p_values(np.array([0]), 100, 5)[0] == 1.0


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("method", "slow"),
        ("runs", 0),
        ("runs", 2.5),
        ("n_folds", 1),
        ("n_folds", "5"),
        ("memory", 1.0),
        ("memory", True),
        ("temperature", 0),
        ("shrinkage", 0.0),
        ("shrinkage", 1.5),
        ("random_state", -1),
    ],
)
def test_bad_parameter(argument: str, value: Any, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        FastReCoV(**{argument: value}).fit(planted(30))
    assert caught.value.argument == argument
    assert str(value) in str(caught.value)
