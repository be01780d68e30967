"""Speed of graphclean's sparse core against its peers on the same graph in one process."""

from __future__ import annotations

from graphclean.evaluate.speed.graphs import planted_graph, power_law_graph
from graphclean.evaluate.speed.run import SpeedReport, run_speed
from graphclean.evaluate.speed.table import markdown, text, to_dict

__all__ = [
    "SpeedReport",
    "markdown",
    "planted_graph",
    "power_law_graph",
    "run_speed",
    "text",
    "to_dict",
]
