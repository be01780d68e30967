"""Says which stage runs, and at the end what each took."""

from __future__ import annotations

import sys
from collections.abc import Callable


class StageClock:
    """Announces every stage as it begins, stages within stages indented, and keeps the times.

    Args:
        say: Takes one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lines: list[tuple[int, str, float]] = []
        self._open: list[int] = []

    def __call__(self, name: str, seconds: float | None) -> None:
        """Receive the beginning (``seconds`` is None) or end of a stage."""
        if seconds is None:
            self._say("  " * len(self._open) + name)
            self._open.append(len(self._lines))
            self._lines.append((len(self._open) - 1, name, 0.0))
        else:
            place = self._open.pop()
            depth, name, _ = self._lines[place]
            self._lines[place] = (depth, name, seconds)

    def summary(self) -> str:
        """Return the seconds of every stage and the peak memory, a line each."""
        lines = [f"{s:9.1f} s  {'  ' * depth}{name}" for depth, name, s in self._lines]
        total = sum(seconds for depth, _, seconds in self._lines if depth == 0)
        memory = "".join(f", {line}" for line in _peak_memory())
        return "\n".join(["Time:", *lines, f"{total:9.1f} s  in all{memory}"])


def _peak_memory() -> list[str]:
    """Return what the largest processes held at most; nothing where the system does not tell."""
    if sys.platform == "win32":
        return []
    import resource

    unit = 2**10 if sys.platform != "darwin" else 1
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    lines = [f"peak memory {own / 2**30:.1f} GiB"]
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return lines + ([f"largest worker {worker / 2**30:.1f} GiB"] if worker else [])
