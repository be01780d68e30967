"""What makes one prediction of many, each way against another computation of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch_geometric.data import Data

from graphclean.ensemble.checks import Score, optimism, score
from graphclean.ensemble.combine import (
    Combination,
    contradicted,
    estimated_transition,
    fit_combination,
    mean_of,
)
from graphclean.ensemble.row_weights import margin_weights

ONES = torch.ones(80)


def members(rows: int = 80, classes: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, classes, (rows,), generator=generator)
    logits = torch.randn(3, rows, classes, generator=generator)
    logits[:2] += 1.5 * torch.eye(classes)[target]
    return torch.softmax(logits, dim=2), target


def fit(meta: str, probs: Tensor, target: Tensor, weight: Tensor = ONES) -> Combination:
    rows, graph = torch.arange(60), Data(num_nodes=probs.shape[1])
    return fit_combination(meta, probs, target, rows, graph, weight=weight, loss="brier", seed=0)


@pytest.mark.parametrize("meta", ["greedy", "logistic", "boosting", "mean"])
def test_every_way_gives_probabilities_and_reads_its_rows_alone(meta: str) -> None:
    probs, target = members(classes=3)
    poisoned = target.clone()
    poisoned[60:] = -1
    found = fit(meta, probs, target)(probs, Data(num_nodes=80))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=1), torch.ones(80))
    assert torch.equal(found, fit(meta, probs, poisoned)(probs, Data(num_nodes=80)))
    assert (found.argmax(dim=1) == target)[60:].float().mean() > 0.6


def test_log_linear_weights_are_those_of_a_penalised_logistic_regression() -> None:
    """Of two classes the model is a logistic regression on log-odds."""
    probs, target = members()
    found = fit("logistic", probs, target)
    odds = (probs[:, :60, 1].log() - probs[:, :60, 0].log()).double().numpy().T
    penalty = 1e-2

    def loss(w: np.ndarray, b: float) -> float:
        z = odds @ w + b
        fitted = np.logaddexp(0, z) - target[:60].numpy() * z
        # Biases of the two classes are -b/2 and b/2.
        return float(fitted.mean() + penalty * (np.square(w - 1 / 3).sum() + b * b / 2))

    weights, bias = found.weights.numpy(), found.bias
    assert bias is not None
    best = loss(weights, float(bias[1] - bias[0]))
    for place in range(3):
        for step in (-0.05, 0.05):
            moved = weights.copy()
            moved[place] += step
            if moved[place] >= 0:
                assert loss(moved, float(bias[1] - bias[0])) > best
    free = LogisticRegression(C=1e6).fit(odds, target[:60])
    order = np.argsort(free.coef_[0])
    assert order[0] == np.argmin(weights) == 2


def test_weighted_rows_weigh() -> None:
    probs, target = members(classes=3)
    doubled = torch.where(torch.arange(80) < 30, 2.0, 1e-6)
    for meta in ("greedy", "logistic"):
        light = fit(meta, probs, target, doubled).weights
        rows = torch.arange(30)
        graph = Data(num_nodes=80)
        few = fit_combination(
            meta, probs, target, rows, graph, weight=ONES, loss="brier", seed=0
        ).weights
        torch.testing.assert_close(light, few, rtol=0, atol=1e-3)


def test_mean_of_some() -> None:
    probs, _ = members()
    found = mean_of(torch.tensor([True, True, False]))(probs, None)
    torch.testing.assert_close(found, probs[:2].mean(dim=0))


def test_contradicted_rows_are_those_of_confident_learning() -> None:
    """Thresholds: class 0 (0.9 + 0.8 + 0.2) / 3, class 1 (0.7 + 0.3) / 2; class 2 has no row."""
    probs = torch.tensor(
        [[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.2, 0.7, 0.1], [0.3, 0.7, 0.0], [0.7, 0.3, 0.0]]
    )
    given = torch.tensor([0, 0, 0, 1, 1])
    assert contradicted(given, probs).tolist() == [False, False, True, False, True]
    probs[4] = torch.tensor([0.55, 0.45, 0.0])
    assert not bool(contradicted(given, probs)[4])
    probs[3] = torch.tensor([0.1, 0.2, 0.7])
    assert not bool(contradicted(given, probs)[3])


def test_transition_of_planted_noise_is_found() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    given = np.where((truth == 0) & (rng.random(4000) < 0.3), 1, truth)
    probs = torch.from_numpy(np.eye(4)[truth] * 0.8 + 0.05).float()
    found = estimated_transition(torch.from_numpy(given), probs)
    np.testing.assert_allclose(found[:2, :2], [[0.7, 0.3], [0.0, 1.0]], atol=0.03)
    np.testing.assert_array_equal(found[2:], np.eye(4)[2:])


def test_margin_weights_fall_with_doubt_and_have_mean_one() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.0, 1.0]])
    target, rows = torch.tensor([0, 0, 0, -1]), torch.tensor([True, True, True, False])
    found = margin_weights(probs, target, rows)
    assert float(found[:3].mean()) == pytest.approx(1.0)
    assert float(found[0] / found[2]) == pytest.approx(
        float(torch.sigmoid(torch.tensor(1.6)) / torch.sigmoid(torch.tensor(-0.4))), rel=1e-4
    )


def test_optimism_counts_what_the_plain_mean_does_not_show() -> None:
    inside, outside = Score(0.8, 0.5, 1000), Score(0.7, 0.6, 400)
    found = optimism((inside, outside), (Score(0.7, 0.6, 1000), Score(0.7, 0.6, 400)))
    assert found.gap == pytest.approx(0.1)
    assert found.error == pytest.approx(np.sqrt(0.16 / 1000 + 0.21 / 400))
    assert found.overfits
    assert not optimism((inside, outside), (inside, outside)).overfits
    few = Score(0.0, 0.6, 5)
    assert not optimism((inside, few), (Score(0.7, 0.6, 1000), few)).overfits
    none = optimism((inside, Score(np.nan, np.nan, 0)), (inside, Score(np.nan, np.nan, 0)))
    assert np.isnan(none.gap)
    assert not none.overfits


def test_score_is_accuracy_and_log_loss_of_the_rows() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    found = score(probs, torch.tensor([0, 1, -1]), torch.tensor([0, 1]))
    assert found.accuracy == 0.5
    assert found.log_loss == pytest.approx(-(np.log(0.9) + np.log(0.4)) / 2, rel=1e-6)
    assert found.rows == 2
