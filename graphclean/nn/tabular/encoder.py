"""Mixed columns as the one matrix that a learner reads, fitted on the rows that train it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from graphclean.data.mixed import MixedTable

MOST_CODES = 254
"""Levels of a category that trees tell apart; scikit-learn's allow 255 codes."""

MOST_BINS = 255
"""Bins of a number; scikit-learn's trees take no more."""

MOST_COLUMNS = 32
"""Levels of a category that get a column of their own."""

Levels = tuple[str, ...]


class TableEncoder(ABC):
    """Turns a `MixedTable` into numbers; all it knows is of the rows that it was fitted on."""

    @classmethod
    @abstractmethod
    def fit(cls, table: MixedTable) -> Self:
        """Return the encoder of a table of training rows."""

    @abstractmethod
    def transform(self, table: MixedTable) -> np.ndarray:
        """Return the rows of a table with the same columns as a matrix ``[n, F]``."""


@dataclass(frozen=True, eq=False)
class CodeEncoder(TableEncoder):
    """Numbers as they are, one column of codes for every category: what trees read.

    The codes of a category count its levels from the most frequent one; rarer levels than the
    254th, and those that no training row has, share the last code. Gaps are NaN in both. Columns
    that no training row has a value of are zero: not every library takes them empty.

    Attributes:
        known: Numbers that some training row has, bool ``[P]``.
        levels: Levels of every category that have a code of their own.
    """

    known: np.ndarray
    levels: tuple[Levels, ...]

    @classmethod
    def fit(cls, table: MixedTable) -> Self:
        """Return the encoder of a table of training rows."""
        known = ~np.isnan(table.numeric).all(axis=0)
        return cls(known, tuple(frequent_levels(each, MOST_CODES) for each in table.categorical))

    def transform(self, table: MixedTable) -> np.ndarray:
        """Return float32 ``[n, P + Q]``."""
        found = np.empty((table.num_rows, table.numeric.shape[1] + len(self.levels)), np.float32)
        found[:, : table.numeric.shape[1]] = np.where(self.known, table.numeric, 0.0)
        for place, (column, levels) in enumerate(
            zip(table.categorical, self.levels, strict=True), start=table.numeric.shape[1]
        ):
            codes = level_codes(column, levels)
            found[:, place] = np.where(codes < 0, np.nan, codes) if levels else 0.0
        return found

    def is_category(self, width: int) -> np.ndarray:
        """Return which of ``width`` columns hold codes, bool."""
        return np.arange(width) >= width - len(self.levels)


@dataclass(frozen=True, eq=False)
class BinEncoder(CodeEncoder):
    """Numbers as the bins that scikit-learn's trees would put them in, from 0, beside the codes.

    The trees are those of the numbers themselves. With weights scikit-learn (1.9) would look for
    the edges of bins one by one, which takes longer than all trees; here weights leave bins as
    they are.

    Attributes:
        edges: Upper edges of all bins but the last, float64 ``[P, 254]``, infinite where a number
            has fewer.
    """

    edges: np.ndarray

    @classmethod
    def fit(cls, table: MixedTable) -> Self:
        """Return the encoder of a table of training rows."""
        codes = CodeEncoder.fit(table)
        edges = np.full((table.numeric.shape[1], MOST_BINS - 1), np.inf)
        for row, column in zip(edges, table.numeric.T.astype(np.float64), strict=True):
            found = bin_edges(column[~np.isnan(column)])
            row[: len(found)] = found
        return cls(codes.known, codes.levels, edges)

    def transform(self, table: MixedTable) -> np.ndarray:
        """Return float32 ``[n, P + Q]``."""
        found = super().transform(table)
        for place, edges in enumerate(self.edges):
            column = found[:, place]
            bins = np.searchsorted(edges, column.astype(np.float64), side="left")
            found[:, place] = np.where(np.isnan(column), np.nan, bins)
        return found


@dataclass(frozen=True, eq=False)
class DenseEncoder(TableEncoder):
    """Standardised numbers with gaps at their mean, and indicators of levels; no gap is left.

    A category has one column for each of its 32 most frequent levels and one for all other levels;
    where it is missing they are all zero.

    Attributes:
        centre: Mean of every number over the training rows that have it, float64 ``[P]``.
        scale: Its standard deviation there, 1 where that is zero, float64 ``[P]``.
        levels: Levels of every category that have a column of their own.
    """

    centre: np.ndarray
    scale: np.ndarray
    levels: tuple[Levels, ...]

    @classmethod
    def fit(cls, table: MixedTable) -> Self:
        """Return the encoder of a table of training rows."""
        values = table.numeric.astype(np.float64)
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, values, 0.0).sum(axis=0) / count
        spread = np.where(known, values - centre, 0.0)
        scale = np.sqrt((spread**2).sum(axis=0) / count)
        constant = scale <= 1e-7 * np.abs(centre)
        levels = tuple(frequent_levels(column, MOST_COLUMNS) for column in table.categorical)
        return cls(centre, np.where(constant, 1.0, scale), levels)

    def transform(self, table: MixedTable) -> np.ndarray:
        """Return float64 ``[n, F]``."""
        standard = (table.numeric.astype(np.float64) - self.centre) / self.scale
        blocks = [np.where(np.isnan(standard), 0.0, standard)]
        for column, levels in zip(table.categorical, self.levels, strict=True):
            codes = level_codes(column, levels)
            blocks.append((codes[:, None] == np.arange(len(levels) + 1)).astype(np.float64))
        return np.hstack(blocks)


def bin_edges(values: np.ndarray) -> np.ndarray:
    """Return increasing edges between at most 255 bins of values without gaps, float64.

    A bin a distinct value where these are few, else quantiles.
    """
    distinct: np.ndarray = np.unique(values)
    if len(distinct) <= MOST_BINS:
        middles: np.ndarray = (distinct[:-1] + distinct[1:]) / 2
        return middles
    shares = np.linspace(0, 100, MOST_BINS + 1)[1:-1]
    return np.unique(np.percentile(values, shares, method="averaged_inverted_cdf"))


def frequent_levels(column: np.ndarray, most: int) -> Levels:
    """Return the most frequent strings of a column (None = missing), ties by their order."""
    counts = pd.Series(column, dtype=object).value_counts(dropna=True)
    ranked = sorted(counts.items(), key=_by_frequency)
    return tuple(str(level) for level, _ in ranked[:most])


def level_codes(column: np.ndarray, levels: Levels) -> np.ndarray:
    """Return the place of every string in ``levels`` ``[n]``, ``len(levels)`` for others.

    Missing ones are -1.
    """
    values = pd.Series(column, dtype=object)
    codes = pd.Index(levels, dtype=object).get_indexer(pd.Index(values))
    codes = np.where(codes < 0, len(levels), codes)
    found: np.ndarray = np.where(values.isna().to_numpy(), -1, codes)
    return found


def _by_frequency(item: tuple[Any, int]) -> tuple[int, str]:
    level, count = item
    return -count, str(level)
