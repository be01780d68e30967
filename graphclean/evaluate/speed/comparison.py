"""One task on one graph: ours and its peers, ready to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphclean.evaluate.speed.timing import Elapsed, elapsed

OURS = "graphclean"


@dataclass(frozen=True, eq=False)
class Implementation:
    """One way to do the task.

    Attributes:
        name: ``"graphclean"`` for ours, else the peer and its configuration.
        run: Does the task once; this is what is timed.
        check: Returns the arrays to compare with the float64 ones; None if ``run`` returns them
            (one array or several).
        like_for_like: False for a line that is shown without being compared.
        tolerance: Largest accepted error: max |a - b| / max |b| over each array; None for a line
            whose task is another one, so that the float64 result is not its own.
        needs: Bytes that a run is known to take; it is skipped where they are not there.
        note: What a reader must know about it.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[], Any] | None = None
    like_for_like: bool = True
    tolerance: float | None = 1e-5
    needs: int = 0
    note: str = ""


@dataclass(frozen=True)
class Traffic:
    """Bytes that the task moves to and from memory.

    Attributes:
        compulsory: Every input and output once.
        no_reuse: Every neighbour's row fetched anew for every edge.
    """

    compulsory: int
    no_reuse: int


@dataclass(eq=False)
class Comparison:
    """A task with its implementations, ready to be measured.

    Attributes:
        name: Topic and graph, such as ``"spmm/pl200k"``.
        title: The task in words, with its sizes.
        expected: Returns the right result in float64, one array or several.
        implementations: Ours first.
        prepared: Times of conversions, which belong to no run.
        skipped: Why an implementation is not there, by name.
        traffic: Bytes moved, for the bandwidth columns.
        notes: Further lines for the reader, such as a predicted size.
    """

    name: str
    title: str
    expected: Callable[[], Any]
    implementations: list[Implementation] = field(default_factory=list)
    prepared: dict[str, Elapsed] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    traffic: Traffic | None = None
    notes: list[str] = field(default_factory=list)

    def prepare(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what ``make`` returns and note its time on a line of its own."""
        made, self.prepared[name] = elapsed(make)
        return made

    def add(self, name: str, run: Callable[[], Any], **options: Any) -> None:
        """Add an implementation."""
        self.implementations.append(Implementation(name, run, **options))
