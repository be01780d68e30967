"""Ensemble selection against brute force."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphclean.ensemble import greedy_selection
from graphclean.ensemble.greedy import SelectionLoss, selection_losses
from graphclean.types import InputError

LOSSES: tuple[SelectionLoss, ...] = ("log_loss", "brier", "gce", "forward")
NOISE = np.full((3, 3), 0.15) + 0.55 * np.eye(3)


def members(models: int = 4, rows: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (rows,), generator=generator)
    logits = torch.randn(models, rows, 3, generator=generator)
    logits += torch.eye(3)[target] * torch.linspace(0.5, 1.5, models).view(-1, 1, 1)
    return torch.softmax(logits, dim=2), target


def mean_loss(probs: Tensor, target: Tensor, loss: SelectionLoss, weight: Tensor) -> float:
    matrix = torch.from_numpy(NOISE) if loss == "forward" else None
    rows = selection_losses(probs.double(), torch.eye(3)[target].double(), loss, matrix)
    return float((rows * weight.double()).sum() / weight.double().sum())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_never_worse_than_the_best_single_model(loss: SelectionLoss, seed: int) -> None:
    probs, target = members(seed=seed)
    weight = torch.rand(40, generator=torch.Generator().manual_seed(seed)) + 0.1
    found = greedy_selection(probs, target, loss, NOISE, sample_weight=weight)
    assert found.shape == (4,)
    assert float(found.sum()) == pytest.approx(1.0)
    assert bool((found >= 0).all())
    mixed = torch.einsum("m,mnc->nc", found, probs.double())
    singles = [mean_loss(p, target, loss, weight) for p in probs]
    assert mean_loss(mixed, target, loss, weight) <= min(singles) + 1e-12


def test_two_rounds_are_the_best_second_step() -> None:
    probs, target = members(models=3)
    one = torch.ones(40)
    best = min(range(3), key=lambda m: mean_loss(probs[m], target, "brier", one))
    pairs = [pair for pair in combinations_with_replacement(range(3), 2) if best in pair]
    wanted = min(
        pairs, key=lambda pair: mean_loss(probs[list(pair)].mean(dim=0), target, "brier", one)
    )
    counts = torch.bincount(torch.tensor(wanted), minlength=3).double()
    found = greedy_selection(probs, target, "brier", rounds=2)
    torch.testing.assert_close(found, counts / 2)


def test_of_equal_models_the_first_is_taken_and_kept() -> None:
    probs, target = members(models=1)
    found = greedy_selection(probs.repeat(3, 1, 1), target)
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_the_best_round_counts_not_the_last() -> None:
    """A perfect model: whatever comes after it could only do harm."""
    target = torch.tensor([0, 1, 2, 0])
    perfect = torch.eye(3)[target] * 0.97 + 0.01
    found = greedy_selection(torch.stack([torch.full((4, 3), 1 / 3), perfect]), target, rounds=9)
    assert found.tolist() == [0.0, 1.0]


def test_bounded_losses_forgive_confident_contradictions_of_wrong_labels() -> None:
    """Of the right model a few labels, which are wrong, cost much in logarithms alone."""
    truth = torch.arange(60) % 3
    given = truth.clone()
    given[:12] = (truth[:12] + 1) % 3
    sure = torch.eye(3)[truth] * 0.9999 + 0.0001 / 3
    vague = torch.eye(3)[given] * 0.1 + 0.3
    pair = torch.stack([sure, vague / vague.sum(dim=1, keepdim=True)])
    weights = {loss: greedy_selection(pair, given, loss, NOISE) for loss in LOSSES}
    assert weights["log_loss"][0] < 0.9
    for loss in ("gce", "forward"):
        assert weights[loss][0] > weights["log_loss"][0]
    assert weights["gce"][0] == 1.0


def test_one_hot_targets_and_scaled_weights_are_the_same() -> None:
    probs, target = members()
    found = greedy_selection(probs, target)
    assert torch.equal(found, greedy_selection(probs, torch.eye(3)[target]))
    assert torch.equal(found, greedy_selection(probs, target, sample_weight=torch.full((40,), 4.0)))


def test_weightless_rows_are_absent() -> None:
    probs, target = members()
    weight = (torch.arange(40) < 20).float()
    found = greedy_selection(probs, target, sample_weight=weight)
    assert torch.equal(found, greedy_selection(probs[:, :20], target[:20]))


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("loss", {"loss": "hinge"}),
        ("rounds", {"rounds": 0}),
        ("transition", {"loss": "forward"}),
        ("target", {"target": torch.zeros(3, dtype=torch.long)}),
        ("probs", {"probs": torch.zeros(0, 40, 3)}),
    ],
)
def test_bad_argument_is_named(argument: str, options: dict[str, Any]) -> None:
    probs, target = members()
    with pytest.raises(InputError) as caught:
        greedy_selection(**({"probs": probs, "target": target} | options))
    assert caught.value.argument == argument
