"""Named stages of a long computation, for whoever wants to know how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, float | None], None]
"""Called with a stage's name and None when it begins, and its seconds when it ends."""

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Tell those who listen that the block begins, and its wall time unless it fails."""
    _tell(name, None)
    began = time.perf_counter()
    yield
    _tell(name, time.perf_counter() - began)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Call ``listener(name, seconds)`` for every stage that begins or ends within the block."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def _tell(name: str, seconds: float | None) -> None:
    for listener in _listeners.get():
        listener(name, seconds)
