"""Graphs in ``.npz`` files, without pickle: our own layout and the one of gnn-benchmark."""

from __future__ import annotations

import json
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_undirected

from graphclean.data.features import from_scipy_features, to_scipy, to_sparse_csr
from graphclean.data.node_frame import pack_frame, unpack_frame
from graphclean.types import InputError

FORMAT = "graphclean-graph-1"
_META = "meta"
_CSR = "csr:"
_FRAME = "frame:"
_SAMPLE_BYTES, _SAMPLE_BLOCKS = 2**20, 16


def save_npz(data: Data, path: str | Path) -> Path:
    """Write a graph to one ``.npz`` file; the same graph gives the same bytes.

    Tensors are stored as arrays (sparse ones by their three parts), compressed where that makes
    them smaller; frames (``node_frame``) in Arrow's format; strings, numbers and lists of
    them (``name``, ``class_names``, ``node_ids``, ``feature_names``, ``check_notes``) as JSON. The
    file appears whole or not at all.

    Raises:
        InputError: The suffix is not ``.npz``, or an attribute is no tensor, frame or JSON.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise InputError("path", str(path), "Use the suffix .npz.")
    arrays: dict[str, np.ndarray] = {}
    meta: dict[str, Any] = {"format": FORMAT}
    for key, value in sorted(data.to_dict().items()):
        if isinstance(value, torch.Tensor):
            arrays |= _arrays(key, value.detach().cpu())
        elif isinstance(value, pd.DataFrame):
            arrays[f"{_FRAME}{key}"] = pack_frame(value)
        elif value is not None:
            meta[key] = value
    try:
        text = json.dumps(meta, sort_keys=True, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(
            "data", f"an attribute cannot be written: {error}", "Remove it or make it a tensor."
        ) from error
    arrays[_META] = np.frombuffer(text.encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for key in sorted(arrays):
                _write(archive, f"{key}.npy", arrays[key])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_npz(path: str | Path) -> Data:
    """Read what `save_npz` wrote, or a file in the layout of gnn-benchmark.

    The latter has the adjacency in ``adj_data, adj_indices, adj_indptr, adj_shape``, features in
    ``attr_*`` (kept sparse where dense would not pay), ``labels`` and, perhaps, ``class_names``.

    Raises:
        InputError: If the file does not exist, is no ``.npz`` or has neither layout.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("path", str(path), "There is no such file.")
    if not zipfile.is_zipfile(path):
        raise InputError("path", str(path), "It cannot be read: it is no .npz archive.")
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            if _META in file.files:
                return _own(file)
            if {"adj_indptr", "adj_indices", "labels"} <= set(file.files):
                return _gnn_benchmark(file)
            found = ", ".join(file.files)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError("path", str(path), f"It cannot be read as a graph: {error}") from error
    raise InputError("path", f"{path} with arrays {found}", "Write graphs with save_npz.")


def read_gnn_benchmark(path: Path) -> Data:
    """Read a gnn-benchmark file as PyG's ``read_npz`` does, but without densifying.

    As there: features are made binary, self-loops dropped, edges made undirected.
    """
    data = load_npz(path)
    if data.x.layout == torch.strided:
        data.x = (data.x > 0).float()
    else:
        matrix = to_scipy(data.x)
        data.x = to_sparse_csr((matrix > 0).astype(np.float32))
    edge_index, _ = remove_self_loops(data.edge_index)
    data.edge_index = to_undirected(edge_index, num_nodes=data.num_nodes)
    if "edge_weight" in data:
        del data.edge_weight
    return data


def _write(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Stream an array into an archive, compressed if a sample of it shrinks.

    Names without a time are of 1980, the first time that archives know.
    """
    stored = zipfile.ZipInfo(name)
    with archive.open(name if _shrinks(array) else stored, "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, array, allow_pickle=False)


def _shrinks(array: np.ndarray) -> bool:
    """Whether compression takes a fifth off blocks from all over an array."""
    flat = array.reshape(-1)
    block = max(_SAMPLE_BYTES // _SAMPLE_BLOCKS // max(array.itemsize, 1), 1)
    starts = np.linspace(0, max(len(flat) - block, 0), _SAMPLE_BLOCKS).astype(np.int64)
    sample = b"".join(flat[start : start + block].tobytes() for start in np.unique(starts))
    return len(zlib.compress(sample, 1)) < 0.8 * len(sample)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _arrays(key: str, value: torch.Tensor) -> dict[str, np.ndarray]:
    if value.layout == torch.strided:
        return {key: value.numpy()}
    csr = to_scipy(value if value.layout == torch.sparse_csr else value.to_sparse_csr())
    parts = {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr}
    return {f"{_CSR}{key}:{part}": array for part, array in parts.items()} | {
        f"{_CSR}{key}:shape": np.array(csr.shape)
    }


def _own(file: Mapping[str, np.ndarray]) -> Data:
    meta = json.loads(bytes(file[_META]).decode())
    if meta.pop("format", None) != FORMAT:
        raise ValueError("it was written by another version of graphclean")
    data = Data(**meta)
    for key in file:
        if key.startswith(_CSR) and key.endswith(":shape"):
            stem = key.removesuffix(":shape")
            parts = tuple(file[f"{stem}:{part}"] for part in ("data", "indices", "indptr"))
            data[stem.removeprefix(_CSR)] = to_sparse_csr(sp.csr_matrix(parts, tuple(file[key])))
        elif key.startswith(_FRAME):
            data[key.removeprefix(_FRAME)] = unpack_frame(file[key])
        elif key != _META and not key.startswith(_CSR):
            data[key] = torch.from_numpy(file[key])
    return data


def _gnn_benchmark(file: Mapping[str, np.ndarray]) -> Data:
    adjacency = _csr(file, "adj").tocoo()
    edges = np.stack([adjacency.row, adjacency.col]).astype(np.int64)
    data = Data(edge_index=torch.from_numpy(edges), num_nodes=adjacency.shape[0])
    if not (adjacency.data == 1).all():
        data.edge_weight = torch.from_numpy(adjacency.data.astype(np.float32))
    if "attr_indptr" in file:
        data.x = from_scipy_features(_csr(file, "attr"))
    data.y = torch.from_numpy(file["labels"].astype(np.int64))
    try:
        names = file["class_names"].astype(str).tolist() if "class_names" in file else []
    except ValueError:  # stored as Python objects, which are not read
        names = []
    if len(names) > int(data.y.max()) and len(set(names)) == len(names):
        data.class_names = names
    return data


def _csr(file: Mapping[str, np.ndarray], key: str) -> sp.csr_matrix:
    parts = tuple(file[f"{key}_{part}"] for part in ("data", "indices", "indptr"))
    return sp.csr_matrix(parts, tuple(file[f"{key}_shape"]))
