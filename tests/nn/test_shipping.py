"""Large arrays reach workers through one mapped file, small ones and remote ones travel along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joblib import parallel_config
from joblib.parallel import ParallelBackendBase, get_active_backend, register_parallel_backend
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import GCN, MLP, cross_fit, shipping
from graphclean.nn.shipping import Parcel, shipped, unshipped


class Spy(MLP):
    """Refuses to fit unless features and adjacency lie in a file that the process maps."""

    def fit(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = kwargs["prepared"]
        for tensor in (data.x, data.edge_index, inputs.x):
            assert mapped_file(tensor), "the worker holds a copy of its own"
            assert tensor.data_ptr() % 64 == 0
        return super().fit(data, *args, **kwargs)


def mapped_file(tensor: Tensor) -> bool:
    """Return whether the tensor's memory is a private mapping of the shared file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode, *_, name = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= tensor.data_ptr() < end:
            return "graphclean-" in name and mode.startswith("rw-p")
    return False


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Share arrays of every size, through files of this folder."""
    monkeypatch.setattr(shipping, "SHARED_ABOVE", 0)
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    return tmp_path


def left_behind(place: Path) -> list[Path]:
    return list(place.glob("graphclean-*"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mappings")
def test_workers_map_one_file_and_give_the_same_bits(words: Data, sbm: Data, place: Path) -> None:
    for classifier, data in ((GCN(hidden=8, epochs=3), words), (Spy(hidden=8, epochs=3), sbm)):
        plain = MLP(hidden=8, epochs=3) if isinstance(classifier, Spy) else classifier
        serial = cross_fit(plain, data, n_folds=2)
        parallel = cross_fit(classifier, data, n_folds=2, n_jobs=2)
        assert torch.equal(serial.model_probs, parallel.model_probs)
        assert not left_behind(place)


def test_the_file_is_gone_after_an_error(sbm: Data, place: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        assert len(left_behind(place)) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_fit(MLP(hidden=8, epochs=1), sbm, n_folds=2, n_jobs=2, callbacks=[interrupt])
    assert not left_behind(place)


@pytest.mark.parametrize("in_file", [True, False])
def test_every_kind_of_array_survives(in_file: bool, words: Data, place: Path) -> None:
    prepared = GCN().prepare(words)
    assert prepared.adj.csr is prepared.adj.csr_transposed
    memory = np.memmap(place / "numbers", np.int64, "w+", shape=5)
    memory[:] = np.arange(5)
    content = {
        "prepared": prepared,
        "same memory": (words.x, words.x, words.x.numpy()),
        "columns first": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "turned": torch.arange(12).view(3, 4).t(),
        "every other": np.arange(10)[::2],
        "empty": (torch.empty(0, 3), np.empty((0, 2), dtype=bool)),
        "kinds": (np.array(["a", "bc"]), np.array([True, False]), torch.tensor(2.5)),
        "memory": memory,
        "objects": np.array([{"a": 1}, None], dtype=object),
    }
    file = place / "arrays" if in_file else None
    copy = Parcel.pack(content, file).unpack()
    assert isinstance(copy["same memory"][0], Tensor)
    assert copy["same memory"][0] is copy["same memory"][1]
    assert copy["same memory"][0].data_ptr() != words.x.data_ptr()
    for key in ("columns first", "every other", "memory", "objects"):
        assert np.array_equal(copy[key], content[key]), key
    assert copy["columns first"].flags.f_contiguous
    assert torch.equal(copy["turned"], content["turned"])
    assert [tuple(part.shape) for part in copy["empty"]] == [(0, 3), (0, 2)]
    assert list(copy["kinds"][0]) == ["a", "bc"]
    assert copy["kinds"][2] == 2.5
    adj = copy["prepared"].adj
    assert adj.csr is adj.csr_transposed
    ones = torch.ones(90, 2)
    assert torch.equal(copy["prepared"].adj @ ones, prepared.adj @ ones)
    assert torch.equal(copy["prepared"].x @ torch.ones(200, 2), prepared.x @ torch.ones(200, 2))
    copy["same memory"][0][:] = 7.0
    assert float(words.x.max()) == 1.0
    if file is not None:
        assert torch.equal(Parcel.pack(words.x, file).unpack(), words.x)
        assert file.stat().st_size <= words.x.numel() * 4


def test_one_process_and_threads_get_the_content_itself(sbm: Data) -> None:
    with shipped(sbm, 1) as alone:
        assert alone is sbm
    with parallel_config("threading"), shipped(sbm, 2) as threads:
        assert threads is sbm


def test_other_machines_get_all_arrays(sbm: Data, place: Path) -> None:
    class Elsewhere(ParallelBackendBase):
        def effective_n_jobs(self, n_jobs: int) -> int:
            return 2

        def apply_async(self, *args: Any) -> None:
            raise NotImplementedError

    register_parallel_backend("elsewhere", Elsewhere)
    with parallel_config("elsewhere"), shipped(sbm, 2) as sent:
        assert isinstance(get_active_backend()[0], Elsewhere)
        assert isinstance(sent, Parcel)
        assert sent.file is None
        assert not left_behind(place)
        assert torch.equal(unshipped(sent).x, sbm.x)


def test_small_arrays_do_not_make_a_file(sbm: Data, tmp_path: Path) -> None:
    parcel = Parcel.pack(sbm, tmp_path / "arrays")
    assert all(isinstance(array, np.ndarray) for array in parcel.arrays)
    assert (tmp_path / "arrays").stat().st_size == 0
    assert torch.equal(parcel.unpack().x, sbm.x)
