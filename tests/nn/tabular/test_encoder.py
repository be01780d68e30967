"""Mixed columns become the matrix that trees or linear models read; training rows decide how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from graphclean.data.mixed import MixedTable
from graphclean.nn.tabular import encoder
from graphclean.nn.tabular.encoder import BinEncoder, CodeEncoder, DenseEncoder

NAN = np.nan


def table(*columns: list[str | None], numbers: Any = None) -> MixedTable:
    rows = len(columns[0]) if columns else len(numbers or [])
    values = np.array(numbers if numbers is not None else [[]] * rows, dtype=np.float32)
    return MixedTable(
        values.reshape(rows, -1),
        tuple(f"n{i}" for i in range(values.reshape(rows, -1).shape[1])),
        tuple(np.array(column, dtype=object) for column in columns),
        tuple(f"c{i}" for i in range(len(columns))),
    )


def test_codes_count_levels_from_the_most_frequent_and_gaps_stay() -> None:
    fitted = CodeEncoder.fit(table(["b", "a", "c", "c", None, "b"], numbers=[[NAN], [2]] * 3))
    assert fitted.levels == (("b", "c", "a"),)
    found = fitted.transform(table(["a", "b", None, "new"], numbers=[[7], [NAN], [0], [1]]))
    assert found.dtype == np.float32
    assert np.array_equal(found, [[7, 2], [NAN, 0], [0, NAN], [1, 3]], equal_nan=True)
    assert fitted.is_category(2).tolist() == [False, True]


def test_rare_levels_share_the_last_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "MOST_CODES", 1)
    monkeypatch.setattr(encoder, "MOST_COLUMNS", 1)
    rows = table(["a", "a", "b", "c", "c", None, "a"])
    assert np.array_equal(
        CodeEncoder.fit(rows).transform(rows)[:, 0], [0, 0, 1, 1, 1, NAN, 0], equal_nan=True
    )
    dense = DenseEncoder.fit(rows).transform(rows)
    assert dense.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 0], [1, 0]]


def test_columns_without_a_value_in_training_say_nothing() -> None:
    fitted = CodeEncoder.fit(table([None, None], numbers=[[NAN, 1], [NAN, NAN]]))
    found = fitted.transform(table(["a", None], numbers=[[3, 2], [NAN, NAN]]))
    assert np.array_equal(found, [[0, 2, 0], [0, NAN, 0]], equal_nan=True)
    dense = DenseEncoder.fit(table([None, None], numbers=[[NAN, 1], [NAN, 1]]))
    assert np.isfinite(dense.transform(table(["a", None], numbers=[[3, 1], [NAN, NAN]]))).all()


def test_dense_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 3, (40, 4)).astype(np.float32), rng.normal(5, 3, (9, 4))
    train[rng.random(train.shape) < 0.3] = NAN
    train[:, 3] = 2.5
    test[0] = NAN
    test[:, 3] = 2.5
    found = DenseEncoder.fit(table(numbers=train.tolist())).transform(table(numbers=test.tolist()))
    # The scaler is fitted with the gaps, as ours: they do not narrow the deviation.
    scaler = StandardScaler().fit(train.astype(np.float64))
    filled = make_pipeline(SimpleImputer().fit(train.astype(np.float64)), scaler).transform(
        test.astype(np.float32).astype(np.float64)
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, filled, atol=1e-9)


def test_levels_are_indicators_and_missing_is_none_of_them() -> None:
    fitted = DenseEncoder.fit(table(["a", "b", "a", None]))
    found = fitted.transform(table(["b", "a", "new", None]))
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("rows", [200, 3000])
def test_trees_on_bins_are_trees_on_numbers(rows: int) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(rows, 4)).astype(np.float32)
    numbers[:, 1] = numbers[:, 1].round(1)
    numbers[rng.random(numbers.shape) < 0.1] = NAN
    y = np.nan_to_num(numbers[:, 0]) + np.nan_to_num(numbers[:, 1]) > 0
    train, other = numbers[::2], numbers[1::2]
    fitted = BinEncoder.fit(table([None] * len(train), numbers=train))
    trees = [
        HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, y[::2])
        for x in (train, binned(fitted, train))
    ]
    np.testing.assert_allclose(
        trees[0].predict_proba(other), trees[1].predict_proba(binned(fitted, other)), atol=1e-12
    )


def binned(fitted: BinEncoder, numbers: np.ndarray) -> np.ndarray:
    found = fitted.transform(table([None] * len(numbers), numbers=numbers))
    assert np.nanmax(found) < 255
    return found[:, :-1]
