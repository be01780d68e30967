from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import Planetoid

from graphclean.noise import GraphCleanerProtocol, NoiseModel, graphcleaner_protocol
from graphclean.types import InputError

# SHA-256 of the noisy labels of Cora as little-endian int64 bytes. The labels were compared one by
# one with dataset/Cora/raw/noisy_class_map_symmetric_0.1.json at lywww/GraphCleaner@631f091.
CORA_SYMMETRIC = "2f424d8fdc55c07747e9637b0e49f9ec6e5e41d95d96cc25ea22ea429943ab13"


def planetoid(root: Path, name: str, tmp_path: Path) -> Data:
    raw = root / "Planetoid" / name / "raw"
    if not raw.is_dir():
        pytest.skip(f"{name} is missing: {raw} does not exist")
    shutil.copytree(raw, tmp_path / name / "raw")
    return Planetoid(str(tmp_path), name)[0]


def test_cora_is_the_published_map_bit_for_bit(graph_root: Path, tmp_path: Path) -> None:
    data = planetoid(graph_root, "Cora", tmp_path)
    sample = graphcleaner_protocol(data, 0.1)
    digest = hashlib.sha256(sample.y.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest == CORA_SYMMETRIC
    assert sample.seed == 1119


@pytest.mark.parametrize(("name", "test_flips"), [("Cora", 97), ("CiteSeer", 98)])
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_published_numbers_of_flips(
    graph_root: Path, tmp_path: Path, name: str, test_flips: int, kind: str
) -> None:
    data = planetoid(graph_root, name, tmp_path)
    sample = graphcleaner_protocol(data, 0.1, kind)
    assert int(sample.flip_mask[data.test_mask].sum()) == test_flips
    assert int(sample.flip_mask[data.val_mask].sum()) == 46
    assert int(sample.flip_mask[data.train_mask].sum()) == 14
    for rate, flips in (
        (0.05, {"Cora": 47, "CiteSeer": 48}),
        (0.025, {"Cora": 21, "CiteSeer": 22}),
    ):
        sample = graphcleaner_protocol(data, rate, kind)
        assert int(sample.flip_mask[data.test_mask].sum()) == flips[name]


def test_the_stream_is_drawn_in_the_published_order(tiny_data: Data) -> None:
    y, val, test = (tiny_data[key].numpy() for key in ("y", "val_mask", "test_mask"))
    stream = np.random.RandomState(1119)
    nodes = []
    for part in (~(val | test), val, test):
        for label in range(3):
            members = [i for i in range(60) if part[i] and y[i] == label]
            nodes += list(stream.choice(members, size=int(len(members) * 0.4), replace=False))
    expected = y.copy()
    for node in nodes:
        others = [label for label in range(3) if label != y[node]]
        expected[node] = stream.choice(others, size=1, replace=False)[0]
    assert graphcleaner_protocol(tiny_data, 0.4).y.tolist() == expected.tolist()


def test_the_rate_is_rounded_down_in_every_split_and_class(tiny_data: Data) -> None:
    sample = graphcleaner_protocol(tiny_data, 0.39)  # 3.9 of 10, 1.95 of 5
    for key, flips in (("train_mask", 3), ("val_mask", 1), ("test_mask", 1)):
        for label in range(3):
            part = tiny_data[key] & (tiny_data.y == label)
            assert int(sample.flip_mask[part].sum()) == flips


@pytest.mark.parametrize(("rate", "flips"), [(0.1, 10), (0.29, 28), (0.57, 56)])
def test_the_floor_is_that_of_the_floating_point_product(rate: float, flips: int) -> None:
    data = Data(y=torch.tensor([0] * 100 + [1] * 3), num_nodes=103)
    sample = graphcleaner_protocol(data, rate)  # 100 * 0.29 is 28.999999999999996
    assert int(sample.flip_mask[:100].sum()) == flips


def test_both_kinds_flip_the_same_nodes(tiny_data: Data) -> None:
    symmetric = graphcleaner_protocol(tiny_data, 0.4)
    asymmetric = graphcleaner_protocol(tiny_data, 0.4, "asymmetric")
    assert torch.equal(symmetric.flip_mask, asymmetric.flip_mask)
    flipped = asymmetric.flip_mask
    assert torch.equal(asymmetric.y[flipped], (tiny_data.y[flipped] + 1) % 3)
    assert not torch.equal(symmetric.y, asymmetric.y)


def test_the_flips_of_a_split_do_not_depend_on_the_others(tiny_data: Data) -> None:
    everywhere = graphcleaner_protocol(tiny_data, 0.4)
    only_test = GraphCleanerProtocol(0.4).sample(tiny_data, on=("test",))
    mask = tiny_data.test_mask
    assert torch.equal(only_test.y, torch.where(mask, everywhere.y, tiny_data.y))


def test_the_seed_of_a_sample_replaces_that_of_the_model(tiny_data: Data) -> None:
    model = NoiseModel.create("graphcleaner", rate=0.4, seed=3)
    assert torch.equal(model.sample(tiny_data).y, graphcleaner_protocol(tiny_data, 0.4, seed=3).y)
    assert torch.equal(model.sample(tiny_data, 1119).y, graphcleaner_protocol(tiny_data, 0.4).y)
    assert not torch.equal(model.sample(tiny_data).y, model.sample(tiny_data, 1119).y)


def test_unlabelled_nodes_take_no_part(tiny_data: Data) -> None:
    tiny_data.y[:20] = -1
    sample = graphcleaner_protocol(tiny_data, 0.4)
    assert not sample.flip_mask[:20].any()
    assert int(sample.flip_mask.sum()) == 2 * (4 + 2 + 2)


def test_bad_parameters_are_refused(tiny_data: Data) -> None:
    with pytest.raises(InputError, match="symmetric, asymmetric"):
        GraphCleanerProtocol(0.1, kind="uniform")
    with pytest.raises(InputError, match=r"2\*\*32"):
        GraphCleanerProtocol(0.1, seed=2**32)
    with pytest.raises(InputError, match="non-negative"):
        GraphCleanerProtocol(0.1).sample(tiny_data, -1)
    tiny_data.val_mask = torch.stack([tiny_data.val_mask, tiny_data.test_mask], dim=1)
    with pytest.raises(InputError, match="Pick one first"):
        graphcleaner_protocol(tiny_data, 0.1)
