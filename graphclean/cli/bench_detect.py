"""``graphclean bench detect``: detectors compared on graphs with known wrong labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from graphclean.cli.examples import ExampleCommand
from graphclean.cli.out_folder import out_path, prepare_folder, remove_stale
from graphclean.cli.show import without_nan

_Command = TypeVar("_Command", bound=Callable[..., Any])

FILES = ("results.csv", "leaderboard.csv", "leaderboard.md")
"""Written where detectors ran."""

TRANSITIONS = ("transitions.csv", "transitions.md")
"""Written where transition estimators ran: one row a run, and their ranking."""

MEASURED = ("strata", "downstream", "rank_stability")
"""Written as CSV where they were measured."""

_ALL_FILES = (*FILES, *TRANSITIONS, *(f"{name}.csv" for name in MEASURED))
_TRANSITION_HEADLINE = (
    "method",
    "rank",
    "runs",
    "failed",
    "missing",
    "transition_error",
    "noise_rate_error",
    "seconds",
)


def _values(name: str, kind: Any, help_text: str) -> Callable[[_Command], _Command]:
    return click.option(
        f"--{name}", f"{name}s", type=kind, multiple=True, metavar="VALUE", help=help_text
    )


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean bench detect benchmarks/detection_whole.toml --jobs 2 --out out/whole",
        "graphclean bench detect benchmarks/detection_whole.toml --graph cora --seed 0 --out o",
        "graphclean bench detect benchmarks/detection_whole.toml --dry-run --out out/whole",
        "graphclean bench detect --graph cora --graph digits --noise pair --rate 0.1 --seed 0 "
        "--seed 1 --method self_confidence --method graphcleaner --out out/two",
        "graphclean bench detect benchmarks/detection_published.toml --cluster local --out o",
        "graphclean bench detect --graph cora --method self_confidence --measure strata --measure "
        "downstream --out out/where",
    ),
)
@click.argument("grid", required=False, type=click.Path(dir_okay=False, path_type=Path))
@_values("graph", str, "Named graph; may be repeated, as the next four.")
@_values("noise", str, "Kind of noise (graphclean list noise). Without GRID, default: uniform.")
@_values("rate", float, "Noise rate. Without GRID, default: 0.1.")
@_values("seed", int, "Seed of one draw of noise. Without GRID, default: 0.")
@_values("method", str, "Method or estimator of GRID, else a detector. Default: all.")
@click.option(
    "--protocol",
    type=click.Choice(["whole", "published"]),
    help="whole: all labels given, all nodes scored. published: GraphCleaner's noise and splits, "
    "test nodes scored. Without GRID, default: whole.",
)
@click.option(
    "--measure",
    "measures",
    type=click.Choice(["strata", "downstream"]),
    multiple=True,
    help="Measure this, too, of every detector; may be repeated. strata: scores by class, degree "
    "and homophily. downstream: accuracy of a model retrained on each repair, and ranks of models "
    "by given, repaired and clean test labels. Runs made without it are made anew.",
)
@click.option("--metric", default="ap", show_default=True, help="Column of results.csv to rank by.")
@click.option("--out", type=out_path, required=True, help="Folder of results; runs there are kept.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes; -1: all cores.")
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Address of a Dask scheduler in place of processes here; 'local' starts --jobs Dask "
    "workers on this machine.",
)
@click.option("--dry-run", is_flag=True, help="List the cells and what is done; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of the table.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def detect(
    ctx: click.Context,
    grid: Path | None,
    graphs: tuple[str, ...],
    noises: tuple[str, ...],
    rates: tuple[float, ...],
    seeds: tuple[int, ...],
    methods: tuple[str, ...],
    protocol: str | None,
    measures: tuple[str, ...],
    metric: str,
    out: Path,
    jobs: int,
    cluster: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare detectors on graphs into which wrong labels are injected.

    GRID is a TOML file of graphs, noise, learners, methods and transition estimators, such as those
    in benchmarks/; the options then choose a part of it. Without GRID they are the grid: detectors
    with their defaults on the out-of-fold probabilities of the default base learner.

    Writes results.csv (a row a run), leaderboard.csv and leaderboard.md; where GRID has estimators,
    transitions.csv and transitions.md, which rank them by the error of T; and what was measured:
    strata.csv, or downstream.csv and rank_stability.csv.

    Every run is kept in --out as it finishes, so the same command goes on where it was stopped and
    costs nothing where all is done. Ends with 1 if a run failed.
    """
    from graphclean.evaluate.grid import missing_runs, run_grid

    wanted = _grid(grid, graphs, noises, rates, seeds, methods, protocol, measures)
    if jobs == 0:
        raise click.BadParameter("0 processes do nothing: pass 1 or more, or -1 for all cores.")
    if dry_run:
        _show_plan(wanted, missing_runs(wanted, out), as_json)
        return
    prepare_folder(out, _ALL_FILES, [] if grid is None else [grid])
    with _backend(cluster, jobs):
        records = run_grid(wanted, out, n_jobs=jobs if cluster is None else -1, progress=not quiet)
    _report(records, metric, out, as_json)
    failed = [record for record in records if record["error"] is not None]
    for record in failed:
        where = "{graph} {noise} {rate:g} seed {seed}, {method}".format(**record)
        click.echo(f"Error: {where}: {record['error']}", err=True)
    if failed:
        ctx.exit(1)


def _grid(
    path: Path | None,
    graphs: tuple[str, ...],
    noises: tuple[str, ...],
    rates: tuple[float, ...],
    seeds: tuple[int, ...],
    methods: tuple[str, ...],
    protocol: str | None,
    measures: tuple[str, ...],
) -> Any:
    """Return the chosen part of the file's grid, or the grid that the options are."""
    from graphclean.evaluate.grid import make_grid, read_grid, select

    if path is not None:
        whole = read_grid(path)
        return select(
            replace(whole, measures=(*whole.measures, *measures)),
            graph=graphs,
            noise=noises,
            rate=rates,
            seed=seeds,
            method=methods,
            protocol=() if protocol is None else (protocol,),
        )
    if not graphs:
        raise click.UsageError("Name a GRID file, or a --graph.")
    return make_grid(
        graphs,
        noises or ("uniform",),
        rates or (0.1,),
        seeds or (0,),
        protocol or "whole",
        methods=methods or None,
        measures=measures,
    )


def _backend(cluster: str | None, jobs: int) -> AbstractContextManager[None]:
    if cluster is None:
        return nullcontext()
    from graphclean.evaluate.grid import on_cluster

    return on_cluster(cluster, None if jobs < 0 else jobs)


def _show_plan(grid: Any, missing: Any, as_json: bool) -> None:
    """Show how many runs of every cell are done."""
    cells = [
        {**asdict(cell), "runs": len(grid.entries), "done": len(grid.entries) - len(left)}
        for cell in grid.cells
        for left in [missing.get(cell, ())]
    ]
    done = sum(cell["done"] for cell in cells)
    if as_json:
        methods = [method.name for method in grid.entries]
        plan = {"cells": cells, "methods": methods, "runs": grid.runs, "done": done}
        click.echo(json.dumps(plan, indent=2, allow_nan=False))
        return
    for cell, line in zip(grid.cells, cells, strict=True):
        click.echo(f"{line['done']:>3} of {line['runs']}  {cell}")
    click.echo(f"{done} of {grid.runs} runs done: {len(cells)} cells x {len(grid.entries)} methods")


def _report(records: list[Any], metric: str, out: Path, as_json: bool) -> None:
    """Write the tables of a grid, and show the rankings."""
    from graphclean.detect.find import DEFAULT_DETECTOR
    from graphclean.evaluate import leaderboard_tables as tables
    from graphclean.evaluate.grid import measures_frame, results_frame, transitions_frame
    from graphclean.evaluate.leaderboard import leaderboard
    from graphclean.issues import write_atomic

    results, transitions = results_frame(records), transitions_frame(records)
    written: dict[str, str] = {}
    shown: dict[str, Any] = {"out": str(out), "runs": len(records)}
    texts = []
    if len(results):
        ranked = leaderboard(results, metric, default=DEFAULT_DETECTOR)
        page = tables.markdown(ranked, tables.HEADLINE)
        written |= zip(FILES, (tables.csv(results), tables.csv(ranked), page), strict=True)
        shown |= {"leaderboard": _rows(ranked), "notes": ranked.attrs["notes"]}
        texts.append(tables.text(ranked, tables.HEADLINE))
    if len(transitions):
        ranked = leaderboard(transitions, "transition_error", default=None)
        page = tables.markdown(ranked, _TRANSITION_HEADLINE)
        written |= zip(TRANSITIONS, (tables.csv(transitions), page), strict=True)
        shown |= {"transitions": _rows(ranked), "transition_notes": ranked.attrs["notes"]}
        texts.append(tables.text(ranked, _TRANSITION_HEADLINE))
    for name in MEASURED:
        frame = measures_frame(records, name)
        if len(frame):
            written[f"{name}.csv"] = tables.csv(frame)
    for name, content in written.items():
        write_atomic(out / name, content.encode())
    remove_stale(out, _ALL_FILES, written)
    if as_json:
        click.echo(json.dumps(shown, indent=2, allow_nan=False))
    else:
        click.echo("\n\n".join(texts))
        click.echo(f"\nWrote to {out}: {', '.join(written)}")


def _rows(table: Any) -> list[dict[str, Any]]:
    return [without_nan(row) for row in table.to_dict(orient="records")]
