"""Figures of an experiment grid: ranks, scores by graph, curves, estimated against true rates."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from graphclean.evaluate.leaderboard import leaderboard, per_setting
from graphclean.report.figure import Figure, write_figures
from graphclean.report.svg import ACCENT, INK, LINE, MUTED, WARN, draw, short
from graphclean.types import InputError

_WIDTH = 480
_COLOURS = (ACCENT, WARN, INK, MUTED)
_DASHES = ("-", "--", ":")
_MARKERS = ("o", "s", "^", "D", "v")
_CURVES = 12
"""As many as have a colour and a dash of their own, going round both at once."""
_RATES = ("noise_rate", "estimated_noise_rate", "noise_rate_low", "noise_rate_high")
_NAMES = {"ap": "AP", "auroc": "AUROC", "ece": "ECE", "f1": "F1", "mcc": "MCC"}

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Recall and precision ``[K]`` by method, as `sklearn.metrics.precision_recall_curve` has them."""


def draw_leaderboard(
    frame: pd.DataFrame,
    metric: str = "ap",
    default: str | None = "graphcleaner",
    *,
    curves: Curves | None = None,
    calibration: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, Figure]:
    """Draw the figures of a grid.

    ``average-rank`` and ``<metric>-by-graph`` always; ``noise-rate`` where the runs of ``default``
    hold the estimated rates; ``precision-recall`` and ``calibration`` where their curves are given.

    Args:
        frame: The runs, as for `graphclean.evaluate.leaderboard`.
        metric: The metric.
        default: The method to point out; None for none.
        curves: Precision and recall by method, of one cell of the grid.
        calibration: What `calibration_curve` returns, by method.

    Returns:
        The figures by name.

    Raises:
        InputError: The frame or the metric does not fit.
    """
    table = leaderboard(frame, metric, default=default)
    figures = {
        "average-rank": average_rank_figure(table),
        f"{metric.replace('_', '-')}-by-graph": metric_figure(
            per_setting(frame, metric, by=("graph",)), metric, default, table.attrs["baseline"]
        ),
    }
    own = frame[frame["method"] == default]
    if set(_RATES) <= set(frame.columns) and own[[*_RATES]].notna().all(axis=1).any():
        figures["noise-rate"] = noise_rates_figure(own)
    if curves is not None:
        figures["precision-recall"] = precision_recall_figure(curves)
    if calibration is not None:
        figures["calibration"] = calibration_figure(calibration)
    return figures


def write_leaderboard_figures(
    frame: pd.DataFrame,
    folder: str | os.PathLike[str],
    metric: str = "ap",
    default: str | None = "graphcleaner",
    *,
    curves: Curves | None = None,
    calibration: Mapping[str, pd.DataFrame] | None = None,
) -> list[Path]:
    """Write the figures of a grid as ``<name>.svg``, each whole or not at all.

    Args:
        frame: The runs; this and all that follows ``folder`` is as for `draw_leaderboard`.
        folder: Where to; it is made if need be.
        metric: The metric.
        default: The method to point out; None for none.
        curves: Precision and recall by method, of one cell of the grid.
        calibration: What `calibration_curve` returns, by method.

    Returns:
        The files.

    Raises:
        InputError: The frame or the metric does not fit.
    """
    figures = draw_leaderboard(frame, metric, default, curves=curves, calibration=calibration)
    return write_figures(figures, folder)


def average_rank_figure(table: pd.DataFrame) -> Figure:
    """Draw the average rank of every ranked method with its standard error over settings.

    Args:
        table: What `leaderboard` returns.
    """
    ranked = table[table["rank"].notna()]
    rows = np.arange(len(ranked))[::-1]
    # Ranked methods have their settings in common.
    settings = int(ranked["settings"].iloc[0]) if len(ranked) else 0
    rank, error = (ranked[key].fillna(0.0).to_numpy() for key in ("rank", "rank_se"))
    default = table.attrs.get("default")
    colours = [WARN if name == default else ACCENT for name in ranked["method"]]

    def paint(axes: Axes) -> None:
        axes.hlines(rows, rank - error, rank + error, colors=colours, linewidth=5, alpha=0.4)
        axes.scatter(rank, rows, c=colours, s=42, zorder=3)
        axes.set_yticks(rows, [short(name, 34) for name in ranked["method"]])
        axes.set_xlim(min(1.0, (rank - error).min(initial=1.0)) - 0.2, None)
        axes.set_ylim(-0.7, len(ranked) - 0.3)
        axes.set_xlabel(f"average rank over {settings} settings (1 = best)")
        axes.grid(axis="x")
        _bare(axes)

    said = "; ".join(
        f"{name} {mean:.2f} ± {se:.2f}"
        for name, mean, se in zip(ranked["method"], rank, error, strict=True)
    )
    metric = _name(str(table.attrs.get("metric", "")))
    label = f"Average rank by {metric}, best first, with standard errors: {said or 'none'}."
    return _figure("average-rank", _WIDTH, 60 + 21 * max(len(ranked), 1), label, paint)


def metric_figure(
    means: pd.DataFrame, metric: str, default: str | None = None, baseline: str | None = None
) -> Figure:
    """Draw a metric of all methods, one row a graph; two of them are pointed out.

    Args:
        means: What `per_setting` returns, by graph: one row a graph, one column a method.
        metric: Name of the metric.
        default: Method drawn as a diamond.
        baseline: Method drawn as a ring.
    """
    rows = np.arange(len(means))[::-1]
    marks = ((default, "D", WARN, WARN), (baseline, "o", "none", INK))

    def paint(axes: Axes) -> None:
        for other in means.columns.difference([str(default), str(baseline)]):
            axes.scatter(means[other], rows, c=ACCENT, s=26, alpha=0.45, linewidths=0)
        axes.scatter([], [], c=ACCENT, s=26, alpha=0.45, linewidths=0, label="other methods")
        for name, mark, fill, line in marks:
            if name is not None and name in means:
                style: dict[str, Any] = {"marker": mark, "facecolors": fill, "edgecolors": line}
                axes.scatter(means[name], rows, s=44, zorder=3, label=short(name, 34), **style)
        axes.set_yticks(rows, [short(str(graph)) for graph in means.index])
        axes.set_ylim(-0.7, len(means) - 0.3)
        axes.set_xlabel(f"mean {_name(metric)}")
        axes.grid(axis="both")
        _bare(axes)
        _legend(axes, 3)

    said = []
    for graph, row in means.iterrows():
        known = row.dropna()
        parts = [f"{n} {row[n]:.3f}" for n, *_ in marks if n is not None and n in known]
        span = f"all methods {known.min():.3f} to {known.max():.3f}" if len(known) else "no value"
        said.append(f"{graph}: {', '.join([*parts, span])}")
    label = f"Mean {_name(metric)} by graph. {'; '.join(said)}."
    return _figure("by-graph", _WIDTH, 90 + 26 * max(len(means), 1), label, paint)


def precision_recall_figure(curves: Curves) -> Figure:
    """Draw precision against recall of some detectors.

    Args:
        curves: Recall and precision by method, at most 12.
    """
    styles = _styles("curves", list(curves))
    for number, style in enumerate(styles.values()):
        # Marks a tenth of the diagonal apart, those of different curves not on top of each other.
        style["markevery"] = (0.02 * (number % 5), 0.1)

    def paint(axes: Axes) -> None:
        for name, (recall, precision) in curves.items():
            axes.step(recall, precision, label=short(name, 34), **styles[name])
        axes.set_xlabel("recall: share of the wrong labels found")
        axes.set_ylabel("precision")
        _unit_square(axes)
        _legend(axes, 2)

    said = []
    for name, (recall, precision) in curves.items():
        half = np.asarray(precision)[np.asarray(recall) >= 0.5]
        said.append(f"{name} {half.max(initial=0.0):.2f}")
    label = f"Precision against recall. Precision at half of the wrong labels: {'; '.join(said)}."
    return _figure("precision-recall", _WIDTH, 330, label, paint)


def calibration_figure(calibration: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the reliability diagram: share of wrong labels against mislabel probability.

    Args:
        calibration: What `calibration_curve` returns, by method, at most 12.
    """
    styles = _styles("calibration", list(calibration))

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.5)
        for name, curve in calibration.items():
            place, share = curve["mean_probability"], curve["share_wrong"]
            bars = place, share - curve["standard_error"], share + curve["standard_error"]
            axes.vlines(*bars, colors=styles[name]["color"], alpha=0.4, linewidth=3)
            axes.plot(place, share, label=short(name, 34), **styles[name])
        axes.set_xlabel("mislabel probability (mean of the bin)")
        axes.set_ylabel("share really wrong")
        _unit_square(axes)
        _legend(axes, 2)

    said = []
    for name, curve in calibration.items():
        gap = (curve["share_wrong"] - curve["mean_probability"]).abs()
        error = float((gap * curve["nodes"]).sum() / max(curve["nodes"].sum(), 1))
        said.append(f"{name} {error:.3f}")
    label = f"Share of wrong labels against mislabel probability. Mean gap: {'; '.join(said)}."
    return _figure("calibration", _WIDTH, 330, label, paint)


def noise_rates_figure(runs: pd.DataFrame) -> Figure:
    """Draw the estimated noise rate of every run with its interval, and the true one.

    Args:
        runs: Runs of one method: ``noise_rate``, ``estimated_noise_rate``, ``noise_rate_low`` and
            ``noise_rate_high``; runs without a value are left out, and counted in the label.
    """
    known = runs[[*_RATES]].dropna().sort_values([*_RATES], kind="stable")
    truth, value, low, high = (known[name].to_numpy(float) for name in _RATES)
    covered = (low <= truth) & (truth <= high)
    place = np.arange(len(known))
    thick = min(3.0, 300 / max(len(known), 1))

    def paint(axes: Axes) -> None:
        axes.step(place, truth, where="mid", color=INK, label="true rate")
        for rows, colour, what in ((covered, ACCENT, "holds"), (~covered, WARN, "misses")):
            bars = place[rows], low[rows], high[rows]
            axes.vlines(*bars, colors=colour, alpha=0.4, linewidth=thick)
            style: dict[str, Any] = {"c": colour, "s": 14, "zorder": 3}
            axes.scatter(place[rows], value[rows], label=f"estimate, interval {what} it", **style)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
        axes.set_ylim(0, 1.08 * max(truth.max(initial=0.0), high.max(initial=0.0), 0.02))
        axes.set_xticks([])
        axes.set_xlabel("runs, by true noise rate")
        axes.set_ylabel("noise rate")
        axes.grid(axis="y")
        axes.tick_params(length=0, labelcolor=MUTED)
        _legend(axes, 3)

    share = f"{covered.mean():.0%}" if len(known) else "none"
    gap = f"{np.abs(value - truth).mean():.1%}" if len(known) else "unknown"
    label = (
        f"Estimated against true noise rate in {len(known)} of {len(runs)} runs: "
        f"{share} of the intervals hold the truth; mean error {gap}."
    )
    return _figure("noise-rates", _WIDTH, 300, label, paint)


def _figure(
    name: str, width: float, height: float, label: str, paint: Callable[[Axes], None]
) -> Figure:
    return Figure(label, draw(name, width, height, label, paint))


def _styles(argument: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return how to draw the curve of each method: neighbours differ in all there is."""
    if len(names) > _CURVES:
        raise InputError(argument, f"{len(names)} methods", f"Draw at most {_CURVES}.")
    looks = zip(*map(itertools.cycle, (_COLOURS, _DASHES, _MARKERS)), strict=True)
    return {
        name: {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4.5}
        for name, (colour, dash, marker) in zip(names, looks, strict=False)
    }


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="both")
    axes.tick_params(length=0, labelcolor=MUTED)


def _bare(axes: Axes) -> None:
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="y", pad=9)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        labelcolor=MUTED,
        handletextpad=0.4,
        borderaxespad=0.2,
    )


def _name(metric: str) -> str:
    return _NAMES.get(metric, metric.replace("_", " "))
