from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from graphclean.data import check, load_npz, save_npz
from graphclean.types import InputError


def test_round_trip_keeps_everything(tmp_path: Path, tiny_data: Data) -> None:
    data = check(tiny_data)
    data.y[3] = -1
    data.y_clean, data.noise_mask = tiny_data.y, tiny_data.train_mask
    data.edge_weight = torch.rand(data.edge_index.shape[1])
    data.node_ids = [*(f"knoten-{i} ß\0" for i in range(58)), 7, np.int64(8)]
    data.class_names = ["<b>", "ä", "c"]
    data.feature_names = [f"f{i}" for i in range(8)]
    data.nothing = None
    assert save_npz(data, tmp_path / "sub" / "g.npz") == tmp_path / "sub" / "g.npz"
    again = load_npz(tmp_path / "sub" / "g.npz")
    for key, value in data.to_dict().items():
        if isinstance(value, torch.Tensor):
            assert again[key].dtype == value.dtype
            assert torch.equal(again[key], value)
        elif value is not None:
            assert again[key] == value
    assert set(again.to_dict()) == set(data.to_dict()) - {"nothing"}


def test_sparse_features_stay_sparse(tmp_path: Path, six_nodes: Data) -> None:
    six_nodes.x = torch.diag(torch.arange(6.0)).to_sparse_csr()
    save_npz(six_nodes, tmp_path / "g.npz")
    again = load_npz(tmp_path / "g.npz")
    assert again.x.layout == torch.sparse_csr
    assert torch.equal(again.x.to_dense(), six_nodes.x.to_dense())


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, tiny_data: Data) -> None:
    first = save_npz(tiny_data, tmp_path / "a.npz").read_bytes()
    assert save_npz(tiny_data, tmp_path / "b.npz").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_arrays_are_compressed_where_it_pays(tmp_path: Path, six_nodes: Data) -> None:
    generator = torch.Generator().manual_seed(0)
    six_nodes.x = torch.rand(6, 5000, generator=generator)
    six_nodes.edge_index = torch.arange(6).repeat(2, 500)
    path = save_npz(six_nodes, tmp_path / "g.npz")
    with zipfile.ZipFile(path) as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
    assert kinds["x.npy"] == zipfile.ZIP_STORED
    assert kinds["edge_index.npy"] == zipfile.ZIP_DEFLATED
    again = load_npz(path)
    assert torch.equal(again.x, six_nodes.x)
    assert torch.equal(again.edge_index, six_nodes.edge_index)


def test_a_fully_compressed_file_is_read(tmp_path: Path, tiny_data: Data) -> None:
    path = save_npz(tiny_data, tmp_path / "g.npz")
    with np.load(path) as file:
        np.savez_compressed(tmp_path / "old.npz", **file)
    old, new = load_npz(tmp_path / "old.npz").to_dict(), load_npz(path).to_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[k], v) for k, v in new.items() if isinstance(v, torch.Tensor))


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, six_nodes: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_npz(six_nodes, tmp_path / "g.npz")
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="disk full"):
        save_npz(six_nodes, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(tmp_path: Path, six_nodes: Data) -> None:
    with pytest.raises(InputError, match="suffix"):
        save_npz(six_nodes, tmp_path / "g.pt")
    six_nodes.odd = object()
    with pytest.raises(InputError, match="cannot be written: a object"):
        save_npz(six_nodes, tmp_path / "g.npz")


def benchmark_file(path: Path, **extra: np.ndarray) -> Path:
    adjacency = sp.csr_matrix(np.array([[1, 1.0, 0], [0, 0, 2], [0, 0, 0]]))
    words = sp.csr_matrix(np.array([[0.5, 0], [0, 3], [0, 0]]))
    parts = {
        f"{key}_{part}": getattr(matrix, part)
        for key, matrix in (("adj", adjacency), ("attr", words))
        for part in ("data", "indices", "indptr", "shape")
    }
    np.savez(path, labels=np.array([0, 1, 0]), **parts, **extra)
    return path


def test_gnn_benchmark_layout(tmp_path: Path) -> None:
    data = load_npz(benchmark_file(tmp_path / "g.npz", class_names=np.array(["α", "b"])))
    assert data.edge_index.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert data.edge_weight.tolist() == [1, 1, 2]
    assert data.x.tolist() == [[0.5, 0], [0, 3], [0, 0]]
    assert (data.y.tolist(), data.class_names) == ([0, 1, 0], ["α", "b"])


def test_pickled_class_names_are_not_opened(tmp_path: Path) -> None:
    names = np.array(["a", "b"], dtype=object)
    data = load_npz(benchmark_file(tmp_path / "g.npz", class_names=names))
    assert "class_names" not in data


def test_files_that_are_no_graphs(tmp_path: Path) -> None:
    path = tmp_path / "g.npz"
    with pytest.raises(InputError, match="no such file"):
        load_npz(path)
    np.savez(path, a=np.ones(1))
    with pytest.raises(InputError, match="with arrays a"):
        load_npz(path)
    np.savez(path, meta=np.frombuffer(b'{"format": "other"}', dtype=np.uint8))
    with pytest.raises(InputError, match="another version"):
        load_npz(path)
    with path.open("wb") as file:
        np.save(file, np.ones(2))
    with pytest.raises(InputError, match="it is no"):
        load_npz(path)
    path.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match="cannot be read"):
        load_npz(path)
