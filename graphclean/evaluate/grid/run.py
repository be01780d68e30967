"""Run a grid: every missing run, on any number of processes or machines."""

from __future__ import annotations

import os
import warnings
from collections import deque
from contextlib import closing
from pathlib import Path

from joblib import Parallel, delayed

from graphclean.evaluate.grid.cell_runs import run_cell
from graphclean.evaluate.grid.methods import Entry
from graphclean.evaluate.grid.plan import Cell, Grid
from graphclean.evaluate.grid.progress import shown_progress
from graphclean.evaluate.grid.store import (
    Record,
    is_done,
    key_of,
    load_records,
    record_path,
)


def missing_runs(grid: Grid, out: str | os.PathLike[str]) -> dict[Cell, tuple[Entry, ...]]:
    """Return what has no record yet in every cell, or one of an error."""
    folder = Path(out)
    missing = {
        cell: tuple(m for m in grid.entries if not is_done(folder, key_of(grid, cell, m)))
        for cell in grid.cells
    }
    return {cell: methods for cell, methods in missing.items() if methods}


def run_grid(
    grid: Grid, out: str | os.PathLike[str], *, n_jobs: int | None = 1, progress: bool = True
) -> list[Record]:
    """Make every run of a grid that is missing in a folder, and return all its records.

    A task is one cell with its missing methods: the graph is loaded, the noise drawn and a learner
    fitted once. Every finished run is one file, ``runs/<key>.json``, that appears whole; the
    probabilities lie in ``oof/``. So whatever stops the grid, nothing but the method in progress is
    lost, and the same call goes on from there. A run that fails is recorded with its error, and
    made again by the next call. The records, times aside, do not depend on ``n_jobs``.

    ``joblib.parallel_config`` chooses the backend; workers on other machines need the folder, and
    ``GRAPHCLEAN_DATA``, on a file system that all of them share. Workers must be processes with one
    thread for tasks each.

    Args:
        grid: What to run.
        out: Folder of the results; made if need be.
        n_jobs: Processes; -1 for all cores.
        progress: Whether to show runs done and time left on standard error.

    Raises:
        KeyboardInterrupt: Ctrl-C; finished runs are kept.
    """
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    missing = missing_runs(grid, folder)
    awaited = [
        record_path(folder, key_of(grid, cell, method))
        for cell, methods in missing.items()
        for method in methods
    ]
    tasks = (delayed(run_cell)(grid, cell, methods, folder) for cell, methods in missing.items())
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    with (
        shown_progress(awaited, grid.runs - len(awaited), progress=progress),
        warnings.catch_warnings(),
    ):
        # What is in progress when Ctrl-C ends the grid is lost, and made by the next call.
        warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning)
        with closing(parallel(tasks)) as results:
            deque(results, maxlen=0)
    return load_records(folder, grid)
