"""What the commands that run an experiment grid share: their options, plan, run and exit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from graphclean.cli.jobs import jobs_option
from graphclean.cli.out_folder import out_path
from graphclean.cli.show import without_nan

_Command = TypeVar("_Command", bound=Callable[..., Any])


def values_option(name: str, kind: Any, help_text: str) -> Callable[[_Command], _Command]:
    """Return an option ``--name`` that may be repeated."""
    return click.option(
        f"--{name}", f"{name}s", type=kind, multiple=True, metavar="VALUE", help=help_text
    )


def run_options(command: _Command) -> _Command:
    """Add where and how a grid is run."""
    for option in (
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option("--json", "as_json", is_flag=True, help="JSON on stdout, no table."),
        click.option("--dry-run", is_flag=True, help="List the cells and what is done, no more."),
        click.option(
            "--cluster",
            metavar="ADDRESS",
            help="Address of a Dask scheduler in place of processes here; 'local' starts --jobs "
            "Dask workers on this machine.",
        ),
        jobs_option(default=1),
        click.option(
            "--out", type=out_path, required=True, help="Folder of results; runs there are kept."
        ),
    ):
        command = option(command)
    return command


def part_of(
    grid: Any,
    graphs: Sequence[str],
    noises: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    methods: Sequence[str],
    protocol: str | None,
) -> Any:
    """Return the part of a grid that the options choose."""
    from graphclean.evaluate.grid import select

    return select(
        grid,
        graph=graphs,
        noise=noises,
        rate=rates,
        seed=seeds,
        method=methods,
        protocol=() if protocol is None else (protocol,),
    )


def show_plan(grid: Any, out: Path, as_json: bool) -> None:
    """Show how many runs of every cell are done."""
    from graphclean.evaluate.grid import missing_runs

    missing = missing_runs(grid, out)
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


def run(grid: Any, out: Path, jobs: int, cluster: str | None, quiet: bool) -> list[Any]:
    """Make the runs that are missing, here or on a cluster, and return all records."""
    from graphclean.evaluate.grid import run_grid

    with _backend(cluster, jobs):
        return run_grid(grid, out, n_jobs=jobs if cluster is None else -1, progress=not quiet)


def exit_with_failures(ctx: click.Context, records: Sequence[Any]) -> None:
    """Name the runs that failed, and end with 1 if there are any."""
    failed = [record for record in records if record["error"] is not None]
    for record in failed:
        where = "{graph} {noise} {rate:g} seed {seed}, {method}".format(**record)
        click.echo(f"Error: {where}: {record['error']}", err=True)
    if failed:
        ctx.exit(1)


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON holds them."""
    return [without_nan(row) for row in table.to_dict(orient="records")]


def _backend(cluster: str | None, jobs: int) -> AbstractContextManager[None]:
    if cluster is None:
        return nullcontext()
    from graphclean.evaluate.grid import on_cluster

    return on_cluster(cluster, None if jobs < 0 else jobs)
