"""The threshold of the flags against every other threshold there is."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphclean.detect.decision import f1_threshold


def expected_f1(probability: np.ndarray, flagged: np.ndarray) -> float:
    """Return twice the expected hits over flags plus expected wrong labels.

    To flag nothing is perfect where nothing is wrong, and worth nothing otherwise.
    """
    if not flagged.any():
        return float(np.prod(1.0 - probability))
    total = flagged.sum() + probability.sum()
    return float(2.0 * probability[flagged].sum() / total) if total > 0 else 0.0


def best_f1(probability: np.ndarray) -> float:
    """Return the best of all thresholds: one on every value, one below them all."""
    return max(expected_f1(probability, probability > t) for t in [-1.0, *probability])


@given(st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=1, max_size=12))
def test_no_threshold_is_better(values: list[float]) -> None:
    """On a grid of twentieths, where ties are frequent."""
    probability = np.array(values)
    limit = f1_threshold(probability)
    assert 0.0 <= limit <= 1.0
    assert expected_f1(probability, probability > limit) == pytest.approx(best_f1(probability))


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=7))
def test_no_set_is_better(values: list[float]) -> None:
    """Of all sets of k flags, the k most suspicious nodes are the best: a threshold will do."""
    probability = np.array(values)
    sets = np.array(list(itertools.product([False, True], repeat=len(values))))
    best = max(expected_f1(probability, flagged) for flagged in sets)
    found = expected_f1(probability, probability > f1_threshold(probability))
    assert found == pytest.approx(best)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30), st.randoms())
def test_order_does_not_matter(values: list[float], random: Random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert f1_threshold(np.array(shuffled)) == f1_threshold(np.array(values))


def test_equal_probabilities_are_flagged_together() -> None:
    for size in (1, 2, 7, 1000):
        for level in (0.05, 0.3, 1.0):
            limit = f1_threshold(np.full(size, level))
            nothing_wrong = (1.0 - level) ** size > 2 * level / (1 + level)
            assert limit == pytest.approx(level if nothing_wrong else level / 2)
    for level, limit in ((0.4, 0.205), (0.3, 0.6)):  # either side of half the F1 of the first five
        mixed = np.array([0.9] * 5 + [level] * 5 + [0.01] * 5)
        assert f1_threshold(mixed) == pytest.approx(limit)


def test_clean_labels_are_left_alone() -> None:
    """Half a wrong label in a thousand: probably none."""
    suspicious = np.linspace(0.0, 0.001, 1000)
    assert not (suspicious > f1_threshold(suspicious)).any()
    assert (10 * suspicious > f1_threshold(10 * suspicious)).any()


def test_nothing_to_flag() -> None:
    assert f1_threshold(np.zeros(5)) == 0.0
    assert not (np.zeros(5) > f1_threshold(np.zeros(5))).any()


@pytest.mark.parametrize("wrong", [1, 30, 99])
def test_certainty_leaves_the_threshold_at_a_half(wrong: int) -> None:
    probability = (np.arange(100) < wrong).astype(float)
    assert f1_threshold(probability) == 0.5


def test_threshold_is_half_of_the_best_f1() -> None:
    """Lipton et al., theorem 1; in a finite sample, to the next probability."""
    probability = np.random.default_rng(0).beta(0.5, 2.0, 3000)
    limit = f1_threshold(probability)
    assert limit == pytest.approx(best_f1(probability) / 2, abs=1e-3)
    assert 0.2 < limit < 0.4


def test_input_is_not_sorted_in_place() -> None:
    probability = np.array([0.2, 0.9, 0.5])
    f1_threshold(probability)
    np.testing.assert_array_equal(probability, [0.2, 0.9, 0.5])
