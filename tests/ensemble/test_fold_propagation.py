"""Fold-consistent propagation against a computation by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphclean.ensemble import propagate_folds
from graphclean.ensemble.fold_propagation import spread
from graphclean.nn import OutOfFold
from graphclean.sparse import Propagator
from graphclean.types import InputError

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 0, 3], [1, 0, 2, 1, 3, 2, 3, 0]])
NODES = 6
"""A ring of four, and two nodes alone."""


def operator() -> Propagator:
    return Propagator(EDGES, NODES, norm="row", direction="both")


def out_of_fold(repeats: int = 1) -> OutOfFold:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(repeats, 2, NODES, 3, generator=generator)
    fold = torch.tensor([[0, 1, 0, -1, 1, -1], [1, 1, 0, -1, 0, -1]])[:repeats]
    return OutOfFold.merged(probs / probs.sum(dim=3, keepdim=True), fold)


def by_hand(start: Tensor, alpha: float, hops: int) -> Tensor:
    dense = torch.zeros(NODES, NODES)
    dense[EDGES[1], EDGES[0]] = 1.0
    mean = dense / dense.sum(dim=1, keepdim=True).clamp_min(1.0)
    steps = [start]
    for _ in range(hops):
        step = alpha * mean @ steps[-1] + (1 - alpha) * start
        step[4:] = start[4:]
        steps.append(step)
    return torch.stack(steps, dim=1)


@pytest.mark.parametrize("repeats", [1, 2])
def test_rows_of_a_fold_come_from_its_own_model(repeats: int) -> None:
    oof = out_of_fold(repeats)
    found = propagate_folds(oof, operator(), alpha=0.7, hops=2)
    wanted = torch.zeros(NODES, 3, 3)
    for r in range(repeats):
        steps = [by_hand(oof.model_probs[r, k], 0.7, 2) for k in range(2)]
        for node in range(NODES):
            k = int(oof.fold[r, node])
            wanted[node] += (steps[0] + steps[1])[node] / 2 if k < 0 else steps[k][node]
    torch.testing.assert_close(found, wanted / repeats)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(NODES, 3))
    torch.testing.assert_close(found[:, 0], oof.pred_probs)


def test_out_of_fold_rows_are_merged_then_spread() -> None:
    oof = out_of_fold()
    found = propagate_folds(oof, operator(), alpha=0.9, hops=3, consistency="oof")
    torch.testing.assert_close(found, by_hand(oof.pred_probs, 0.9, 3))


def test_without_consistency_nothing_is_spread() -> None:
    oof = out_of_fold()
    found = propagate_folds(oof, operator(), consistency="none")
    assert torch.equal(found, oof.pred_probs.unsqueeze(1))


def test_what_another_fold_predicts_for_a_neighbour_plays_no_part() -> None:
    """The leak that the function is for: node 1, in fold 1, is a neighbour of node 0, in fold 0."""
    oof, changed = out_of_fold(), out_of_fold()
    changed.model_probs[0, 1] = changed.model_probs[0, 1].roll(1, dims=1)
    changed = OutOfFold.merged(changed.model_probs, changed.fold)
    for consistency, same in (("fold", True), ("oof", False)):
        pair = [
            propagate_folds(each, operator(), consistency=consistency) for each in (oof, changed)
        ]
        assert torch.equal(pair[0][0], pair[1][0]) == same
        assert not torch.equal(pair[0][1], pair[1][1])


def test_no_step_leaves_the_values_as_they_are() -> None:
    values = torch.rand(NODES, 2)
    assert torch.equal(spread(values, operator(), 0.5, 0), values.unsqueeze(1))


@pytest.mark.parametrize(
    ("argument", "value"), [("alpha", 1.5), ("hops", -1), ("consistency", "all")]
)
def test_bad_argument_is_named(argument: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        propagate_folds(out_of_fold(), operator(), **{argument: value})
    assert caught.value.argument == argument
