"""Methods compared run by run: differences with their errors, wins, signed-rank tests."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from graphclean.evaluate.runs import DIGITS, LOWER_IS_BETTER, SETTINGS, Runs, mean_and_error
from graphclean.types import InputError

LEAST_PAIRS = 6
"""Fewer pairs cannot reach p < .05 in a two-sided signed-rank test: 2 / 2^5 > .05."""

BEST = "best of these"


def averages_against(
    frame: pd.DataFrame,
    method: str,
    others: str | Sequence[str],
    metric: str = "ap",
    by: Sequence[str] = SETTINGS,
) -> pd.DataFrame:
    """Hold one method against others, run by run.

    Runs are paired by setting and seed. A difference is that of the method's value minus the
    other's: positive is better where high is good, worse for metrics in `LOWER_IS_BETTER`.

    Args:
        frame: The runs, as for `leaderboard`.
        method: The method.
        others: The method or methods it is held against.
        metric: The metric.
        by: Columns that make a setting.

    Returns:
        One row for each of ``others`` and, where there are several, one for ``"best of these"``:
        in each setting the one of the best mean over the runs that all of them share, a hindsight
        that no user has. Columns: ``other``;

        - ``difference``: mean over settings of the mean difference; ``se``: see
          `graphclean.evaluate.runs.mean_and_error`; ``least``, ``most`` over settings;
        - ``wins``, ``losses``, ``ties``: settings; ``settings``, ``pairs`` (runs): how many;
        - ``p_value``: Wilcoxon's signed-rank test, two-sided, over the pairs; ``p_settings``: over
          the settings' mean differences. Runs of one setting resemble each other, so the first is
          about these settings, and only the second about others. NaN for fewer than `LEAST_PAIRS`.

    Raises:
        InputError: As for `leaderboard`; or a method has no run, or is held against itself.
    """
    runs = Runs(frame, by)
    names = [others] if isinstance(others, str) else list(others)
    for argument, wanted in (("method", [method]), ("others", names)):
        for name in wanted:
            if name not in runs.methods:
                raise InputError(argument, name, f"Choose from: {', '.join(runs.methods)}.")
    if not names or method in names:
        raise InputError("others", names, f"Name methods other than {method!r}.")
    values = runs.values(metric)
    others_values = {name: values[name] for name in names}
    if len(names) > 1:
        others_values[BEST] = _best_per_setting(values[[method, *names]].dropna(), runs, metric)
    return pd.DataFrame(
        {"other": name, **compare_pair(values[method], column, runs, metric)}
        for name, column in others_values.items()
    )


def compare_pair(
    first: pd.Series[float], second: pd.Series[float], runs: Runs, metric: str
) -> dict[str, Any]:
    """Compare two columns of ``runs.values(metric)`` in the runs that have both.

    Returns:
        The columns of `averages_against` but ``other``.
    """
    difference = (first - second).dropna().to_frame("difference")
    found = mean_and_error(difference, runs.by)
    settings = runs.by_setting(difference)["difference"].round(DIGITS)
    gain = -settings if metric in LOWER_IS_BETTER else settings
    return {
        "difference": float(found["mean"].iloc[0]),
        "se": float(found["se"].iloc[0]),
        "least": float(settings.min()),
        "most": float(settings.max()),
        "wins": int((gain > 0).sum()),
        "losses": int((gain < 0).sum()),
        "ties": int((gain == 0).sum()),
        "settings": len(settings),
        "pairs": len(difference),
        "p_value": signed_rank(difference["difference"].to_numpy()),
        "p_settings": signed_rank(settings.to_numpy()),
    }


def signed_rank(difference: np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test that the median is zero.

    Args:
        difference: Paired differences ``[n]``, finite; zeros are dropped, as Wilcoxon does.

    Returns:
        In [0, 1]; NaN where n < `LEAST_PAIRS`, 1 where all differences are zero.
    """
    rounded = np.round(difference, DIGITS)
    if len(rounded) < LEAST_PAIRS:
        return float("nan")
    if not rounded.any():
        return 1.0
    with warnings.catch_warnings():
        # Older SciPy warns where zeros leave few pairs to approximate with.
        warnings.simplefilter("ignore", UserWarning)
        return float(wilcoxon(rounded).pvalue)


def _best_per_setting(shared: pd.DataFrame, runs: Runs, metric: str) -> pd.Series[float]:
    """Return for every run the value of the method, the first aside, that wins its setting."""
    others = shared.iloc[:, 1:]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    means = sign * others.groupby(level=runs.by).transform("mean")
    picked = others.to_numpy()[np.arange(len(others)), means.to_numpy().argmax(axis=1)]
    return pd.Series(picked, index=shared.index)
