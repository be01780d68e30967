"""Check every implementation against float64, then time those that are right, in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from graphclean.evaluate.speed.comparison import OURS, Comparison, Implementation, Traffic
from graphclean.evaluate.speed.memory import available, with_peak
from graphclean.evaluate.speed.timing import (
    Clock,
    Elapsed,
    Spread,
    copy_run,
    elapsed,
    interleaved,
)

_COPY, _BOUND = "copy", "no_reuse_bound"
_LEAST_ROUNDS = 3
_PATIENCE = 6.0
"""Three rounds may take this many times as long as was asked for; else they are two, or one."""
Status = Literal["ok", "wrong", "failed", "skipped"]


@dataclass(frozen=True)
class Row:
    """What was measured of one implementation; times in seconds, memory in bytes.

    Attributes:
        ratio: Time of this row over ours in the same round, on the comparison's clock.
        ratio_by_clock: The same on either clock, medians.
        error: max |a - b| / max |b| against float64, the worst of the arrays.
        first: The first run: warm-up, with the peak of memory.
        bytes_per_second: No-reuse bytes over the median time.
    """

    name: str
    status: Status
    message: str = ""
    like_for_like: bool = True
    error: float | None = None
    first: Elapsed | None = None
    extra_bytes: int | None = None
    wall: Spread | None = None
    cpu: Spread | None = None
    ratio: Spread | None = None
    ratio_by_clock: Mapping[Clock, float] = field(default_factory=dict)
    bytes_per_second: float | None = None


@dataclass(frozen=True)
class Bounds:
    """What memory allows, at the copy rate of the same rounds.

    Attributes:
        copy: Bytes per second of a copy, read and written together.
        compulsory: Seconds to move the compulsory bytes.
        no_reuse: Seconds to move the no-reuse bytes.
        ratio: Time of the no-reuse bound over ours; 1 is the bound, above 1 means reuse in cache.
    """

    copy: Spread
    compulsory: float
    no_reuse: float
    ratio: Spread


@dataclass(frozen=True)
class Measured:
    """Everything measured of one comparison."""

    comparison: Comparison
    clock: Clock
    rounds: int
    rows: tuple[Row, ...]
    bounds: Bounds | None

    @property
    def ratios(self) -> dict[str, float]:
        """Peer time over ours by ``comparison/implementation``; like-for-like rows only."""
        name = self.comparison.name
        found = {
            f"{name}/{row.name}": row.ratio.median
            for row in self.rows
            if row.ratio is not None and row.like_for_like and row.name != OURS
        }
        if self.bounds is not None:
            found[f"{name}/{_BOUND}"] = self.bounds.ratio.median
        return found

    def without_runs(self) -> Measured:
        """Return the same without what the runs hold: graphs, operators, networks."""
        bare = replace(self.comparison, implementations=[], expected=tuple)
        return replace(self, comparison=bare)

    @property
    def errors(self) -> list[str]:
        """One line for every row that is wrong or failed."""
        return [
            f"{self.comparison.name}/{row.name}: {row.message}"
            for row in self.rows
            if row.status in ("wrong", "failed")
        ]


def measure(
    comparison: Comparison,
    *,
    rounds: int,
    seconds: float,
    clock: Clock,
    device: str = "cpu",
    copy_bytes: int = 2**29,
    turn: float = 0.02,
) -> Measured:
    """Check every implementation against float64, then time all that are right in turn.

    Args:
        comparison: The task.
        rounds: Rounds at most.
        seconds: Time that the rounds should take, judged by the first runs. Three rounds are made
            even so, unless they take six times as long: then two, or one.
        clock: Clock of the ratios.
        device: ``"cpu"`` or ``"cuda"``.
        copy_bytes: Bytes that one copy moves, where the bandwidth is measured.
        turn: Seconds that a turn should take; a faster run is repeated within it, since clocks and
            other processes blur what is shorter.
    """
    expected = _arrays(comparison.expected())
    first = {each.name: _first_run(each, expected, device) for each in comparison.implementations}
    del expected
    runs = {
        each.name: each.run
        for each in comparison.implementations
        if first[each.name].status == "ok"
    }
    repeats = {name: _repeats(run, first[name], turn, device) for name, run in runs.items()}
    if comparison.traffic is not None and runs:
        runs[_COPY] = copy_run(copy_bytes, device)
        runs[_COPY]()
    once = sum(row.first.wall for row in first.values() if row.first is not None)
    rounds = _affordable(rounds, seconds, once)
    times = interleaved(runs, rounds, device, repeats)
    rows = [_timed(row, times, clock, comparison.traffic) for row in first.values()]
    rows += [Row(name, "skipped", why) for name, why in comparison.skipped.items()]
    bounds = _bounds(comparison.traffic, times, clock, copy_bytes)
    return Measured(comparison, clock, rounds, tuple(rows), bounds)


def relative_error(found: Any, expected: Any) -> float:
    """Return the worst max |a - b| / max |b| over pairs of arrays; infinite if shapes differ."""
    found, expected = _arrays(found), _arrays(expected)
    if [a.shape for a in found] != [b.shape for b in expected]:
        return float("inf")
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if not b.size:
            continue
        scale = float(np.abs(b).max()) or 1.0
        error = float(np.abs(a.astype(np.float64) - b).max()) / scale
        worst = max(worst, error if error == error else float("inf"))
    return worst


def _first_run(each: Implementation, expected: list[NDArray[Any]], device: str) -> Row:
    free = available(device)
    if free is not None and each.needs > free:
        return Row(
            each.name,
            "skipped",
            f"needs about {each.needs / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
        )
    try:
        (result, time), extra = with_peak(lambda: elapsed(each.run, device), device)
        error = None
        if each.tolerance is not None:
            error = relative_error(result if each.check is None else each.check(), expected)
    except Exception as failure:
        if _out_of_memory(failure):
            return Row(each.name, "skipped", "out of memory")
        return Row(each.name, "failed", f"{type(failure).__name__}: {failure}")
    if error is not None and each.tolerance is not None and not error <= each.tolerance:
        message = f"differs from float64 by {error:.2g}, more than {each.tolerance:.2g}"
        return Row(each.name, "wrong", message, error=error)
    return Row(
        each.name,
        "ok",
        each.note,
        like_for_like=each.like_for_like,
        error=error,
        first=time,
        extra_bytes=extra,
    )


def _timed(
    row: Row, times: Mapping[str, Sequence[Elapsed]], clock: Clock, traffic: Traffic | None
) -> Row:
    mine = times.get(row.name)
    if mine is None:
        return row
    ours = times.get(OURS)
    on_clock = Spread.of([time.on(clock) for time in mine])
    found: dict[str, Any] = {
        "wall": Spread.of([time.wall for time in mine]),
        "cpu": Spread.of([time.cpu for time in mine]),
    }
    if ours is not None:
        found["ratio"] = _ratio(mine, ours, clock)
        found["ratio_by_clock"] = {
            each: _ratio(mine, ours, each).median for each in ("wall", "cpu")
        }
    if traffic is not None:
        found["bytes_per_second"] = traffic.no_reuse / on_clock.median
    return replace(row, **found)


def _affordable(rounds: int, seconds: float, once: float) -> int:
    """Return how many rounds to make if one takes ``once`` seconds."""
    if once <= 0:
        return rounds
    least = min(_LEAST_ROUNDS, int(_PATIENCE * seconds / once))
    return min(rounds, max(int(seconds / once), least, 1))


def _repeats(run: Callable[[], Any], first: Row, turn: float, device: str) -> int:
    if first.first is None or first.first.wall > turn:
        return 1
    return math.ceil(turn / max(elapsed(run, device)[1].wall, 1e-6))


def _ratio(theirs: Sequence[Elapsed], ours: Sequence[Elapsed], clock: Clock) -> Spread:
    return Spread.of(
        [a.on(clock) / max(b.on(clock), 1e-9) for a, b in zip(theirs, ours, strict=True)]
    )


def _bounds(
    traffic: Traffic | None,
    times: Mapping[str, Sequence[Elapsed]],
    clock: Clock,
    copy_bytes: int,
) -> Bounds | None:
    copies, ours = times.get(_COPY), times.get(OURS)
    if traffic is None or copies is None or ours is None:
        return None
    rates = [copy_bytes / max(copy.on(clock), 1e-9) for copy in copies]
    rate = Spread.of(rates)
    ratio = [
        traffic.no_reuse / r / max(time.on(clock), 1e-9)
        for r, time in zip(rates, ours, strict=True)
    ]
    return Bounds(
        rate, traffic.compulsory / rate.median, traffic.no_reuse / rate.median, Spread.of(ratio)
    )


def _arrays(result: Any) -> list[NDArray[Any]]:
    many = result if isinstance(result, (list, tuple)) else [result]
    return [
        each.detach().cpu().numpy() if isinstance(each, torch.Tensor) else np.asarray(each)
        for each in many
    ]


def _out_of_memory(failure: Exception) -> bool:
    told = str(failure).lower()
    return isinstance(failure, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(failure, RuntimeError) and "alloc" in told and "memory" in told
    )
