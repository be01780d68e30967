"""Synthetic flips and the way back to real prevalence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from graphclean.detect.synthetic import (
    draw_wrong_labels,
    estimate_prior,
    log_odds,
    shift_prior,
)

TRANSITION = np.array(
    [[0.8, 0.15, 0.05, 0.0], [0.2, 0.8, 0.0, 0.0], [0, 0, 1, 0], [0.3, 0.3, 0.3, 0.1]]
)


class Grid:
    """A generator whose draws are an even grid: frequencies come out exact."""

    def __init__(self, low: float = 0.0) -> None:
        self.low = low

    def random(self, size: int) -> np.ndarray:
        return (np.arange(size) + self.low) / size


def expected_shares(label: int) -> np.ndarray:
    off = TRANSITION[label] + 1e-3
    off[label] = 0.0
    return off / off.sum()


@pytest.mark.parametrize("label", range(4))
def test_wrong_labels_follow_the_off_diagonal(label: int) -> None:
    n = 20_000
    drawn = draw_wrong_labels(np.full(n, label), TRANSITION, Grid(0.5))  # type: ignore[arg-type]
    shares = np.bincount(drawn, minlength=4) / n
    np.testing.assert_allclose(shares, expected_shares(label), atol=1.01 / n)
    assert shares[label] == 0


def test_random_draws_mix_the_classes() -> None:
    y = np.arange(40_000) % 4
    drawn = draw_wrong_labels(y, TRANSITION, np.random.default_rng(0))
    for label in range(4):
        shares = np.bincount(drawn[y == label], minlength=4) / 10_000
        np.testing.assert_allclose(shares, expected_shares(label), atol=0.02)
    assert not (drawn == y).any()


@pytest.mark.parametrize("draw", [0.0, np.nextafter(1.0, 0.0), 1.0])
def test_the_own_label_is_never_drawn(draw: float) -> None:
    class Edge:
        def random(self, size: int) -> np.ndarray:
            return np.full(size, draw)

    rng: Any = Edge()
    for matrix in (TRANSITION, np.eye(4), np.eye(2), np.full((3, 3), 1 / 3)):
        y = np.arange(len(matrix))
        drawn = draw_wrong_labels(y, matrix, rng)
        assert (drawn != y).all()
        assert ((drawn >= 0) & (drawn < len(matrix))).all()


def test_log_odds_stay_finite() -> None:
    np.testing.assert_allclose(log_odds(np.array([0.5, 0.2])), [0.0, np.log(0.25)], atol=1e-12)
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_shift_of_the_prior_is_bayes() -> None:
    """Odds r at even prevalence are the likelihood ratio; at prevalence p they are r p/(1-p)."""
    odds, prior = np.array([0.01, 1.0, 30.0]), 0.07
    shifted = shift_prior(odds, prior)
    np.testing.assert_allclose(shifted / (1 - shifted), odds * prior / (1 - prior))
    np.testing.assert_allclose(shift_prior(odds, 0.5), odds / (1 + odds))


@pytest.mark.parametrize("prevalence", [0.0, 0.03, 0.1, 0.4])
def test_planted_prevalence_is_recovered(prevalence: float) -> None:
    """Calibrated odds of two unit normals that lie 4 apart: log r = 4 z."""
    rng = np.random.default_rng(1)
    positive = np.arange(20_000) < prevalence * 20_000
    z = rng.normal(size=20_000) + np.where(positive, 2.0, -2.0)
    odds = np.exp(4.0 * z)
    prior = estimate_prior(odds)
    assert prior == pytest.approx(prevalence, abs=0.006)
    best = minimize_scalar(
        lambda p: -np.log(p * odds + 1 - p).sum(), bounds=(0, 1), method="bounded"
    )
    assert prior == pytest.approx(best.x, abs=1e-3)


def test_uninformative_odds_teach_nothing() -> None:
    assert estimate_prior(np.ones(50)) == pytest.approx(0.1)
    assert estimate_prior(np.full(50, 1e3)) > 0.99


def test_prior_keeps_half_a_positive_so_that_odds_still_rank() -> None:
    odds = np.geomspace(1e-6, 1e-3, 50)
    prior = estimate_prior(odds)
    assert prior == pytest.approx(0.5 / 50)
    assert (np.diff(shift_prior(odds, prior)) > 0).all()
