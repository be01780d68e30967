"""The grid is killed, and goes on as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphclean.evaluate.grid import (
    Learner,
    Method,
    load_records,
    make_grid,
    on_cluster,
    run_grid,
)
from graphclean.types import InputError

TIMES = ("seconds", "cpu_seconds", "probs_cpu_seconds", "peak_mb")
SGC = Learner("sgc", "sgc", {"epochs": 20, "val_fraction": 0.0, "patience": None})
SLOW = {"draws": 1, "hops": 1, "feature_view": False}
GRID = make_grid(
    ["karateclub"],
    seeds=[0, 1, 2],
    methods=[
        Method("self-confidence", "self_confidence", probs="sgc"),
        Method("graphcleaner", "graphcleaner", SLOW, "sgc"),
    ],
    learners=[SGC],
)


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    records = run_grid(GRID, tmp_path_factory.mktemp("undisturbed"), progress=False)
    assert [record["error"] for record in records] == [None] * 6
    return timeless(records)


def wait_for(out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(list((out / "runs").glob("*.json"))) < count:
        assert time.monotonic() < end, "no further record appeared"
        time.sleep(0.005)


def test_kill_9_at_random_moments_and_resume(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    # A fork server imports the libraries once; every child is a process of its own.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["graphclean.evaluate.grid"])
    moments = np.random.default_rng(0)
    kept: dict[str, bytes] = {}
    for finished in (1, 3):
        process = context.Process(
            target=run_grid, args=(GRID, tmp_path), kwargs={"progress": False}
        )
        process.start()
        wait_for(tmp_path, finished)
        time.sleep(moments.uniform(0.0, 0.1))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        for name, content in kept.items():
            assert (tmp_path / "runs" / name).read_bytes() == content
        kept = {path.name: path.read_bytes() for path in (tmp_path / "runs").glob("*.json")}
        assert finished <= len(kept) < 6
        assert len(load_records(tmp_path, GRID)) == len(kept)
    assert timeless(run_grid(GRID, tmp_path, progress=False)) == undisturbed
    for name, content in kept.items():
        assert (tmp_path / "runs" / name).read_bytes() == content


@pytest.mark.filterwarnings("ignore")
def test_a_killed_dask_worker_loses_nothing(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'scale' is not installed")
    with on_cluster("local", 2):
        workers = list(distributed.default_client().run(os.getpid).values())
        assert len(set(workers)) == 2
        kept: dict[str, int] = {}

        def kill() -> None:
            wait_for(tmp_path, 1)
            for path in (tmp_path / "runs").glob("*.json"):
                kept[path.name] = path.stat().st_mtime_ns
            os.kill(workers[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        records = run_grid(GRID, tmp_path, n_jobs=-1, progress=False)
        killer.join()
        left = set(distributed.default_client().run(os.getpid).values())
    assert timeless(records) == undisturbed
    assert workers[0] not in left
    assert kept
    for name, stamp in kept.items():
        assert (tmp_path / "runs" / name).stat().st_mtime_ns == stamp


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there_is_named() -> None:
    distributed = pytest.importorskip("distributed", reason="the extra 'scale' is not installed")
    dask = pytest.importorskip("dask")
    assert distributed.__version__
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(InputError, match=r"cluster: tcp://127\.0\.0\.1:9"),
        on_cluster("tcp://127.0.0.1:9"),
    ):
        pass
