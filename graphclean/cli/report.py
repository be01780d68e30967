"""``graphclean report``: the report once more, from saved issues."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from graphclean.cli.examples import ExampleCommand
from graphclean.cli.graph_source import GraphSource, graph_options


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean report out/",
        "graphclean report out/ --top 100 --out review.html",
        "graphclean report out/ --name cora",
        "graphclean report out/ --nodes n.csv --edges e.csv --label topic --id paper",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Named graph that the issues were found on.")
@graph_options
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write. Default: report.html in FOLDER.",
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Worst nodes to show.",
)
@click.option("--title", help="Heading of the page.")
def report(folder: Path, graph: GraphSource, out: Path | None, top: int, title: str | None) -> None:
    """Render the report of saved issues again.

    FOLDER is what graphclean clean wrote with --out, or LabelIssues.save. The drawings need the
    graph: cleaned.npz in FOLDER, or the one given as for graphclean clean (a named one with
    --name).
    """
    from graphclean.issues import LabelIssues
    from graphclean.report import write_report

    issues = LabelIssues.load(folder)
    target = folder / "report.html" if out is None else out
    evaluation = _evaluation(folder / "evaluation.json")
    data = _graph(folder, graph)
    write_report(target, issues, data, title=title, evaluation=evaluation, top=top)
    click.echo(f"Wrote {target}" + ("" if data is not None else " (no graph: no drawings)"))


def _graph(folder: Path, graph: GraphSource) -> Any:
    if graph.given:
        return graph.read()
    kept = folder / "cleaned.npz"
    if not kept.is_file():
        return None
    from graphclean.data import load_npz

    return load_npz(kept)


def _evaluation(path: Path) -> Any:
    from graphclean.types import InputError

    if not path.is_file():
        return None
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        return {name: math.nan if value is None else value for name, value in scores.items()}
    except (ValueError, AttributeError) as error:
        raise InputError("folder", f"{path}: {error}", "Run graphclean clean again.") from error
