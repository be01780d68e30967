"""Review page of a cleaned graph, one self-contained HTML file; figures of experiment grids."""

from graphclean.report.figure import Figure, write_figures
from graphclean.report.html import render_report, write_report
from graphclean.report.leaderboard_figures import (
    average_rank_figure,
    calibration_figure,
    draw_leaderboard,
    metric_figure,
    noise_rates_figure,
    precision_recall_figure,
    write_leaderboard_figures,
)

__all__ = [
    "Figure",
    "average_rank_figure",
    "calibration_figure",
    "draw_leaderboard",
    "metric_figure",
    "noise_rates_figure",
    "precision_recall_figure",
    "render_report",
    "write_figures",
    "write_leaderboard_figures",
    "write_report",
]
