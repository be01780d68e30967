"""Wall and CPU time of alternatives that are run in turn, so that drift meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits

Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Elapsed:
    """Seconds that one run took.

    Attributes:
        wall: On the clock on the wall.
        cpu: Of the process, summed over its threads.
    """

    wall: float
    cpu: float

    def on(self, clock: Clock) -> float:
        """Return the seconds on one of the clocks."""
        return self.wall if clock == "wall" else self.cpu


@dataclass(frozen=True)
class Spread:
    """Median and the 10 % and 90 % quantiles of repeated measurements."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), (0.1, 0.5, 0.9))
        return cls(median=float(middle), p10=float(low), p90=float(high))

    def scaled(self, factor: float) -> Spread:
        """Return the same in other units."""
        return Spread(self.median * factor, self.p10 * factor, self.p90 * factor)


def elapsed(run: Callable[[], Any], device: str = "cpu", repeats: int = 1) -> tuple[Any, Elapsed]:
    """Return the last result of the run and its mean time, until the device had finished."""
    _synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = None
    for _ in range(repeats):
        result = run()
    _synchronise(device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, Elapsed(wall / repeats, cpu / repeats)


def interleaved(
    runs: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str = "cpu",
    repeats: Mapping[str, int] | None = None,
) -> dict[str, list[Elapsed]]:
    """Run everything once per round, each round starting one place further.

    Args:
        runs: What to run, by name.
        rounds: Number of rounds.
        device: ``"cpu"`` or ``"cuda"``.
        repeats: How often a run is repeated within its turn, by name; once if it is not there.

    Returns:
        The times by name, one per round: entry r of two names is from the same few seconds, so
        that the ratio of the two is free of what else the machine did.
    """
    names, many = list(runs), repeats or {}
    times: dict[str, list[Elapsed]] = {name: [] for name in names}
    for turn in range(rounds):
        start = turn % len(names) if names else 0
        for name in names[start:] + names[:start]:
            times[name].append(elapsed(runs[name], device, many.get(name, 1))[1])
    return times


def copy_run(num_bytes: int, device: str) -> Callable[[], Any]:
    """Return a run that copies an array and so moves ``num_bytes``, read and written together."""
    source = torch.ones(max(num_bytes // 8, 1), dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the block on ``count`` threads, in torch and in the BLAS and OpenMP libraries."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
