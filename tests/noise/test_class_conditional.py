"""Noise with one transition matrix for all nodes: uniform, pair, random pair, any T."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.noise import (
    ClassConditionalNoise,
    PairNoise,
    RandomPairNoise,
    UniformNoise,
    check_transition,
    realised_transition,
)
from graphclean.types import InputError


def labels_only(*class_sizes: int) -> Data:
    y = torch.arange(len(class_sizes)).repeat_interleave(torch.tensor(class_sizes))
    return Data(y=y, num_nodes=len(y))


def counts(data: Data, y: Tensor, classes: int) -> list[list[int]]:
    pairs = list(zip(data.y.tolist(), y.tolist(), strict=True))
    return [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)]


@pytest.mark.parametrize("seed", range(3))
def test_uniform_flips_the_same_share_of_every_class_to_every_other(seed: int) -> None:
    data = labels_only(30, 60, 90)
    sample = UniformNoise(0.2).sample(data, seed)
    assert counts(data, sample.y, 3) == [[24, 3, 3], [6, 48, 6], [9, 9, 72]]
    torch.testing.assert_close(
        sample.transition, torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    )


def test_uniform_spreads_left_over_flips_over_classes_and_targets() -> None:
    data = labels_only(5, 5, 5)
    seen = set()
    for seed in range(60):
        sample = UniformNoise(0.1).sample(data, seed)  # 1.5 flips, rounded to 2
        flipped = sample.flip_mask
        assert int(flipped.sum()) == 2
        seen |= set(zip(data.y[flipped].tolist(), sample.y[flipped].tolist(), strict=True))
    assert seen == {(i, j) for i in range(3) for j in range(3) if i != j}


def test_pair_flips_to_the_next_class() -> None:
    data = labels_only(10, 20, 40)
    assert counts(data, PairNoise(0.3).sample(data, 0).y, 3) == [[7, 3, 0], [0, 14, 6], [12, 0, 28]]


def test_random_pair_has_one_target_a_class_that_depends_on_the_seed() -> None:
    data = labels_only(10, 10, 10, 10)
    seen = set()
    for seed in range(30):
        matrix = counts(data, RandomPairNoise(0.3).sample(data, seed).y, 4)
        targets = tuple(next(j for j in range(4) if j != i and matrix[i][j]) for i in range(4))
        assert all(matrix[i][i] == 7 and matrix[i][targets[i]] == 3 for i in range(4))
        seen.add(targets)
    assert len(seen) > 20
    assert any(len(set(targets)) < 4 for targets in seen)  # not a permutation
    assert {targets[0] for targets in seen} == {1, 2, 3}


MATRIX = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]])


@pytest.mark.parametrize("as_type", [torch.Tensor.clone, torch.Tensor.numpy, torch.Tensor.tolist])
def test_any_matrix_is_met_exactly_where_the_counts_are_whole(as_type: Any) -> None:
    data = labels_only(10, 7, 20)
    sample = ClassConditionalNoise(as_type(MATRIX)).sample(data, 4)
    assert counts(data, sample.y, 3) == [[5, 3, 2], [0, 7, 0], [2, 2, 16]]
    torch.testing.assert_close(sample.transition, MATRIX)


def test_renaming_the_classes_renames_the_noise() -> None:
    order = torch.tensor([2, 0, 1])  # new class i is the old class order[i]
    data = labels_only(10, 7, 20)
    renamed = Data(y=torch.argsort(order)[data.y], num_nodes=data.num_nodes)
    old = ClassConditionalNoise(MATRIX).sample(data, 0)
    new = ClassConditionalNoise(MATRIX[order][:, order]).sample(renamed, 0)
    torch.testing.assert_close(new.transition, old.transition[order][:, order])


def test_counts_are_within_one_of_the_expected_ones_in_every_class() -> None:
    data = labels_only(13, 29, 31)
    sample = ClassConditionalNoise(MATRIX).sample(data, 9)
    flips = [sum(row) - row[i] for i, row in enumerate(counts(data, sample.y, 3))]
    assert sum(flips) == 13  # 6.5 + 6.2 = 12.7
    assert abs(flips[0] - 6.5) < 1
    assert flips[1] == 0
    assert abs(flips[2] - 6.2) < 1


def test_a_rate_scales_the_matrix_and_keeps_its_proportions() -> None:
    data = labels_only(40, 10, 50)  # expected rate (20 + 10) / 100
    sample = ClassConditionalNoise(MATRIX, rate=0.15).sample(data, 0)
    found = counts(data, sample.y, 3)
    assert found[:2] == [[30, 6, 4], [0, 10, 0]]
    assert found[2] in ([2, 3, 45], [3, 2, 45])


def test_a_rate_out_of_reach_of_the_matrix_is_refused() -> None:
    data = labels_only(40, 10, 50)
    assert ClassConditionalNoise(MATRIX, rate=0.6).sample(data, 0).rate == pytest.approx(0.6)
    with pytest.raises(InputError, match=r"rate: 0\.61\. .*up to rate 0\.6 at most"):
        ClassConditionalNoise(MATRIX, rate=0.61).sample(data, 0)
    with pytest.raises(InputError, match="up to rate 0 at most"):
        ClassConditionalNoise(torch.eye(3), rate=0.1).sample(data, 0)
    assert not ClassConditionalNoise(torch.eye(3), rate=0.0).sample(data, 0).flip_mask.any()


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ([[0.5, 0.5]], r"shape \[1, 2\]"),
        ([0.5, 0.5], r"shape \[2\]"),
        ([[0.5, 0.5], [1.0]], "square matrix of numbers"),
        ([["a", "b"], ["c", "d"]], "square matrix of numbers"),
        ([[1.1, -0.1], [0.0, 1.0]], "negative"),
        ([[float("nan"), 1.0], [0.0, 1.0]], "non-finite"),
        ([[1.0, 0.0], [0.3, 0.6]], "row 1 sums to 0.9"),
    ],
)
def test_what_is_not_a_transition_matrix_is_refused(matrix: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check_transition(matrix)
    with pytest.raises(InputError, match=complaint):
        ClassConditionalNoise(matrix)


def test_a_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="The graph has 2 classes"):
        ClassConditionalNoise(MATRIX).sample(labels_only(4, 4), 0)


def test_realised_transition_by_hand() -> None:
    clean, given = torch.tensor([0, 0, 0, 0, 2, 2]), torch.tensor([0, 1, 1, 2, 2, 0])
    expected = [[0.25, 0.5, 0.25], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    assert realised_transition(clean, given, 3).tolist() == expected
