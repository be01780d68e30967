"""Graphs as folders of plain arrays that are mapped into memory instead of read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import torch

from graphclean.sparse.adjacency import Adjacency
from graphclean.types import InputError

if TYPE_CHECKING:
    from torch_geometric.data import Data

FORMAT, VERSION = "graphclean.csr", 1
META = "meta.json"
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class CsrFolder:
    """A graph on disk, as ``graphclean convert`` writes it.

    ======================  ==========================================================
    ``meta.json``           format and version, ``num_nodes``, ``num_edges`` (entries: an undirected
                            edge counts twice), ``symmetric``, ``weighted``, what was ``read``,
                            the size of every file
    ``indptr.npy``          int64 ``[N + 1]``: row i has the entries ``indptr[i]:indptr[i + 1]``
    ``indices.npy``         int32 ``[E]``: the sources of the edges that point at i, ascending
    ``weights.npy``         float64 ``[E]``, of weighted graphs
    ``ids.parquet``         column ``id`` ``[N]``, where nodes have other ids than 0..N-1
    ======================  ==========================================================

    There are no self-loops and no parallel edges. Arrays are mapped read-only: memory is used for
    the parts that are being worked on.

    Attributes:
        path: The folder.
        meta: What ``meta.json`` says.
        indptr: int64 ``[N + 1]``.
        indices: int32 ``[E]``.
        weights: float64 ``[E]``, or None.
    """

    path: Path
    meta: dict[str, Any]
    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray | None

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return len(self.indptr) - 1

    def ids(self) -> list[Any] | None:
        """Return the ids of the nodes in node order; None if they are 0..N-1."""
        if "ids.parquet" not in self.meta["files"]:
            return None
        with _reading(self.path):
            ids: list[Any] = pq.read_table(self.path / "ids.parquet")["id"].to_pylist()
        return ids

    def to_data(self) -> Data:
        """Return the edges in memory, as PyG ``Data``, to set ``x`` and ``y`` on.

        ``edge_index`` is int64 ``[2, E]``, ``edge_weight`` float32 ``[E]`` if there are weights,
        ``node_ids`` the ids if they are not 0..N-1.
        """
        from torch_geometric.data import Data

        row = torch.arange(self.num_nodes).repeat_interleave(torch.from_numpy(np.diff(self.indptr)))
        source = torch.from_numpy(self.indices.astype(np.int64))
        data = Data(edge_index=torch.stack([source, row]), num_nodes=self.num_nodes)
        if self.weights is not None:
            data.edge_weight = torch.from_numpy(self.weights.astype(np.float32))
        ids = self.ids()
        if ids is not None:
            data.node_ids = ids
        return data

    def adjacency(self) -> Adjacency:
        """Return the adjacency over the mapped arrays; nothing of the size of E is allocated.

        Without weights the values of ``matrix`` are a single 1.0 with stride zero. ``matrix`` is
        made for reading: what SciPy computes with it may copy its values.
        """
        size = len(self.indices)
        matrix = sp.csr_array((self.num_nodes, self.num_nodes), dtype=np.float64)
        # Set one by one: the constructor widens the columns where indptr needs 64 bits.
        matrix.indptr = self.indptr.astype(np.int32) if size <= _INT32_MAX else self.indptr
        matrix.indices = self.indices
        matrix.data = np.broadcast_to(1.0, size) if self.weights is None else self.weights
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        return Adjacency(
            matrix, weighted=self.weights is not None, is_symmetric=self.meta["symmetric"]
        )


def open_csr(folder: str | Path) -> Adjacency:
    """Open a folder that ``graphclean convert`` wrote as an adjacency over memory-mapped arrays.

    `MappedPropagator` and `NeighbourSampler` work on it without loading it. `CsrFolder` describes
    the files and, through ``read_csr(folder).ids()``, gives the ids of the nodes.

    Raises:
        InputError: No such folder, a file that is missing or has another size than when it was
            written, or another format.
    """
    return read_csr(folder).adjacency()


def read_csr(folder: str | Path) -> CsrFolder:
    """Open the files of a graph; see `open_csr`."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError("folder", str(folder), "There is no such folder: write it with convert.")
    with _reading(path):
        meta = json.loads((path / META).read_bytes())
        if (meta["format"], meta["version"]) != (FORMAT, VERSION):
            raise ValueError(f"{META} is not of {FORMAT} version {VERSION}")
        for name, size in meta["files"].items():
            if (path / name).stat().st_size != size:
                raise ValueError(f"{name} has another size than when it was written")
        nodes, edges = int(meta["num_nodes"]), int(meta["num_edges"])
        indptr = _mapped(path / "indptr.npy", np.int64, nodes + 1)
        indices = _mapped(path / "indices.npy", np.int32, edges)
        weights = _mapped(path / "weights.npy", np.float64, edges) if meta["weighted"] else None
        if (
            int(indptr[0]) != 0
            or int(indptr[-1]) != edges
            or not isinstance(meta["symmetric"], bool)
        ):
            raise ValueError(f"the arrays do not fit {META}")
    return CsrFolder(path, meta, indptr, indices, weights)


class CsrWriter:
    """Writes the files of a graph from front to back, row blocks in order.

    Args:
        folder: Existing empty folder.
        weighted: Whether entries carry weights.
        symmetric: Whether every edge runs both ways.
    """

    def __init__(self, folder: Path, *, weighted: bool, symmetric: bool) -> None:
        self.folder = folder
        self.weighted, self.symmetric = weighted, symmetric
        self._counts: list[tuple[int, np.ndarray]] = []
        self._indices = _ArrayFile(folder / "indices.npy", np.dtype(np.int32))
        self._weights = _ArrayFile(folder / "weights.npy", np.dtype(np.float64), weighted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._indices.close()
        self._weights.close()

    def append(self, row: np.ndarray, column: np.ndarray, weight: np.ndarray | None) -> None:
        """Write the next entries, sorted by row and column and after all earlier ones."""
        first = int(row[0])
        self._counts.append((first, np.bincount(row - first)))
        self._indices.append(column)
        if weight is not None:
            self._weights.append(weight)

    def finish(self, num_nodes: int, ids: pa.Array | None, read: dict[str, int]) -> None:
        """Write what is known at the end: number and ids of nodes, counts of what was read."""
        indptr = np.zeros(num_nodes + 1, dtype=np.int64)
        for first, count in self._counts:
            indptr[first + 1 : first + 1 + len(count)] += count
        np.cumsum(indptr, out=indptr)
        np.save(self.folder / "indptr.npy", indptr, allow_pickle=False)
        self._indices.close()
        self._weights.close()
        if ids is not None:
            pq.write_table(pa.table({"id": ids}), self.folder / "ids.parquet")
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "num_nodes": num_nodes,
            "num_edges": int(indptr[-1]),
            "indices": "int32",
            "weighted": self.weighted,
            "symmetric": self.symmetric,
            "read": read,
            "files": {file.name: file.stat().st_size for file in sorted(self.folder.iterdir())},
        }
        (self.folder / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


class _ArrayFile:
    """A ``.npy`` file of one dimension whose length is known at the end."""

    def __init__(self, path: Path, dtype: np.dtype[Any], wanted: bool = True) -> None:
        self.dtype, self.length = dtype, 0
        self._file: BinaryIO | None = path.open("wb") if wanted else None
        self._header()
        self._data_start = self._file.tell() if self._file else 0

    def append(self, values: np.ndarray) -> None:
        assert self._file is not None
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        if self._file is not None and not self._file.closed:
            self._file.seek(0)
            self._header()
            assert self._file.tell() == self._data_start
            self._file.close()

    def _header(self) -> None:
        # NumPy pads the header so that the first dimension may grow in place.
        if self._file is not None:
            described = {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.length,),
            }
            np.lib.format.write_array_header_1_0(self._file, described)


def _mapped(path: Path, dtype: type, length: int) -> np.ndarray:
    """Return a file's array, mapped read-only; an empty array, which cannot be mapped, is read."""
    array: np.ndarray = np.load(path, mmap_mode="r" if length else None, allow_pickle=False)
    if array.dtype != dtype or array.shape != (length,):
        raise ValueError(f"{path.name} has {array.dtype} {array.shape}, not {dtype} ({length},)")
    return array


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with the files into one InputError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(
            "folder",
            f"{path}: {type(error).__name__}: {error}",
            "Write it again with graphclean convert.",
        ) from error
