"""Leaderboards: the methods of an experiment grid ranked, compared and tested in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from graphclean.evaluate.paired import compare_pair
from graphclean.evaluate.runs import DIGITS, LOWER_IS_BETTER, SETTINGS, Runs, mean_and_error
from graphclean.types import InputError

MEANS = ("ap", "f1", "mcc", "auroc")
"""Metrics of a leaderboard with their standard errors."""

OTHER_MEANS = ("ece", "fdr", "realised_fdr", "noise_rate_error", "noise_rate_covered", "seconds")
"""Metrics of a leaderboard without."""

_PAIRED = ("difference", "se", "pairs", "p_value", "p_settings")


def leaderboard(
    frame: pd.DataFrame,
    metric: str = "ap",
    by: Sequence[str] = SETTINGS,
    default: str | None = "graphcleaner",
    *,
    min_coverage: float = 0.8,
) -> pd.DataFrame:
    r"""Rank the methods of a grid.

    A method is ranked if it has a value of ``metric`` in at least ``min_coverage`` of the
    settings; the others are left out and come last. All numbers of the ranked methods are over
    the same runs: those (setting and seed) in which every ranked method has a value. Methods are
    ranked in each setting on the mean over its runs, ties sharing the mean of their ranks, and the
    ranks are averaged over the settings (Demšar, *Statistical Comparisons of Classifiers over
    Multiple Data Sets*, JMLR 2006). The best baseline is the method of the best average rank
    (then mean, then name) other than ``default``.

    Args:
        frame: The runs: columns ``graph``, ``noise``, ``rate``, ``seed``, ``method``, metrics, and
            where there are any ``protocol`` and ``error`` (empty or missing = the run succeeded).
        metric: What to rank by. High is good, but for ``ece``, ``brier``, ``fdr``, ``seconds``,
            ``peak_mb``, ``transition_error``... (`LOWER_IS_BETTER`) and the size of
            ``noise_rate_error``.
        by: Columns that make a setting; ``("graph",)`` ranks on means per graph.
        default: The method that is held against the baselines; None where there is none.
        min_coverage: Share of the settings that a ranked method must cover, in (0, 1].

    Returns:
        One row a method, best first:

        - ``method``, ``rank`` (average, 1 = best; NaN: left out), ``rank_se`` (over settings);
        - ``settings``, ``runs`` (those the row is computed over), ``failed`` (runs with an error),
          ``missing`` (runs others have and this method has no row of);
        - mean and standard error of ``metric`` and of `MEANS`, settings weighing the same;
          the errors (``*_se``) are those of fresh seeds in the same settings: see
          `graphclean.evaluate.runs.mean_and_error`;
        - ``difference`` to the best baseline with ``difference_se``, ``pairs`` (runs), ``p_value``
          and ``p_settings``, as in `averages_against`; the p-values are not corrected for the
          number of methods, and NaN for fewer than six;
        - means of `OTHER_MEANS`, as far as the runs hold them: calibration error, false-discovery
          proportion of the flags (``fdr``, 0 where nothing is flagged) and at the grid's target
          (``realised_fdr``), size of the error of the noise rate, coverage of its interval, wall
          ``seconds``; and the largest ``peak_mb``.

        ``attrs`` holds ``metric``, ``default``, ``baseline`` and ``notes``: who was left out and
        why, failures, missing runs.

    Raises:
        InputError: The frame has no such columns, two rows are of one run, or an argument does not
            fit.
    """
    if not 0.0 < min_coverage <= 1.0:
        raise InputError("min_coverage", min_coverage, "Pass a share in (0, 1].")
    runs = Runs(frame, by)
    values = runs.values(metric)
    has = values.notna().groupby(level=runs.by).any()
    covered, total = has.sum(), len(has)
    ranked = [name for name in runs.methods if covered[name] >= max(min_coverage * total, 1)]
    common = values[ranked].dropna() if ranked else values.iloc[:0]
    means = runs.by_setting(common[ranked])
    ranks = _ranks(means, metric)
    average = ranks.mean().reindex(runs.methods)
    order = sorted(
        runs.methods,
        key=lambda name: (
            np.nan_to_num(average[name], nan=np.inf),
            _badness((means if name in ranked else values)[name].mean(), metric),
            name,
        ),
    )
    baseline = next((n for n in order if n != default and not np.isnan(average[n])), None)
    rows_of = {n: common.index if n in ranked else values.index[values[n].notna()] for n in order}
    with_error = [*dict.fromkeys([metric, *(name for name in MEANS if _has(runs, name))])]
    averages = {
        name: _averages(runs.values(name), ranked, rows_of, runs.by)
        for name in (*with_error, *(name for name in OTHER_MEANS if _has(runs, name)))
    }
    memory = runs.values("peak_mb") if _has(runs, "peak_mb") else None
    rows: list[dict[str, Any]] = []
    for name in order:
        over = rows_of[name]
        row: dict[str, Any] = {
            "method": name,
            "rank": average[name],
            "rank_se": ranks[name].sem() if name in ranked else np.nan,
            "settings": averages[metric].loc[name, "settings"],
            "runs": len(over),
            "failed": runs.failed[name],
            "missing": runs.missing[name],
        }
        for key in with_error:
            row |= {
                key: averages[key].loc[name, "mean"],
                f"{key}_se": averages[key].loc[name, "se"],
            }
        row |= _against(values.loc[over], name, baseline, runs, metric)
        row |= {key: averages[key].loc[name, "mean"] for key in averages if key not in row}
        if memory is not None:
            row["peak_mb"] = memory.loc[over, name].max()
        rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs = {
        "metric": metric,
        "default": default,
        "baseline": baseline,
        "notes": [
            *_notes(runs, ranked, covered, total, len(means), len(common), len(values)),
            *([] if baseline is None else [f"differences and p-values: against {baseline}"]),
        ],
    }
    return table


def per_setting(
    frame: pd.DataFrame, metric: str = "ap", by: Sequence[str] = SETTINGS
) -> pd.DataFrame:
    """Return the mean of a metric over the runs of each setting.

    Args:
        frame: The runs, as for `leaderboard`.
        metric: The metric.
        by: Columns that make a setting.

    Returns:
        One row a setting (its columns are the index), sorted; one column a method, sorted; NaN
        where the method has no value.

    Raises:
        InputError: As for `leaderboard`.
    """
    runs = Runs(frame, by)
    return runs.by_setting(runs.values(metric))


def _averages(
    values: pd.DataFrame, ranked: list[str], rows_of: dict[str, pd.Index], by: list[str]
) -> pd.DataFrame:
    """Return `mean_and_error` of every method over its rows, the ranked ones at once."""
    alone = [[name] for name in rows_of if name not in ranked]
    groups = [names for names in (ranked, *alone) if names]
    return pd.concat([mean_and_error(values.loc[rows_of[n[0]], n], by) for n in groups])


def _ranks(means: pd.DataFrame, metric: str) -> pd.DataFrame:
    return means.round(DIGITS).rank(axis=1, ascending=metric in LOWER_IS_BETTER)


def _badness(value: Any, metric: str) -> float:
    return float(np.nan_to_num(value if metric in LOWER_IS_BETTER else -value, nan=np.inf))


def _has(runs: Runs, metric: str) -> bool:
    return metric in runs.columns or (metric == "fdr" and "precision" in runs.columns)


def _against(
    values: pd.DataFrame, name: str, baseline: str | None, runs: Runs, metric: str
) -> dict[str, Any]:
    if baseline is None or name == baseline:
        found = dict.fromkeys(_PAIRED, np.nan) | {"pairs": 0}
    else:
        found = compare_pair(values[name], values[baseline], runs, metric)
    return {"difference_se" if key == "se" else key: found[key] for key in _PAIRED}


def _notes(
    runs: Runs,
    ranked: list[str],
    covered: pd.Series[int],
    total: int,
    settings: int,
    common: int,
    all_runs: int,
) -> list[str]:
    notes = [
        f"ranked over {settings} of {total} settings and {common} of {all_runs} runs, "
        f"those that all {len(ranked)} ranked methods have"
    ]
    out = [name for name in runs.methods if name not in ranked]
    notes += [f"not ranked: {name}, in {covered[name]} of {total} settings only" for name in out]
    for what, counts in (("failed", runs.failed), ("missing", runs.missing)):
        some = [f"{name} {count}" for name, count in counts.items() if count]
        notes += [f"{what} runs: {', '.join(some)}"] if some else []
    return notes
