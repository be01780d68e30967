"""The runs of an experiment grid, checked and lined up for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from graphclean.types import InputError

SETTINGS = ("graph", "noise", "rate", "protocol")
"""What makes a setting; the runs of a setting differ by seed, a fresh draw of the noise."""

LOWER_IS_BETTER = frozenset(
    {
        "brier",
        "cpu_seconds",
        "ece",
        "fdr",
        "noise_rate_error",
        "peak_mb",
        "realised_fdr",
        "seconds",
        "transition_error",
    }
)
SIGNED = frozenset({"noise_rate_error"})
"""Errors with a sign: compared by their size."""

DIGITS = 12
"""Decimals to which values are told apart: sums in another order are no difference."""

_UNKNOWN = "-"


class Runs:
    """One row a run, with its setting, method, seed and metrics.

    Args:
        frame: Columns ``graph``, ``noise``, ``rate``, ``seed``, ``method``, metrics, and where
            there are any ``protocol`` and ``error`` (empty or missing = the run succeeded).
        by: Columns that make a setting, out of those above.

    Attributes:
        by: Columns that make a setting.
        methods: Methods, sorted.
        failed: Runs with an error, by method (int).

    Raises:
        InputError: There is no row, a column is missing, a run has no method, or two rows are of
            the same run.
    """

    def __init__(self, frame: pd.DataFrame, by: Sequence[str] = SETTINGS) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise InputError("frame", f"a {type(frame).__name__}", "Pass the runs of a grid.")
        if not len(frame):
            raise InputError("frame", "no run", "Pass at least one.")
        given = [by] if isinstance(by, str) else list(by)
        present = [name for name in (*SETTINGS, "seed") if name in frame.columns]
        self.by = [name for name in given if name in frame.columns or name not in SETTINGS]
        needed = [*self.by, "seed", "method"]
        missing = [name for name in needed if name not in frame.columns]
        if missing or not self.by:
            shown = f"no column {missing[0]!r}" if missing else f"none of the columns {given}"
            raise InputError("frame", shown, "Pass one row a run, as the grid returns them.")
        if frame["method"].isna().any():
            raise InputError("frame", "a run without method", "Name the method of every run.")
        self._key = [*self.by, *(name for name in present if name not in self.by)]
        keys = {name: _filled(frame[name]) for name in self._key}
        index = pd.MultiIndex.from_arrays(
            [*keys.values(), frame["method"].astype(str)], names=[*self._key, "method"]
        )
        if index.has_duplicates:
            twice = dict(zip(index.names, index[index.duplicated()][0], strict=True))
            raise InputError("frame", f"two rows for {twice}", "Keep one row a run.")
        self._frame = frame.set_axis(index)
        error = frame["error"] if "error" in frame else pd.Series("", index=frame.index)
        self._failed = (error.notna() & (error.astype(str).str.strip() != "")).to_numpy()
        self.methods: list[str] = sorted(index.unique("method"))
        self.failed = {m: int(n) for m, n in self._count(self._failed).items()}

    @property
    def missing(self) -> dict[str, int]:
        """Runs that other methods have and this one has no row of, by method."""
        total = self._frame.groupby(level=self._key).ngroups
        return {m: total - n for m, n in self._count(np.ones(len(self._frame), bool)).items()}

    @property
    def columns(self) -> list[str]:
        """Numeric columns of the runs."""
        return [str(n) for n in self._frame.select_dtypes(include=["number", "bool"]).columns]

    def values(self, metric: str) -> pd.DataFrame:
        """Return a metric, float64: one row a run of any method, sorted, one column a method.

        NaN where the method failed, has no such run, or the metric has no meaning. Errors with a
        sign come without it; ``fdr`` is made from ``precision`` where the runs do not hold it.

        Raises:
            InputError: There is no such numeric column.
        """
        column = self._column(metric)
        column[self._failed | ~np.isfinite(column.to_numpy())] = np.nan
        column = column.abs() if metric in SIGNED else column
        wide = column.unstack("method").sort_index()
        return wide.reindex(columns=pd.Index(self.methods, name="method"))

    def by_setting(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return the mean over the runs of each setting, sorted."""
        return values.groupby(level=self.by, sort=True).mean()

    def _column(self, metric: str) -> pd.Series[float]:
        if metric == "fdr" and metric not in self._frame and "precision" in self._frame:
            precision = pd.to_numeric(self._frame["precision"])
            # No precision where nothing is flagged: no discovery is no false one.
            return (1.0 - precision).fillna(0.0).astype("float64")
        numbers = self._frame.get(metric)
        if numbers is not None and numbers.dtype == object:
            # Metrics of failed runs come as None from JSON lines.
            numbers = pd.to_numeric(numbers, errors="coerce")
            numbers = numbers if numbers.notna().any() else None
        if numbers is None or not pd.api.types.is_numeric_dtype(numbers):
            fix = f"Choose one of: {', '.join(self.columns)}."
            raise InputError("metric", metric, fix)
        return numbers.astype("float64").copy()

    def _count(self, rows: np.ndarray) -> dict[str, int]:
        names = self._frame.index.get_level_values("method")[rows]
        counts = names.value_counts()
        return {method: int(counts.get(method, 0)) for method in self.methods}


def mean_and_error(values: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    r"""Return mean and standard error of each column over settings, settings fixed.

    With :math:`n_k` runs and mean :math:`m_k` in setting k of K, and the variance
    :math:`s^2` within settings, pooled over those with two runs or more,

    .. math:: m = \sum_k m_k / K, \qquad e = s \sqrt{\sum_k 1 / n_k} / K

    that is, how far the mean would move if the same settings were run with fresh seeds.

    Returns:
        One row a column of ``values``: ``mean``, ``se`` (NaN where no setting has two runs), and
        ``settings`` K; NaN values do not count.
    """
    groups = values.groupby(level=list(by), sort=True)
    count, mean = groups.count(), groups.mean()
    settings = (count > 0).sum()
    freedom = (count - 1).clip(lower=0).sum()
    squares = groups.var(ddof=1).mul(count - 1).sum(min_count=1)
    variance = squares / freedom.where(freedom > 0)
    spread = (1.0 / count.where(count > 0)).sum()
    error = np.sqrt(variance * spread) / settings.where(settings > 0)
    return pd.DataFrame({"mean": mean.mean(), "se": error, "settings": settings})


def _filled(column: pd.Series) -> pd.Series:
    """Return a key column without missing values: they would not be equal to each other."""
    unknown = column.isna()
    if not unknown.any():
        return column
    return column.astype(object).where(~unknown, _UNKNOWN).map(str)
