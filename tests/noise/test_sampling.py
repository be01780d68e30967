from __future__ import annotations

import pytest
import torch

from graphclean.noise._sampling import (
    draw_classes,
    flip_by_class,
    largest_remainder,
    round_half_up,
    weighted_sample,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (0.0, 0),
        (2.4, 2),
        (2.5, 3),
        (3.5, 4),
        (25 * 0.1, 3),
        (50 * 0.29, 15),
        (0.3 * 5, 2),
        (7.0, 7),
    ],
)
def test_halves_round_upwards_whatever_the_float_dust(value: float, rounded: int) -> None:
    assert round_half_up(value) == rounded


def test_the_largest_remainders_get_the_rest() -> None:
    expected = torch.tensor([1.2, 0.7, 3.6, 0.5])
    assert largest_remainder(expected, 6, rng()).tolist() == [1, 1, 4, 0]


def test_integers_are_reproduced_through_float_dust() -> None:
    expected = torch.tensor([30 * 0.1, 0.1 + 0.2, 0.7], dtype=torch.float64)
    expected[1] *= 10
    assert largest_remainder(expected, 7, rng()).tolist() == [3, 3, 1]


def test_ties_go_to_every_entry_in_turn() -> None:
    winners = {
        int(largest_remainder(torch.full((4,), 0.25), 1, rng(s)).argmax()) for s in range(40)
    }
    assert winners == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(5))
def test_every_entry_is_a_floor_or_a_ceiling(seed: int) -> None:
    expected = torch.rand(9, generator=rng(seed), dtype=torch.float64) * 5
    total = round(float(expected.sum()))
    counts = largest_remainder(expected, total, rng(seed))
    assert int(counts.sum()) == total
    assert ((counts - expected).abs() < 1).all()


def test_flip_by_class_ignores_the_diagonal_and_nodes_outside() -> None:
    y = torch.tensor([0] * 10 + [1] * 10)
    rates = torch.tensor([[0.9, 0.5], [0.2, 0.9]])
    nodes, labels = flip_by_class(y, torch.arange(5, 15), rates, rng())
    assert sorted(labels.tolist()) == [0, 1, 1, 1]  # 1.0 and 2.5, together 3.5, rounded to 4
    assert torch.equal(labels, 1 - y[nodes])
    assert set(nodes.tolist()) <= set(range(5, 15))


def test_weighted_sample_is_the_exponential_race() -> None:
    weights = torch.rand(50, generator=rng(1), dtype=torch.float64)
    clocks = -torch.log(torch.rand(50, generator=rng(2), dtype=torch.float64)) / weights
    winners = set(clocks.argsort()[:12].tolist())
    assert set(weighted_sample(weights, 12, rng(2)).tolist()) == winners


def test_weighted_sample_draws_in_proportion() -> None:
    weights, stream = torch.tensor([1.0, 2.0, 5.0, 0.0]), rng()
    draws = torch.cat([weighted_sample(weights, 1, stream) for _ in range(4000)])
    share = torch.bincount(draws, minlength=4) / 4000
    # five standard deviations of a share of 4000 draws are below 0.04
    torch.testing.assert_close(share, weights / 8, atol=0.04, rtol=0.0)


def test_zero_weights_come_last_in_random_order() -> None:
    weights = torch.tensor([0.0, 1e-12, 0.0, 3.0, 0.0])
    orders = [weighted_sample(weights, 5, rng(seed)).tolist() for seed in range(30)]
    assert all(set(order[:2]) == {1, 3} for order in orders)
    assert {order[2] for order in orders} == {0, 2, 4}


def test_draw_classes_follows_the_rows() -> None:
    weights = torch.tensor([[0.0, 0.0, 4.0], [1.0, 0.0, 0.0]])
    assert draw_classes(weights, rng()).tolist() == [2, 0]
    assert draw_classes(torch.zeros(0, 3), rng()).shape == (0,)
