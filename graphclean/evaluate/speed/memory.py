"""How much memory a run needs beyond what was there before it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_STATUS, _CLEAR, _MEMINFO = (
    Path("/proc/self/status"),
    Path("/proc/self/clear_refs"),
    Path("/proc/meminfo"),
)


def with_peak(run: Callable[[], Any], device: str = "cpu") -> tuple[Any, int | None]:
    """Run once; return the result and the peak of memory above the start, in bytes.

    On a CPU it is the kernel's own high-water mark of the resident set, reset before the run
    (Linux; None elsewhere); freed memory that the allocator kept is handed back first. On CUDA it
    is the peak of torch's allocator.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        return result, int(torch.cuda.max_memory_allocated() - before)
    _trim()
    start = _reset_peak()
    result = run()
    end = _kibibytes(_STATUS, "VmHWM")
    return result, None if start is None or end is None else max(end - start, 0)


def available(device: str = "cpu") -> int | None:
    """Return the bytes that a run may take without swapping, None where that is not known."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return _kibibytes(_MEMINFO, "MemAvailable")


def _trim() -> None:
    """Hand freed memory back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_peak() -> int | None:
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _kibibytes(_STATUS, "VmRSS")


def _kibibytes(path: Path, field: str) -> int | None:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found.group(1)) * 1024
