"""The whole speed benchmark: every comparison of a plan, one after the other in one process."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm.auto import tqdm

from graphclean.evaluate.speed.cases import Cases
from graphclean.evaluate.speed.measure import Measured, measure
from graphclean.evaluate.speed.plan import Size, steps
from graphclean.evaluate.speed.timing import Clock, threads
from graphclean.sparse import backend_info
from graphclean.types import InputError, check_seed

_SECONDS = 15.0
"""Time that the rounds of one comparison should take; slow peers may take six times as long."""

_TURN: Mapping[str, float] = {"small": 0.0, "default": 0.02, "products": 0.02}
_COPY_BYTES: Mapping[str, int] = {"small": 2**22, "default": 2**29, "products": 2**31}
_LIBRARIES = (
    "torch",
    "torch-geometric",
    "numpy",
    "scipy",
    "scikit-learn",
    "networkx",
    "torch-scatter",
)
_IDLE = 0.5


@dataclass(frozen=True)
class SpeedReport:
    """What a run of the speed benchmark measured.

    Attributes:
        settings: Size, rounds, seed, threads, device and clock of the run.
        machine: Processor, memory, versions, sparse backend, load average before and after.
        measured: Every comparison, in order.
        left_out: Why a comparison of the plan was not made, by name.
    """

    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    measured: tuple[Measured, ...]
    left_out: Mapping[str, str]

    @property
    def ratios(self) -> dict[str, float]:
        """Peer time over ours, by ``topic/graph/peer``."""
        return {name: value for each in self.measured for name, value in each.ratios.items()}

    @property
    def errors(self) -> list[str]:
        """One line for every implementation that is wrong or failed."""
        return [line for each in self.measured for line in each.errors]


def run_speed(
    size: Size = "default",
    *,
    graphs: Sequence[str] = (),
    only: Sequence[str] = (),
    rounds: int = 7,
    thread_count: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> SpeedReport:
    """Measure our paths and their peers on the same graphs, in turn, in this process.

    Every result is compared with float64 before it is timed. A ratio is the median over rounds of
    peer time over ours within one round: by wall clock on several threads or CUDA, by CPU time of
    the process on one thread, where other processes then hardly matter.

    Args:
        size: ``"small"`` (seconds), ``"default"`` (minutes) or ``"products"`` (124M entries).
        graphs: Graphs in place of the size's own: synthetic or named ones.
        only: Topics or comparisons to keep; empty for all.
        rounds: Rounds at most; slow comparisons make fewer: mostly three, one at least.
        thread_count: Threads of torch, BLAS and OpenMP; None for all cores.
        seed: Seed of the graphs, features and labels.
        device: ``"cpu"`` or ``"cuda"``.
        progress: Whether to show a progress bar on standard error.

    Raises:
        InputError: An argument names nothing that is there, or is out of range.
    """
    if rounds < 1:
        raise InputError("rounds", rounds, "Pass a positive integer.")
    if thread_count is not None and thread_count < 1:
        raise InputError("threads", thread_count, "Pass a positive integer, or None for all cores.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", device, "torch finds no CUDA device here: use 'cpu'.")
    check_seed(seed)
    planned, left_out = steps(size, graphs, only, device)
    count = thread_count or int(joblib.cpu_count())
    clock: Clock = "cpu" if device == "cpu" and count == 1 else "wall"
    load = _load()
    cases, measured = Cases(seed), []
    # Dropout draws from torch's global generator.
    with threads(count), torch.random.fork_rng(), _only_new_garbage():
        torch.default_generator.manual_seed(seed)
        with tqdm(planned, disable=not progress, unit="task") as bar:
            for step in bar:
                bar.set_description(step.name)
                gc.collect()  # what the last task left behind is no part of this one's memory
                found = measure(
                    step.build(cases.get(step.graph), device),
                    rounds=rounds,
                    seconds=_SECONDS,
                    clock=clock,
                    device=device,
                    copy_bytes=_COPY_BYTES[size],
                    turn=_TURN[size],
                )
                measured.append(found.without_runs())
        backend = backend_info()
    settings = {
        "size": size,
        "graphs": list(graphs),
        "only": list(only),
        "rounds": rounds,
        "seed": seed,
        "threads": count,
        "device": device,
        "clock": clock,
    }
    machine = _machine(device) | {
        "sparse_backend": backend,
        "load_before": load,
        "load_after": _load(),
        "busy": load is not None and load[0] > _IDLE,
    }
    return SpeedReport(settings, machine, tuple(measured), left_out)


@contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Keep the collector off the objects of the imported libraries: 0.3 s a collection."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _machine(device: str) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": int(joblib.cpu_count()),
        "accelerator": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("graphclean", *_LIBRARIES)},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _load() -> list[float] | None:
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
