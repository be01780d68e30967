"""The interval of the estimated noise rate: sampling, draws, and what the model cannot know."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from graphclean.detect.noise_stack import NoiseStack, rate_profile
from graphclean.detect.probability import Z90
from graphclean.detect.synthetic import estimate_priors
from graphclean.issues import NoiseRate

_BOOTSTRAPS = 40
_SAMPLE = 100_000
PROFILE_ROWS = 4000
"""Rows that the likelihood is profiled on at most."""
MODEL_ERROR = 0.15
"""Standard error of the rate, relative to it, that stays when all nodes are known: how far the
estimates lay from the truth on average (docs/results/detection_default.md)."""
TOLERANCE = 0.0035
"""Nats per label by which a wrong model may fit better than the right one. Where the likelihood
hardly changes with the rate, as on two classes that overlap, every such rate is in the interval."""


def rate_interval(
    odds: np.ndarray, kinds: int, wrong: np.ndarray, profile: tuple[float, float], seed: int
) -> NoiseRate:
    """Return the mean of the mislabel probabilities with a 90 % interval.

    The spread adds up the variances of the synthetic draws and of bootstrap samples of the nodes,
    of the labels given their probabilities, and of the model. The interval is widened to hold the
    rates that the likelihood allows.

    Args:
        odds: Odds of every draw, node and kind of flip ``[D, n, F]``, at even prevalence.
        kinds: The first so many kinds are in use.
        wrong: Mislabel probabilities ``[n]``.
        profile: Range of the rate by `likelihood_range`.
        seed: Seed of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    size = len(wrong)
    sample = min(size, _SAMPLE)
    rates = np.array(
        [
            estimate_priors(draw[rng.integers(0, size, sample), :kinds], steps=60).sum()
            for draw in odds
            for _ in range(_BOOTSTRAPS // len(odds) + 1)
        ]
    )
    value = float(wrong.mean())
    binomial = float((wrong * (1.0 - wrong)).sum()) / size**2
    spread = Z90 * math.sqrt(float(rates.var()) + binomial + (MODEL_ERROR * value) ** 2)
    low = max(min(value - spread, profile[0]), 0.0)
    high = min(max(value + spread, profile[1]), 1.0)
    return NoiseRate(value, low, high, 0.90)


def likelihood_range(stack: NoiseStack, log_evidence: Tensor, y: Tensor) -> tuple[float, float]:
    r"""Return the noise rates whose best stack explains the labels nearly as well as the best.

    .. math::
        \ell(\hat\rho) - \ell(\rho) \le \tfrac12 z_{.95}^2 + \epsilon n

    with the profile log-likelihood of the rate and a tolerance :math:`\epsilon` for a wrong model,
    which more data does not remove.

    Args:
        stack: Fitted on these rows, or on most of them.
        log_evidence: ``[n, C, M]``, float64.
        y: Given labels ``[n]``, long.
    """
    rates, fit = rate_profile(stack, log_evidence, y)
    slack = 0.5 * Z90**2 + TOLERANCE * len(y)
    drop = fit.max() - fit
    best = int(np.argmax(fit))
    return (
        _crossing(rates[: best + 1][::-1], drop[: best + 1][::-1], slack, 0.0),
        _crossing(rates[best:], drop[best:], slack, float(rates[-1])),
    )


def _crossing(rates: np.ndarray, drop: np.ndarray, slack: float, end: float) -> float:
    """Return where the drop, going outwards, first exceeds the slack; ``end`` if it never does."""
    beyond = np.flatnonzero(drop > slack)
    if len(beyond) == 0:
        return end
    k = int(beyond[0])
    share = (slack - drop[k - 1]) / (drop[k] - drop[k - 1])
    return float(rates[k - 1] + share * (rates[k] - rates[k - 1]))
