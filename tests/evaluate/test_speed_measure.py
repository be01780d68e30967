"""The measuring itself, on a clock that the test moves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from graphclean.evaluate.speed import timing
from graphclean.evaluate.speed.comparison import OURS, Comparison, Traffic
from graphclean.evaluate.speed.measure import Measured, measure, relative_error
from graphclean.evaluate.speed.memory import available, with_peak
from graphclean.evaluate.speed.timing import Elapsed, Spread, interleaved, threads

RIGHT = np.array([1.0, -2.0, 4.0])


class FakeTime:
    """A clock that runs move; ``drift`` slows everything down from call to call."""

    def __init__(self) -> None:
        self.now, self.drift = 100.0, 1.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now * 2

    def taking(self, seconds: float, result: Any = RIGHT) -> Callable[[], Any]:
        def run() -> Any:
            self.now += seconds * self.drift
            return result

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(timing, "time", fake)
    return fake


def measured(comparison: Comparison, rounds: int = 5, **options: Any) -> Measured:
    settings: dict[str, Any] = {"seconds": 1e9, "clock": "wall", "turn": 0.0, "copy_bytes": 1024}
    return measure(comparison, rounds=rounds, **{**settings, **options})


def comparison(**options: Any) -> Comparison:
    return Comparison("task/graph", "a task", expected=lambda: RIGHT, **options)


def test_a_ratio_is_peer_time_over_ours(clock: FakeTime) -> None:
    task = comparison()
    task.add(OURS, clock.taking(2.0))
    task.add("slow", clock.taking(6.0))
    task.add("fast", clock.taking(1.0))
    task.add("beside", clock.taking(1.0), like_for_like=False)
    found = measured(task)
    assert found.ratios == {"task/graph/slow": 3.0, "task/graph/fast": 0.5}
    assert found.errors == []
    rows = {row.name: row for row in found.rows}
    assert rows["slow"].wall == Spread(6.0, 6.0, 6.0)
    assert rows["slow"].cpu == Spread(12.0, 12.0, 12.0)
    assert rows["slow"].ratio_by_clock == {"wall": 3.0, "cpu": 3.0}
    assert rows["slow"].first == Elapsed(6.0, 12.0)
    assert rows["beside"].ratio == Spread(0.5, 0.5, 0.5)


def test_drift_between_rounds_cancels(clock: FakeTime) -> None:
    task = comparison()
    task.add(OURS, clock.taking(2.0))
    peer = clock.taking(6.0)
    turns: list[int] = []

    def slowing() -> Any:
        turns.append(1)
        clock.drift = 1.0 + len(turns) // 2
        return peer()

    task.add("peer", peer)
    task.add("last_of_every_other_round", slowing)
    found = measured(task, rounds=3)
    (row,) = [row for row in found.rows if row.name == "peer"]
    assert row.wall is not None
    assert row.ratio is not None
    assert row.wall.p90 > row.wall.p10
    assert row.ratio.median == 3.0


def test_rounds_start_one_place_further_each() -> None:
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}
    times = interleaved(runs, 3, repeats={"b": 2})
    assert "".join(order) == "abbc" + "bbca" + "cabb"
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_repeats_within_a_turn_are_averaged(clock: FakeTime) -> None:
    task = comparison()
    task.add(OURS, clock.taking(0.001))
    found = measured(task, turn=0.01)
    assert found.rows[0].wall is not None
    assert found.rows[0].wall.median == pytest.approx(0.001)
    calls = round((clock.now - 100.0) / 0.001)
    assert calls == 2 + 5 * 10  # first run, one more to judge by, five turns of ten


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [(1e9, 9), (40.0, 5), (8.0, 3), (4.0, 3), (3.0, 2), (0.5, 1)],
)
def test_slow_comparisons_make_fewer_rounds(clock: FakeTime, seconds: float, rounds: int) -> None:
    task = comparison()
    task.add(OURS, clock.taking(2.0))
    task.add("peer", clock.taking(6.0))
    found = measured(task, rounds=9, seconds=seconds)
    assert found.rounds == rounds
    assert found.ratios == {"task/graph/peer": 3.0}
    assert clock.now == 100.0 + (rounds + 1) * 8.0


def fails(error: Exception) -> Callable[[], Any]:
    def run() -> Any:
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "status", "told"),
    [
        (lambda: RIGHT + 1e-3, "wrong", "differs from float64 by 0.00025"),
        (lambda: RIGHT * np.nan, "wrong", "inf"),
        (lambda: RIGHT[:2], "wrong", "inf"),
        (lambda: [RIGHT, RIGHT], "wrong", "inf"),
        (fails(ZeroDivisionError("by zero")), "failed", "ZeroDivisionError: by zero"),
        (fails(MemoryError()), "skipped", "out of memory"),
        (
            fails(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")),
            "skipped",
            "out of memory",
        ),
    ],
)
def test_only_what_is_right_is_timed(run: Callable[[], Any], status: str, told: str) -> None:
    task = comparison(skipped={"absent": "not installed"})
    task.add(OURS, lambda: RIGHT)
    task.add("peer", run)
    found = measured(task)
    row = next(row for row in found.rows if row.name == "peer")
    assert (row.status, row.wall, row.ratio) == (status, None, None)
    assert told in row.message
    assert found.ratios == {}
    expected = [] if status == "skipped" else [f"task/graph/peer: {row.message}"]
    assert found.errors == expected
    assert found.rows[-1].message == "not installed"


def test_without_ours_there_is_no_ratio() -> None:
    task = comparison(traffic=Traffic(10, 100))
    task.add(OURS, lambda: RIGHT + 1)
    task.add("peer", lambda: RIGHT)
    found = measured(task)
    assert (found.ratios, found.bounds, len(found.errors)) == ({}, None, 1)


def test_a_check_stands_in_for_a_run_that_returns_nothing() -> None:
    task = comparison()
    task.add(OURS, lambda: None, check=lambda: RIGHT)
    task.add("wrong", lambda: RIGHT, check=lambda: RIGHT + 1)
    task.add("another_task", lambda: "labels", tolerance=None)
    assert [row.status for row in measured(task).rows] == ["ok", "wrong", "ok"]


@pytest.mark.skipif(available() is None, reason="the free memory is known on Linux only")
def test_what_does_not_fit_is_not_run() -> None:
    task = comparison()
    task.add(OURS, lambda: RIGHT)
    task.add("large", fails(AssertionError("it ran")), needs=2**60)
    row = measured(task).rows[1]
    assert row.status == "skipped"
    assert "needs about 1073741824.0 GiB" in row.message


def test_bounds_are_bytes_at_the_copy_rate_of_the_round(
    clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = comparison(traffic=Traffic(compulsory=500, no_reuse=4_000))
    task.add(OURS, clock.taking(4.0))
    monkeypatch.setattr(
        "graphclean.evaluate.speed.measure.copy_run", lambda count, device: clock.taking(0.5)
    )
    found = measured(task, copy_bytes=1_000)
    assert found.bounds is not None
    assert found.bounds.copy.median == 2_000.0
    assert (found.bounds.compulsory, found.bounds.no_reuse) == (0.25, 2.0)
    assert found.ratios == {"task/graph/no_reuse_bound": 0.5}
    assert found.rows[0].bytes_per_second == 1_000.0


def test_relative_error_is_by_the_largest_entry_and_the_worst_array() -> None:
    exact = [np.array([10.0, 1.0]), np.zeros(2)]
    assert relative_error([np.array([10.0, 1.5]), np.zeros(2)], exact) == 0.05
    assert relative_error([exact[0], np.array([0.0, 0.3])], exact) == 0.3
    assert relative_error(torch.ones(2, requires_grad=True), np.ones(2)) == 0.0
    assert relative_error([], []) == 0.0
    assert relative_error(np.ones((0, 3)), np.ones((0, 3))) == 0.0


def test_spread_holds_quantiles() -> None:
    spread = Spread.of(np.arange(11.0))
    assert (spread.median, spread.p10, spread.p90) == (5.0, 1.0, 9.0)
    assert spread.scaled(2.0) == Spread(10.0, 2.0, 18.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read on Linux only")
def test_peak_counts_what_a_run_held_and_gave_back() -> None:
    size = 64 * 2**20
    result, extra = with_peak(lambda: float(np.ones(size // 8).sum()))
    assert result == size / 8
    assert extra is not None
    assert 0.9 * size < extra < 1.5 * size
    _, little = with_peak(lambda: 1 + 1)
    assert little is not None
    assert little < size / 4


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before
