"""The interval of the noise rate: its profile likelihood, its crossings and what it adds up."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from graphclean.detect import rate_interval as module
from graphclean.detect.noise_stack import fit_noise_stack, rate_profile
from graphclean.detect.probability import Z90
from graphclean.detect.rate_interval import _crossing, likelihood_range, rate_interval
from graphclean.detect.synthetic import estimate_prior


def simulate(n: int, rate: float, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    """Return informative log evidence, labels with uniform noise, and the share that is wrong."""
    rng = np.random.default_rng(seed)
    evidence = np.log(rng.dirichlet(np.full(classes, 0.6), (n, 2)) + 0.01)
    logits = torch.from_numpy((evidence * np.array([3.0, 2.0])[:, None]).sum(axis=1))
    true = (logits.softmax(dim=1).cumsum(1).numpy() < rng.random((n, 1))).sum(1).clip(0, 2)
    wrong = rng.random(n) < rate
    given = np.where(wrong, (true + rng.integers(1, classes, n)) % classes, true)
    return torch.from_numpy(evidence).transpose(1, 2), torch.from_numpy(given), float(wrong.mean())


def uninformative(n: int) -> tuple[Tensor, Tensor]:
    """Return evidence about two classes that has nothing to do with the labels."""
    rng = np.random.default_rng(0)
    evidence = np.log(rng.dirichlet(np.full(2, 5.0), (n, 1)) + 0.01)
    return torch.from_numpy(evidence).transpose(1, 2), torch.from_numpy(rng.integers(0, 2, n))


@pytest.fixture
def parabola(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile known in closed form: it drops by 2 n (rate - 0.2)^2 on either side of 0.2."""
    rates = np.linspace(0.0, 0.6, 601)

    def profile(stack: Any, log_evidence: Any, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return rates, 7.0 - 2.0 * len(y) * (rates - 0.2) ** 2

    monkeypatch.setattr(module, "rate_profile", profile)


NOTHING: Any = None


def test_profile_is_the_best_fit_at_every_rate() -> None:
    """Two classes, one piece of evidence: three free numbers, found again by scipy."""
    log_evidence, given = uninformative(120)
    given = (log_evidence[:, 1, 0] - log_evidence[:, 0, 0] + 0.7 * (given - 0.5) > 0).long()
    stack = fit_noise_stack(log_evidence, given)
    rates, fits = rate_profile(stack, log_evidence, given, max_iter=80)
    start = (1.0 - stack.transition.diagonal()).logit().numpy()
    x, y = log_evidence[:, :, 0].numpy(), given.numpy()

    def class_probs(free: np.ndarray) -> np.ndarray:
        logits = x * free[0] + free[1:]
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exp / exp.sum(axis=1, keepdims=True))

    expected = []
    for shift in (-2.5, -1.2, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.5, 2.2):
        flip = 1.0 / (1.0 + np.exp(-(start + shift)))
        transition = np.array([[1 - flip[0], flip[0]], [flip[1], 1 - flip[1]]])

        def lost(free: np.ndarray, transition: np.ndarray = transition) -> float:
            likelihood = (class_probs(free) * transition[:, y].T).sum(axis=1)
            return float(len(y) * 1e-3 * (free**2).sum() - np.log(likelihood).sum())

        begin = np.array([*stack.weights.tolist(), *stack.bias.tolist()])
        best = minimize(lost, begin, method="BFGS", options={"gtol": 1e-6})
        expected.append(((class_probs(best.x) @ flip).mean(), -best.fun))
    expected.sort()
    np.testing.assert_allclose(fits, [fit for _, fit in expected], atol=0.02)
    np.testing.assert_allclose(rates, [rate for rate, _ in expected], atol=0.01)
    assert fits.max() - fits.min() > 2.0


def test_profile_leaves_the_stack_alone() -> None:
    log_evidence, given, _ = simulate(150, 0.1)
    stack = fit_noise_stack(log_evidence, given)
    before = [part.clone() for part in (stack.weights, stack.bias, stack.transition)]
    rates, fits = rate_profile(stack, log_evidence, given)
    for part, kept in zip((stack.weights, stack.bias, stack.transition), before, strict=True):
        assert torch.equal(part, kept)
    assert (np.diff(rates) > 0).all()
    assert np.isfinite(fits).all()
    again = rate_profile(stack, log_evidence, given)
    np.testing.assert_array_equal(again, (rates, fits))


@pytest.mark.parametrize("rate", [0.03, 0.15, 0.3])
def test_range_holds_a_planted_rate(rate: float) -> None:
    log_evidence, given, wrong = simulate(1000, rate, seed=1)
    low, high = likelihood_range(fit_noise_stack(log_evidence, given), log_evidence, given)
    assert low < wrong < high
    assert high - low < 0.05 + 0.4 * rate


def test_range_is_wide_where_the_evidence_says_nothing() -> None:
    """Labels without any relation to the evidence: no noise and all noise explain them alike."""
    log_evidence, given = uninformative(500)
    low, high = likelihood_range(fit_noise_stack(log_evidence, given), log_evidence, given)
    assert low == 0.0
    assert high > 0.4


def test_more_tolerance_widens_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    log_evidence, given, _ = simulate(500, 0.15)
    stack, ranges = fit_noise_stack(log_evidence, given), []
    for tolerance in (0.0, 0.002, 0.0035, 0.02, 10.0):
        monkeypatch.setattr(module, "TOLERANCE", tolerance)
        ranges.append(likelihood_range(stack, log_evidence, given))
    for (low, high), (lower, higher) in pairwise(ranges):
        assert lower < low < high < higher
    rates, _ = rate_profile(stack, log_evidence, given)
    assert ranges[-1] == (0.0, rates[-1])


@pytest.mark.parametrize("n", [50, 400, 4000])
def test_range_shrinks_to_the_tolerance(n: int, parabola: None) -> None:
    """The drop 2 n d^2 meets z^2 / 2 + eps n at d = sqrt(z^2 / (4 n) + eps / 2)."""
    y = torch.zeros(n)
    half = np.sqrt(Z90**2 / (4 * n) + module.TOLERANCE / 2)
    expected = (max(0.2 - half, 0.0), 0.2 + half)
    assert likelihood_range(NOTHING, y, y) == pytest.approx(expected, abs=1e-5)
    assert half > np.sqrt(module.TOLERANCE / 2)


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ([0.0, 1.0, 3.0], 0.35),  # half of the way from 1 to 3
        ([0.0, 4.0, 8.0], 0.25),
        ([0.0, 9.0, 0.0], 0.2 + 0.1 * 2 / 9),  # what comes back later does not count
        ([0.0, 2.0, 2.5], 0.3),  # as much as allowed is allowed
        ([0.0, 1.0, 2.0], -1.0),  # never beyond
        ([0.0, 0.0, 0.0], -1.0),
    ],
)
def test_crossing_by_hand(drop: list[float], expected: float) -> None:
    found = _crossing(np.array([0.2, 0.3, 0.4]), np.array(drop), 2.0, -1.0)
    assert found == pytest.approx(expected)
    left = _crossing(np.array([0.8, 0.7, 0.6]), np.array(drop), 2.0, -1.0)
    assert left == pytest.approx(expected if expected < 0 else 1.0 - expected)


def test_crossing_where_the_best_rate_is_the_last() -> None:
    assert _crossing(np.array([0.4]), np.array([0.0]), 2.0, 0.7) == 0.7


def some_odds(draws: int = 3, n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre = np.where(np.arange(n) < n // 10, 2.0, -2.0)
    odds = np.exp(2.0 * (centre + rng.normal(size=(draws, n))))[:, :, None]
    prior = estimate_prior(odds[0, :, 0])
    return odds, prior * odds[0, :, 0] / (1.0 - prior + prior * odds[0, :, 0])


def test_interval_of_odds_without_spread() -> None:
    """Equal nodes, equal draws: label chance and model error are left."""
    wrong = np.full(80, 0.2)
    found = rate_interval(np.ones((2, 80, 1)), 1, wrong, (0.2, 0.2), 0)
    half = Z90 * np.sqrt(0.2 * 0.8 / 80 + (module.MODEL_ERROR * 0.2) ** 2)
    assert (found.low, found.value, found.high) == pytest.approx((0.2 - half, 0.2, 0.2 + half))
    assert found.level == 0.90


def test_interval_adds_the_spread_of_draws_and_samples() -> None:
    """The variance that is left after the other two is that of many more bootstraps."""
    odds, wrong = some_odds()
    found = rate_interval(odds, 1, wrong, (0.1, 0.1), 0)
    others = (wrong * (1 - wrong)).sum() / 200**2 + (module.MODEL_ERROR * found.value) ** 2
    assert found.low < 0.1 < found.high
    spread = ((found.high - found.value) / Z90) ** 2 - others
    rng = np.random.default_rng(9)
    rates = [
        estimate_prior(odds[k % 3, rng.integers(0, 200, 200), 0], steps=60) for k in range(600)
    ]
    assert spread == pytest.approx(np.var(rates), rel=0.6)


@pytest.mark.parametrize("profile", [(0.0, 0.0), (0.1, 0.1), (0.0, 1.0), (0.5, 0.9), (0.05, 0.2)])
@pytest.mark.parametrize("level", [0.0, 0.08, 1.0])
def test_interval_holds_its_value_and_the_profile(
    profile: tuple[float, float], level: float
) -> None:
    odds, _ = some_odds(n=50)
    found = rate_interval(odds, 1, np.full(50, level), profile, 0)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.value == pytest.approx(level)
    assert found.low <= profile[0]
    assert found.high >= profile[1]


def test_interval_reads_the_kinds_in_use_only() -> None:
    odds, wrong = some_odds()
    both = np.concatenate([odds, np.exp(np.random.default_rng(1).normal(size=odds.shape))], axis=2)
    alone = rate_interval(odds, 1, wrong, (0.1, 0.1), 0)
    assert rate_interval(both, 1, wrong, (0.1, 0.1), 0) == alone
    assert rate_interval(both, 2, wrong, (0.1, 0.1), 0) != alone


def test_seed_decides_the_interval() -> None:
    odds, wrong = some_odds()
    first, again, other = (rate_interval(odds, 1, wrong, (0.1, 0.1), s) for s in (4, 4, 5))
    assert first == again
    assert first.value == other.value
    assert first.high != other.high
