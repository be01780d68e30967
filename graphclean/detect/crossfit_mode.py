"""GraphCleaner for the whole graph: every labelled node judged out of sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from graphclean.data import labelled_mask
from graphclean.detect.hop_evidence import HopEvidence
from graphclean.detect.noise_stack import directed_excess, fit_noise_stack, given_posterior
from graphclean.detect.probability import Z90
from graphclean.detect.synthetic import (
    draw_wrong_labels,
    estimate_prior,
    log_odds,
    shift_prior,
)
from graphclean.issues import NoiseRate
from graphclean.stages import stage
from graphclean.types import spawn_seeds

_BOOTSTRAPS = 40
_DIRECTED_SHARE = 0.5
"""Weight of T's directed excess against T as fitted: one-way noise against mutual noise."""
_MODEL_ERROR = 0.1
"""Standard error of the rate, relative to it, that stays when all nodes are known: how far the
stack's estimates lay from the truth on average (docs/results/detection_default.md)."""
_LEAST_WEIGHT = 0.02
_FIT_ROWS = 100_000
"""Rows that the small models are fitted on at most, drawn at random: their few hundred parameters
need no more, and the time does not grow with the graph beyond it."""
_ROW_BLOCK = 2**16


@dataclass(frozen=True, eq=False)
class CrossfitResult:
    """What the crossfit mode finds; rows of unlabelled nodes hold neutral values.

    Attributes:
        mislabel_probability: Calibrated ``[N]``, float64.
        class_probs: Probability of every class being the true one, given label considered
            ``[N, C]``.
        stack_probs: The same before the given label is considered ``[N, C]``.
        transition: Estimated T ``[C, C]``.
        noise_rate: Estimated noise rate with interval.
    """

    mislabel_probability: np.ndarray
    class_probs: np.ndarray
    stack_probs: np.ndarray
    transition: np.ndarray
    noise_rate: NoiseRate


def judge_crossfit(
    graph: Any, evidence: HopEvidence, fold: torch.Tensor, draws: int, seed: int
) -> CrossfitResult:
    """Judge every labelled node by models fitted on the labels of the other folds.

    Per fold: fit the noise stack on the other folds; per draw, flip the other folds' labels by the
    estimated T and train a logistic regression to tell flipped from given labels, nodes that look
    mislabelled already counting less; average the draws' log-odds; move from the synthetic 50 % to
    the prevalence that explains the real labels best.

    No evidence about a node has seen its label, and no model is fitted on its row. What its label
    does reach are class-level numbers: T is averaged over the folds, the prevalence is common, and
    the rows that fit a fold's models have that fold's nodes among their neighbours.

    Args:
        graph: Checked ``Data``.
        evidence: Hop evidence of all nodes.
        fold: Fold ``[N]``, long, -1 for unlabelled nodes.
        draws: Synthetic draws to average.
        seed: Seed of the draws.
    """
    judged = labelled_mask(graph).numpy()
    nodes = np.flatnonzero(judged)
    y, folds = graph.y.numpy()[judged], fold.numpy()[judged]
    with stage("Noise stack"):
        stacked, transition = _cross_fitted_stack(evidence, nodes, y, folds, seed)
    directed = directed_excess(transition, stacked.sum(axis=0))
    transition = (1.0 - _DIRECTED_SHARE) * transition + _DIRECTED_SHARE * directed

    prior_view = given_posterior(stacked, transition, y)
    looks_right = np.clip(prior_view[np.arange(len(y)), y], _LEAST_WEIGHT, 1.0)
    columns = _Columns(evidence, nodes, stacked, transition)
    given = columns.of(y)
    rngs = [np.random.default_rng(s) for s in spawn_seeds(seed, draws + 1)]
    with stage("Synthetic flips"):
        scores = np.stack(
            [
                flip_log_odds(
                    given,
                    columns.of(draw_wrong_labels(y, transition, rng)),
                    folds,
                    looks_right,
                    seed,
                )
                for rng in rngs[:-1]
            ]
        )
    odds = np.exp(scores.mean(axis=0))
    wrong = shift_prior(odds, estimate_prior(odds))
    with stage("Noise rate"):
        rate = _rate_interval(np.exp(scores), wrong, rngs[-1])

    posterior = prior_view.copy()
    posterior[np.arange(len(y)), y] = 0.0
    posterior /= np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
    posterior *= wrong[:, None]
    posterior[np.arange(len(y)), y] = 1.0 - wrong

    size, classes = len(judged), stacked.shape[1]
    return CrossfitResult(
        mislabel_probability=_full(wrong, judged, (size,), 0.0),
        class_probs=_full(posterior, judged, (size, classes), 1.0 / classes),
        stack_probs=_full(stacked, judged, (size, classes), 1.0 / classes),
        transition=transition,
        noise_rate=rate,
    )


@dataclass(frozen=True, eq=False)
class _Columns:
    """Features of a node under any label: how the evidence speaks for that label."""

    evidence: HopEvidence
    nodes: np.ndarray
    stacked: np.ndarray
    transition: np.ndarray

    def of(self, labels: np.ndarray) -> np.ndarray:
        rows = np.arange(len(labels))
        posterior = given_posterior(self.stacked, self.transition, labels)
        top = np.clip(self.stacked.max(axis=1), 1e-9, 1.0)
        entropy = -(self.stacked * np.log(np.maximum(self.stacked, 1e-9))).sum(axis=1)
        nodes = torch.from_numpy(self.nodes)
        return np.column_stack(
            [
                log_odds(1.0 - posterior[rows, labels]),
                self.evidence.log_at(nodes, torch.from_numpy(labels)).numpy(),
                np.log1p(self.evidence.degree[nodes].numpy()),
                entropy,
                top,
            ]
        )


def _cross_fitted_stack(
    evidence: HopEvidence, nodes: np.ndarray, y: np.ndarray, folds: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    stacked = np.zeros((len(nodes), evidence.distributions[0].shape[1]))
    transitions = []
    for k in np.unique(folds):
        rows = _fit_rows(folds != k, seed)
        stack = fit_noise_stack(
            evidence.log(torch.from_numpy(nodes[rows])), torch.from_numpy(y[rows])
        )
        held = np.flatnonzero(folds == k)
        for block in np.split(held, range(_ROW_BLOCK, len(held), _ROW_BLOCK)):
            log_evidence = evidence.log(torch.from_numpy(nodes[block]))
            stacked[block] = stack.class_probs(log_evidence).numpy()
        transitions.append(stack.transition.numpy())
    return stacked, np.mean(transitions, axis=0)


def flip_log_odds(
    given: np.ndarray, flipped: np.ndarray, folds: np.ndarray, weight: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Return the log-odds of being flipped, each fold judged by a detector of the others."""
    score = np.empty(len(given))
    for k in np.unique(folds):
        held, fit = folds == k, _fit_rows(folds != k, seed)
        model = _flip_classifier()
        rows = np.vstack([given[fit], flipped[fit]])
        target = np.repeat([0, 1], len(fit))
        pull = np.tile(weight[fit], 2)
        model.fit(rows, target, logisticregression__sample_weight=pull / pull.mean())
        score[held] = model.decision_function(given[held])
    return score


def _fit_rows(allowed: np.ndarray, seed: int) -> np.ndarray:
    """Return the positions of the allowed rows, or of a sample where they are too many."""
    rows = np.flatnonzero(allowed)
    if len(rows) <= _FIT_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _FIT_ROWS, replace=False))


def _flip_classifier() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _rate_interval(odds: np.ndarray, wrong: np.ndarray, rng: np.random.Generator) -> NoiseRate:
    """Spread over draws and bootstrap samples, binomial spread of the labels, and model error."""
    size = len(wrong)
    sample = min(size, _FIT_ROWS)
    rates = np.array(
        [
            estimate_prior(row[rng.integers(0, size, sample)], steps=60)
            for row in odds
            for _ in range(_BOOTSTRAPS // len(odds) + 1)
        ]
    )
    value = float(wrong.mean())
    binomial = float((wrong * (1.0 - wrong)).sum()) / size**2
    spread = math.sqrt(float(rates.var()) + binomial + (_MODEL_ERROR * value) ** 2)
    return NoiseRate(value, max(value - Z90 * spread, 0.0), min(value + Z90 * spread, 1.0), 0.90)


def _full(
    values: np.ndarray, judged: np.ndarray, shape: tuple[int, ...], fill: float
) -> np.ndarray:
    full = np.full(shape, fill)
    full[judged] = values
    return full
