"""Sending a graph to worker processes once instead of once per task."""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:  # a dependency of joblib from 1.6 on, part of it before
    import cloudpickle  # type: ignore[import-untyped]
except ImportError:
    from joblib.externals import cloudpickle


@dataclass(frozen=True)
class Parcel:
    """Objects whose arrays lie beside their pickle, where joblib memory-maps the large ones.

    Attributes:
        skeleton: The pickled objects with every array replaced by its number.
        arrays: The arrays, shared by all tasks.
    """

    skeleton: bytes
    arrays: list[np.ndarray]

    @classmethod
    def pack(cls, content: Any) -> Parcel:
        """Pack anything that pickles; CPU tensors and NumPy arrays travel as arrays."""
        buffer = io.BytesIO()
        packer = _Packer(buffer)
        packer.dump(content)
        return cls(buffer.getvalue(), packer.arrays)

    def unpack(self) -> Any:
        """Return a private copy of the content.

        Arrays are copied into torch's own aligned memory: results of vectorised arithmetic may
        depend on the alignment, and every process must get the same bits.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            return _Unpacker(io.BytesIO(self.skeleton), self.arrays).load()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer)
        self.arrays: list[np.ndarray] = []
        self._packed: dict[int, tuple[Any, Any]] = {}

    def persistent_id(self, obj: Any) -> Any:
        if id(obj) in self._packed:
            return self._packed[id(obj)][1]
        if type(obj) is np.ndarray and not obj.dtype.hasobject:
            key: Any = ("array", (self._add(obj),), obj.shape)
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
        self.arrays.append(array)
        return len(self.arrays) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, arrays: list[np.ndarray]) -> None:
        super().__init__(buffer)
        self.arrays = arrays
        self._unpacked: dict[Any, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        if pid not in self._unpacked:
            kind, numbers, shape = pid
            arrays = [self.arrays[number] for number in numbers]
            if kind == "array":
                content: Any = np.array(arrays[0])
            elif kind == "tensor":
                content = torch.tensor(arrays[0])
            else:
                crow, col, values = map(torch.tensor, arrays)
                content = torch.sparse_csr_tensor(
                    crow, col, values, size=shape, check_invariants=False
                )
            self._unpacked[pid] = content
        return self._unpacked[pid]
