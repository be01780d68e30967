"""Which node an id in a table means."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from graphclean.types import InputError


def id_index(ids: Sequence[Hashable]) -> pd.Index:
    """Return the ids of all nodes, hashed, in node order.

    Raises:
        InputError: An id is missing, or two nodes share one.
    """
    index = _index(ids)
    missing = np.asarray(index.isna() | (index == ""), dtype=bool)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise InputError("id", f"missing at row {row}", "Give every node an id.")
    if not index.is_unique:
        twice = index[index.duplicated()][:3].tolist()
        raise InputError("id", f"duplicates such as {twice}", "Give every node an id of its own.")
    return index


def find_ids(index: pd.Index, values: Sequence[Hashable] | pd.Series) -> np.ndarray:
    """Return the place in ``index`` of every id ``[E]``, int64; -1 where it is unknown or missing.

    Each distinct id of a column is looked up once; one that is not found is looked up as text too:
    7 in one table may be ``"7"`` in the other.
    """
    if isinstance(values, pd.Series):
        row, ids = pd.factorize(values.array)
    else:
        row, ids = np.arange(len(values)), values
    distinct = _index(ids)
    place = index.get_indexer(distinct)
    unknown = place < 0
    if unknown.any():
        text = index.map(str)
        if text.is_unique:
            place[unknown] = text.get_indexer(distinct[unknown].map(str))
    found: np.ndarray = np.append(place, -1)[row]  # factorize marks a missing id with -1
    return found.astype(np.int64, copy=False)


def _index(ids: Any) -> pd.Index:
    """Return ids as an index of their own type: list first, so that objects find theirs."""
    if isinstance(ids, pd.Index):
        return ids
    if isinstance(ids, pd.arrays.NumpyExtensionArray):
        ids = ids.to_numpy()
    listed = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    index: pd.Index = pd.Index(listed, tupleize_cols=False)
    return index
