"""Edges sorted by row and column on disk: what turns a stream of edges of any length into CSR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

MAX_NODES = 2**31 - 1
"""Node ids fit 31 bits, so that an edge is one 63-bit key and a column an int32."""

_STRIDE = 1024
_BYTES_PER_ENTRY = {False: 48, True: 112}
"""Working memory of one entry while a run is sorted, unweighted and weighted."""


class EdgeSorter:
    r"""External merge sort of matrix entries by (row, column), with duplicates merged.

    An entry is the key ``row << 32 | column << 1 | mirrored``. Entries collect in a buffer; a full
    buffer is sorted, merged and written as a *run*; the runs are then read in step, one range of
    keys after the other, so that neither the edges nor the longest row are ever held at once.

    Unweighted duplicates count once. The weights of duplicates are summed in the order in which
    they came; where an entry came from both directions of an undirected graph (``mirrored`` and
    not) the larger of the two sums counts, as in ``graphclean.check``.

    Args:
        folder: Empty folder for the runs.
        memory: Working memory in bytes.
        weighted: Whether entries carry weights.
    """

    def __init__(self, folder: Path, memory: int, *, weighted: bool) -> None:
        self.folder = folder
        self.weighted = weighted
        self.capacity = max(memory // _BYTES_PER_ENTRY[weighted], 2)
        self._keys = np.empty(self.capacity, dtype=np.int64)
        self._weights = np.empty(self.capacity if weighted else 0)
        self._filled = 0
        self._runs: list[_Run] = []

    @property
    def entries(self) -> int:
        """Entries in the runs; complete after `flush`."""
        return sum(run.length for run in self._runs)

    @property
    def done(self) -> int:
        """Entries of the runs that `merged` has read."""
        return sum(run.position for run in self._runs)

    def add(
        self, row: np.ndarray, column: np.ndarray, weight: np.ndarray | None, mirror: bool
    ) -> None:
        """Take entries: rows and columns int64 ``[E]``, weights float64 ``[E]`` or None.

        With ``mirror`` also those with row and column exchanged, always into the same run: both
        directions then sum the same weights in the same order, to the same bits.
        """
        start = 0
        while start < len(row):
            room = (self.capacity - self._filled) // (1 + mirror)
            if not room:
                self.flush()
                continue
            part = slice(start, min(start + room, len(row)))
            self._fill(row[part], column[part], weight, part, 0)
            if mirror:
                self._fill(column[part], row[part], weight, part, int(self.weighted))
            start = part.stop

    def _fill(
        self,
        row: np.ndarray,
        column: np.ndarray,
        weight: np.ndarray | None,
        part: slice,
        flag: int,
    ) -> None:
        to = slice(self._filled, self._filled + len(row))
        keys = self._keys[to]
        np.left_shift(row, 32, out=keys)
        keys |= (column << 1) | flag
        if weight is not None:
            self._weights[to] = weight[part]
        self._filled = to.stop

    def flush(self) -> None:
        """Write what the buffer holds as a run."""
        if self._filled:
            keys, weights = self._keys[: self._filled], self._weights[: self._filled]
            self._runs.append(_Run(self.folder, len(self._runs), *_merge(keys, weights)))
            self._filled = 0

    def merged(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield rows, columns and weights of consecutive blocks, sorted, without duplicates."""
        self.flush()
        self._keys, self._weights = np.empty(0, np.int64), np.empty(0)
        samples = np.sort(np.concatenate([np.empty(0, np.int64)] + [r.samples for r in self._runs]))
        step = max(self.capacity // (2 * _STRIDE), 1)
        # A cut keeps both directions of an entry together; a block overshoots by a stride a run.
        cuts = [*np.unique(samples[step::step] & ~1).tolist(), np.iinfo(np.int64).max]
        for cut in cuts:
            parts = [run.read_until(cut) for run in self._runs]
            keys, weights = _merge(
                np.concatenate([np.empty(0, np.int64)] + [part[0] for part in parts]),
                np.concatenate([np.empty(0)] + [part[1] for part in parts]),
            )
            if self.weighted:
                keys, weights = _both_directions(keys, weights)
            if len(keys):
                columns = ((keys & 0xFFFFFFFF) >> 1).astype(np.int32)
                yield keys >> 32, columns, weights if self.weighted else None


class _Run:
    """One sorted file of keys, and of weights if there are any, read from front to back."""

    def __init__(self, folder: Path, number: int, keys: np.ndarray, weights: np.ndarray) -> None:
        self.length = len(keys)
        self.samples = keys[::_STRIDE].copy()
        self.position = 0
        self.weighted = len(weights) > 0
        self.key_file, self.weight_file = folder / f"{number}.keys", folder / f"{number}.weights"
        keys.tofile(self.key_file)
        if self.weighted:
            weights.tofile(self.weight_file)

    def read_until(self, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys below ``cut`` that were not read yet, and their weights."""
        end = min(int(np.searchsorted(self.samples, cut)) * _STRIDE, self.length)
        offset, count = 8 * self.position, end - self.position
        keys = np.fromfile(self.key_file, np.int64, count, offset=offset)
        keys = keys[: int(np.searchsorted(keys, cut))]
        self.position += len(keys)
        if not self.weighted:
            return keys, np.empty(0)
        return keys, np.fromfile(self.weight_file, np.float64, len(keys), offset=offset)


def _merge(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort by key and merge equal keys: weights, where there are any, are summed in order."""
    if len(weights):
        order = np.argsort(keys, kind="stable")
        keys, weights = keys[order], weights[order]
    else:
        keys.sort()
    first = _starts(keys)
    if len(weights):
        weights = np.add.reduceat(weights, np.flatnonzero(first))
    return keys[first], weights


def _both_directions(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge the two directions of an entry by the larger weight; drop entries of weight zero."""
    first = _starts(keys >> 1)
    if len(weights):
        weights = np.maximum.reduceat(weights, np.flatnonzero(first))
    kept = weights > 0
    return keys[first][kept], weights[kept]


def _starts(keys: np.ndarray) -> np.ndarray:
    """Return where a new key begins, bool."""
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return first
