"""The report's figures, each a function from numbers to an inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from graphclean.issues import NoiseRate
from graphclean.report.groups import Group
from graphclean.report.svg import ACCENT, INK, LINE, MUTED, SOFT, WARN, draw, short

_WIDTH = 480
_NUMBERED_CELLS = 12


def noise_rate_figure(rate: NoiseRate, flagged_share: float) -> Markup:
    """Draw the estimated noise rate with its interval, and the flagged share beside it."""

    def paint(axes: Axes) -> None:
        axes.plot([rate.low, rate.high], [1, 1], color=ACCENT, linewidth=9, alpha=0.35)
        axes.plot([rate.value], [1], "o", color=ACCENT, markersize=9, clip_on=False)
        axes.plot([flagged_share], [0], "D", color=WARN, markersize=7, clip_on=False)
        axes.set_yticks([1, 0], ["Estimated wrong", "Flagged"])
        axes.tick_params(axis="y", pad=9)
        axes.set_ylim(-0.6, 1.6)
        axes.set_xlim(0, min(1.0, 1.25 * max(rate.high, rate.value, flagged_share, 0.02)))
        _percent(axes)

    label = f"Estimated noise rate {rate}; {flagged_share:.1%} of the labelled nodes flagged."
    return draw("noise-rate", _WIDTH, 110, label, paint)


def group_figure(name: str, groups: Sequence[Group], what: str) -> Markup:
    """Draw expected share wrong (bar) and share flagged (diamond), one row per group."""
    rows = np.arange(len(groups))[::-1]
    expected = [group.expected_share for group in groups]
    flagged = [group.flagged_share for group in groups]

    def paint(axes: Axes) -> None:
        axes.barh(rows, expected, height=0.62, color=ACCENT, alpha=0.55)
        axes.plot(flagged, rows, "D", color=WARN, markersize=5.5, clip_on=False, zorder=3)
        axes.set_yticks(rows, [short(group.name) for group in groups])
        axes.tick_params(axis="y", pad=9)
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.set_xlim(0, min(1.0, max(1.08 * max(*expected, *flagged), 0.02)))
        for row, group in zip(rows, groups, strict=True):
            axes.text(
                1.03,
                row,
                f"{group.flagged:,} / {group.nodes:,}",
                transform=axes.get_yaxis_transform(),
                color=MUTED,
                verticalalignment="center",
            )
        _percent(axes)

    values = "; ".join(
        f"{group.name}: {group.expected_share:.1%} expected wrong, "
        f"{group.flagged} of {group.nodes} flagged"
        for group in groups
    )
    return draw(name, _WIDTH, 50 + 24 * len(groups), f"{what}. {values}.", paint)


def transition_figure(transition: np.ndarray, names: Sequence[str]) -> Markup:
    """Draw T as a heat map: off the diagonal in colour, the diagonal in grey."""
    classes = len(names)
    off = transition.copy()
    np.fill_diagonal(off, 0.0)
    top = max(float(off.max(initial=0.0)), 1e-9)
    size = min(26 + 330 // max(classes, 1), 48)

    def paint(axes: Axes) -> None:
        for i in range(classes):
            for j in range(classes):
                value = float(transition[i, j])
                shade = {"color": SOFT} if i == j else {"color": WARN, "alpha": 0.55 * value / top}
                axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, linewidth=0, **shade))
                if classes <= _NUMBERED_CELLS and round(100 * value):
                    axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color=INK)
        shown = [short(name) for name in names]
        axes.set_xticks(range(classes), shown, rotation=45, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(classes), shown)
        axes.tick_params(length=0, labelcolor=INK, labelsize=10 if classes <= 16 else 8)
        axes.xaxis.tick_top()
        axes.set_xlim(-0.5, classes - 0.5)
        axes.set_ylim(classes - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xlabel("given label")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("true label")
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color(LINE)

    ranked = [divmod(int(k), classes) for k in np.argsort(-off, axis=None, kind="stable")[:3]]
    largest = "; ".join(
        f"{names[i]} given as {names[j]}: {off[i, j]:.1%}" for i, j in ranked if off[i, j] > 0
    )
    label = f"Estimated transition matrix of {classes} classes. Largest: {largest or 'none'}."
    side = min(_WIDTH, 190 + size * classes)
    return draw("transition", _WIDTH, min(side, 400), label, paint, crop=True)


def probability_figure(probability: np.ndarray, flagged: np.ndarray) -> Markup:
    """Draw the histogram of mislabel probabilities, the flagged nodes over all of them."""
    edges = np.linspace(0, 1, 21)
    counts = np.histogram(probability, edges)[0]
    marked = np.histogram(probability[flagged], edges)[0]

    def paint(axes: Axes) -> None:
        axes.bar(edges[:-1], counts, width=0.044, align="edge", color=MUTED, alpha=0.45)
        axes.bar(edges[:-1], marked, width=0.044, align="edge", color=WARN)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.6)
        axes.set_xlim(-0.01, 1.01)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.minorticks_off()
        axes.grid(axis="y")
        axes.tick_params(labelcolor=MUTED, length=0)
        axes.set_xlabel("mislabel probability")
        axes.set_ylabel("nodes (log scale)")

    label = (
        f"Histogram of the mislabel probability of {len(probability):,} nodes: "
        f"{int((probability < 0.1).sum()):,} below 0.1, "
        f"{int((probability >= 0.9).sum()):,} at 0.9 or above; "
        f"{int(flagged.sum()):,} flagged."
    )
    return draw("probability", _WIDTH, 230, label, paint)


def _percent(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.grid(axis="x")
    axes.tick_params(axis="both", length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
