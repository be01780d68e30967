from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphclean.data.ids import find_ids, id_index
from graphclean.types import InputError


@given(
    ids=st.lists(st.integers(-9, 9), min_size=1, max_size=12, unique=True),
    wanted=st.lists(st.integers(-12, 12), max_size=20),
    text=st.booleans(),
    other=st.booleans(),
    series=st.booleans(),
)
def test_ids_are_found_whatever_their_type(
    ids: list[int], wanted: list[int], text: bool, other: bool, series: bool
) -> None:
    place = {value: row for row, value in enumerate(ids)}
    expected = [place.get(value, -1) for value in wanted]
    index = id_index([str(i) for i in ids] if text else ids)
    values: list[Any] = [str(i) for i in wanted] if other else wanted
    given_as = pd.Series(values, dtype="str" if other else "int32") if series else values
    found = find_ids(index, given_as)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_odd_ids() -> None:
    index = id_index([(0, 1), 7, "x", "7"])
    assert find_ids(index, ["7", (0, 1), 7, "y", "x"]).tolist() == [3, 0, 1, -1, 2]
    column = pd.Series(["b", None, "a", "b"], dtype="category")
    assert find_ids(id_index(["a", "b"]), column).tolist() == [1, -1, 0, 1]
    days = pd.Series(pd.to_datetime(["2020-01-02", "2020-01-01"]))
    assert find_ids(id_index(days.tolist()), days).tolist() == [0, 1]
    gaps = pd.Series([2, None, 1], dtype="Int64")
    assert find_ids(id_index([1, 2]), gaps).tolist() == [1, -1, 0]
    assert find_ids(id_index(["nan", "1.0"]), pd.Series([np.nan, 1.0])).tolist() == [-1, 1]
    assert find_ids(id_index([3]), pd.Series([], dtype="int64")).tolist() == []


def test_every_node_has_an_id_of_its_own() -> None:
    with pytest.raises(InputError, match="id: missing at row 2"):
        id_index(["a", "b", ""])
    with pytest.raises(InputError, match=r"duplicates such as \[4\]"):
        id_index([4, 3, 4])
