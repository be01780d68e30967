from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphclean.nn import stratified_folds
from graphclean.nn.folds import validation_rows
from graphclean.types import InputError


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=12, max_size=60), st.integers(2, 6), st.integers(0, 9))
def test_folds_are_balanced(labels: list[int], n_folds: int, seed: int) -> None:
    y = torch.tensor([0] * 6 + labels)
    fold = stratified_folds(y, y >= 0, n_folds, seed)
    assert torch.equal(fold >= 0, y >= 0)
    sizes = torch.bincount(fold[fold >= 0], minlength=n_folds)
    assert len(sizes) == n_folds
    assert sizes.max() - sizes.min() <= 1
    for label in y[y >= 0].unique():
        counts = torch.bincount(fold[y == label], minlength=n_folds)
        assert counts.max() - counts.min() <= 1
    assert torch.equal(fold, stratified_folds(y, y >= 0, n_folds, seed))


def test_seed_changes_the_folds() -> None:
    y = torch.arange(40) % 2
    everyone = torch.ones(40, dtype=torch.bool)
    first, second = (stratified_folds(y, everyone, 4, seed) for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("n_folds", [0, 1, 11])
def test_impossible_number_of_folds_is_refused(n_folds: int) -> None:
    y = torch.tensor([0] * 10 + [-1] * 5)
    with pytest.raises(InputError, match="n_folds"):
        stratified_folds(y, y >= 0, n_folds, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.floats(0, 0.5),
    st.integers(0, 9),
)
def test_validation_rows_are_a_stratified_share(
    labels: list[int], fraction: float, seed: int
) -> None:
    y = torch.tensor(labels)
    rows = torch.arange(len(y)) * 3 + 1
    picked = validation_rows(y, rows, fraction, seed)
    chosen = torch.isin(rows, picked)
    assert int(chosen.sum()) == len(picked) <= round(fraction * len(y))
    assert bool(
        (torch.bincount(y[~chosen], minlength=5) > 0).eq(torch.bincount(y, minlength=5) > 0).all()
    )
    multiple = torch.bincount(y)[y] > 1
    if len(picked):
        rate = len(picked) / int(multiple.sum())
        for label in y[multiple].unique():
            members = y == label
            assert abs(int(chosen[members].sum()) - rate * int(members.sum())) <= 1 + 1e-6


def test_validation_rows_pick_the_asked_number() -> None:
    y = torch.arange(100) % 4
    assert len(validation_rows(y, torch.arange(100), 0.1, 0)) == 10
    assert len(validation_rows(y, torch.arange(100), 0.0, 0)) == 0
