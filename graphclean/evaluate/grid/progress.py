"""A progress bar over runs, by the files that workers leave as they finish."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

_INTERVAL = 1.0
"""Seconds between two looks."""


@contextmanager
def shown_progress(awaited: Iterable[Path], done: int, *, progress: bool) -> Iterator[None]:
    """Show within the block how many files have been written, and the time left.

    Workers on other machines cannot call back, but their records appear in the shared folder.

    Args:
        awaited: Files that will be written or overwritten.
        done: Runs that had been finished before.
        progress: Whether to show anything.
    """
    if not progress:
        yield
        return
    left = {path: _stamp(path) for path in awaited}
    stop = threading.Event()
    with tqdm(total=done + len(left), initial=done, unit="run", smoothing=0) as bar:

        def look() -> None:
            written = [path for path, stamp in left.items() if _stamp(path) != stamp]
            for path in written:
                del left[path]
            bar.update(len(written))

        def watch() -> None:
            while not stop.wait(_INTERVAL):
                look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            look()


def _stamp(path: Path) -> int | None:
    """Return when the file was last replaced, None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
