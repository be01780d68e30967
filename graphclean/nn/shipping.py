"""Sending a graph to worker processes: small arrays along, large ones through one shared file."""

from __future__ import annotations

import io
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from torch import Tensor

try:  # a dependency of joblib from 1.6 on, part of it before
    import cloudpickle  # type: ignore[import-untyped]
except ImportError:
    from joblib.externals import cloudpickle

SHARED_ABOVE = 2**25
"""Bytes from which on an array is mapped by all workers instead of copied into each."""

_ALIGNMENT = 64
"""Bytes; the alignment of torch's own memory."""


@contextmanager
def shipped(content: Any, n_jobs: int | None) -> Iterator[Any]:
    """Yield the content in the form in which joblib's active backend brings it to its workers.

    One process and threads get the content itself. Processes on this machine get a ``Parcel`` whose
    large arrays lie in a file (under ``JOBLIB_TEMP_FOLDER`` or the system's folder for temporary
    files), which every worker maps and the end of the block removes. Any other backend, such as
    Dask's, may run elsewhere and gets a ``Parcel`` with all arrays inside.

    Args:
        content: Anything that pickles; workers must not change it.
        n_jobs: As for ``joblib.Parallel``.
    """
    backend = get_active_backend()[0]
    if effective_n_jobs(n_jobs) == 1 or getattr(backend, "supports_sharedmem", False):
        yield content
    elif type(backend).__module__ != "joblib._parallel_backends":
        yield Parcel.pack(content)
    else:
        folder = os.environ.get("JOBLIB_TEMP_FOLDER")
        with tempfile.TemporaryDirectory(
            prefix="graphclean-", dir=folder, ignore_cleanup_errors=True
        ) as place:
            yield Parcel.pack(content, Path(place) / "arrays")


def unshipped(content: Any) -> Any:
    """Return what ``shipped`` was given, in a worker."""
    return content.unpack() if isinstance(content, Parcel) else content


@dataclass(frozen=True)
class _Place:
    """Where the large array of a parcel lies in its file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Any


@dataclass(frozen=True)
class Parcel:
    """Objects with their arrays taken out of the pickle.

    Attributes:
        skeleton: The pickled objects with every array replaced by its number.
        arrays: The arrays, each once; of a large one its place in the file.
        file: File of the large arrays on this machine, None where all are inside.
    """

    skeleton: bytes
    arrays: list[np.ndarray | _Place]
    file: Path | None

    @classmethod
    def pack(cls, content: Any, file: Path | None = None) -> Parcel:
        """Pack anything that pickles; CPU tensors and NumPy arrays travel as arrays.

        Args:
            content: What to pack.
            file: File to be written with the large arrays; None to take all along.
        """
        buffer = io.BytesIO()
        if file is None:
            packer = _Packer(buffer, None)
            packer.dump(content)
        else:
            with file.open("wb") as store:
                packer = _Packer(buffer, store)
                packer.dump(content)
        return cls(buffer.getvalue(), packer.arrays, file)

    def unpack(self) -> Any:
        """Return a private copy of the content.

        Arrays inside are copied into torch's own aligned memory, those of the file mapped copy on
        write with the same alignment: results of vectorised arithmetic may depend on it, and every
        process must get the same bits.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            return _Unpacker(io.BytesIO(self.skeleton), self).load()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, buffer: io.BytesIO, store: BinaryIO | None) -> None:
        super().__init__(buffer)
        self.arrays: list[np.ndarray | _Place] = []
        self._store = store
        self._packed: dict[int, tuple[Any, Any]] = {}
        self._numbers: dict[Any, int] = {}

    def persistent_id(self, obj: Any) -> Any:
        if id(obj) in self._packed:
            return self._packed[id(obj)][1]
        if type(obj) in (np.ndarray, np.memmap) and not obj.dtype.hasobject:
            key: Any = ("array", (self._add(np.asarray(obj)),), obj.shape)
        elif type(obj) is Tensor and obj.device.type == "cpu" and obj.layout == torch.strided:
            key = ("tensor", (self._add(obj.detach().numpy()),), tuple(obj.shape))
        elif type(obj) is Tensor and obj.device.type == "cpu" and obj.layout == torch.sparse_csr:
            parts = (obj.crow_indices(), obj.col_indices(), obj.values())
            key = ("csr", tuple(self._add(part.numpy()) for part in parts), tuple(obj.shape))
        else:
            return None
        self._packed[id(obj)] = (obj, key)
        return key

    def _add(self, array: np.ndarray) -> int:
        # Different objects may share memory: CSR in SciPy and in torch, x raw and prepared.
        known = (array.ctypes.data, array.dtype.str, array.shape, array.strides)
        if array.size == 0 or known not in self._numbers:
            self._numbers[known] = len(self.arrays)
            large = self._store is not None and array.nbytes >= max(SHARED_ABOVE, 1)
            self.arrays.append(self._stored(array) if large else array)
        return self._numbers[known]

    def _stored(self, array: np.ndarray) -> _Place:
        assert self._store is not None
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        self._store.write(b"\0" * (-self._store.tell() % _ALIGNMENT))
        place = _Place(self._store.tell(), array.shape, array.dtype, order)
        flat = np.ascontiguousarray(array.T if order == "F" else array).reshape(-1)
        self._store.write(flat.view(np.uint8).data)
        return place


class _Unpacker(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, parcel: Parcel) -> None:
        super().__init__(buffer)
        self._arrays = parcel.arrays
        mapped = any(isinstance(array, _Place) for array in parcel.arrays)
        self._file = np.memmap(str(parcel.file), mode="c") if mapped else None
        self._unpacked: dict[Any, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        if pid not in self._unpacked:
            kind, numbers, shape = pid
            if kind == "array":
                content: Any = self._array(numbers[0])
            elif kind == "tensor":
                content = self._tensor(numbers[0])
            else:
                crow, col, values = map(self._tensor, numbers)
                content = torch.sparse_csr_tensor(
                    crow, col, values, size=shape, check_invariants=False
                )
            self._unpacked[pid] = content
        return self._unpacked[pid]

    def _array(self, number: int) -> np.ndarray:
        array = self._arrays[number]
        if not isinstance(array, _Place):
            return np.array(array)
        return np.ndarray(array.shape, array.dtype, self._file, array.offset, order=array.order)

    def _tensor(self, number: int) -> Tensor:
        array = self._arrays[number]
        if not isinstance(array, _Place):
            return torch.tensor(array)
        return torch.from_numpy(self._array(number))
