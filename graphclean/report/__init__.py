"""The review page of a cleaned graph: figures, ego networks, one self-contained HTML file."""

from graphclean.report.html import render_report, write_report

__all__ = ["render_report", "write_report"]
