from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import split
from graphclean.types import InputError


def masks(data: Data) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return data.train_mask, data.val_mask, data.test_mask


def graph(*counts: int, unlabelled: int = 0) -> Data:
    y = torch.cat([torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))])
    y = torch.cat([y, torch.full((unlabelled,), -1)])
    return Data(y=y, num_nodes=len(y), edge_index=torch.empty(2, 0).long())


def per_class(data: Data, mask: torch.Tensor) -> list[int]:
    return torch.bincount(data.y[mask], minlength=int(data.y.max()) + 1).tolist()


def test_random_takes_so_many_of_each_class() -> None:
    data = graph(100, 60, 5, 1, unlabelled=30)
    out = split(data, "random", per_class=20, num_val=40, num_test=50)
    train, val, test = masks(out)
    assert per_class(data, train) == [20, 20, 3, 1]
    assert (int(val.sum()), int(test.sum())) == (40, 50)
    assert not (train & val).any() | (train & test).any() | (val & test).any()
    assert (data.y[train | val | test] >= 0).all()
    assert "train_mask" not in data


def test_random_shares_what_is_left_in_proportion() -> None:
    train, val, test = masks(
        split(graph(30, 30), "random", per_class=10, num_val=500, num_test=1000)
    )
    assert [int(mask.sum()) for mask in (train, val, test)] == [20, 13, 27]


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.5, 0.0, 0.3), (0.1, 0.1, 0.8)])
def test_stratified_fractions_hold_in_every_class(fractions: tuple[float, float, float]) -> None:
    data = graph(103, 41, 10, unlabelled=7)
    parts = masks(split(data, "fractions", fractions=fractions))
    for mask, share in zip(parts, fractions, strict=True):
        for found, total in zip(per_class(data, mask), (103, 41, 10), strict=True):
            assert abs(found - share * total) < 1
    assert int(sum(mask.long() for mask in parts).max()) == 1
    if sum(fractions) == pytest.approx(1):
        assert torch.equal(parts[0] | parts[1] | parts[2], data.y >= 0)


def test_unstratified_fractions_hold_over_all() -> None:
    parts = masks(split(graph(50, 53), "fractions", stratify=False))
    assert [int(mask.sum()) for mask in parts] == [62, 21, 20]
    one = masks(split(graph(3, 1), "fractions"))
    assert per_class(graph(3, 1), one[0]) == [2, 1]


def test_all_trains_on_every_labelled_node() -> None:
    data = graph(4, 3, unlabelled=2)
    train, val, test = masks(split(data, "all"))
    assert torch.equal(train, data.y >= 0)
    assert not (val | test).any()


def test_public_selects_a_column_and_drops_unlabelled_nodes() -> None:
    data = graph(2, 2, unlabelled=1)
    data.train_mask = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0], [1, 1]]).bool()
    data.test_mask = torch.tensor([0, 0, 0, 1, 1]).bool()  # one for all splits, as in Wiki-CS
    out = split(data, "public", index=1)
    assert out.train_mask.tolist() == [False, True, False, False, False]
    assert out.test_mask.tolist() == [False, False, False, True, False]
    assert not out.val_mask.any()
    assert data.train_mask.shape == (5, 2)


def test_seeds(tiny_data: Data) -> None:
    def drawn(seed: int | np.random.Generator) -> list[bool]:
        out = split(tiny_data, "random", per_class=5, num_val=10, num_test=10, random_state=seed)
        found: list[bool] = torch.cat(masks(out)).tolist()
        return found

    assert drawn(3) == drawn(3) == drawn(np.random.default_rng(3))
    assert drawn(3) != drawn(4)
    state = torch.get_rng_state()
    np_state = np.random.get_state()[1].copy()  # noqa: NPY002
    split(tiny_data, "fractions")
    assert torch.equal(state, torch.get_rng_state())
    assert (np_state == np.random.get_state()[1]).all()  # noqa: NPY002


BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "odd"}, "kind: odd"),
    ({"kind": "public", "index": 1}, r"index: 1. train_mask has 1 split"),
    ({"kind": "random", "per_class": 0}, "per_class: 0"),
    ({"kind": "random", "num_val": -1}, "num_val: -1"),
    ({"kind": "random", "num_test": 1.5}, r"num_test: 1\.5"),
    ({"kind": "fractions", "fractions": (0.5, 0.5)}, "fractions"),
    ({"kind": "fractions", "fractions": (0.9, 0.2, 0.2)}, "fractions"),
    ({"kind": "fractions", "fractions": (1.1, -0.1, 0.0)}, "fractions"),
    ({"kind": "fractions", "fractions": (0.0, 0.5, 0.5)}, "no training node"),
    ({"kind": "random", "random_state": -1}, "random_state: -1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments(tiny_data: Data, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(tiny_data, **arguments)


def test_public_needs_masks_and_labels() -> None:
    with pytest.raises(InputError, match="no masks"):
        split(graph(2, 2))
    with pytest.raises(InputError, match="without y"):
        split(Data(num_nodes=2))
