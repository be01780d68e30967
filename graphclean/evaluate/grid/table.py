"""Records as a table, one row a run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from graphclean.evaluate.grid.store import Record

CELL = ("graph", "noise", "rate", "seed", "protocol", "method")
COST = ("seconds", "cpu_seconds", "probs_cpu_seconds", "peak_mb")


def results_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row a run.

    Columns: ``graph``, ``noise``, ``rate``, ``seed``, ``protocol``, ``method``; ``detector``,
    ``probs`` (the learners, joined by ``+``), ``calibrated``; every score; ``seconds`` (wall) and
    ``cpu_seconds`` of the detector, ``probs_cpu_seconds`` of the learners it read, ``peak_mb`` (MiB
    beyond what the process held before); ``error`` (None for a run that ended well). Numbers that
    are missing, and all of a failed run, are NaN.
    """
    rows = [_row(record) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    tail = [*COST, "error"]
    order = [*CELL, "detector", "probs", "calibrated"]
    order += [name for name in names if name not in (*order, *tail)]
    frame = pd.DataFrame(rows, columns=pd.Index([*order, *tail]))
    numbers = frame.columns.difference(["error", "calibrated", *CELL, "detector", "probs"])
    frame[numbers] = frame[numbers].astype(np.float64)
    return frame


def _row(record: Record) -> dict[str, object]:
    return {
        **{name: record[name] for name in (*CELL, "detector", "calibrated", *COST, "error")},
        "probs": "+".join(record["probs"]),
        **record["scores"],
    }
