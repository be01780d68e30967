from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphclean.evaluate.speed import planted_graph, power_law_graph
from graphclean.types import InputError


def assert_simple_and_undirected(edge_index: Tensor, nodes: int, entries: int) -> None:
    assert edge_index.shape == (2, entries)
    assert edge_index.dtype == torch.long
    row, col = edge_index
    assert bool((row != col).all())
    assert bool(((edge_index >= 0) & (edge_index < nodes)).all())
    keys = row * nodes + col
    assert bool((keys.diff() > 0).all())  # sorted, and none twice
    assert torch.equal((col * nodes + row).sort().values, keys)


@pytest.mark.parametrize(("nodes", "entries"), [(2, 0), (4, 6), (10, 40), (300, 3_000), (50, 1200)])
def test_power_law_graph_is_simple_and_has_the_size_asked_for(nodes: int, entries: int) -> None:
    assert_simple_and_undirected(power_law_graph(nodes, entries, seed=3), nodes, entries)


@pytest.mark.parametrize("exponent", [2.3, 2.6, 3.5])
def test_degrees_fall_with_their_rank_as_the_exponent_says(exponent: float) -> None:
    """A degree distribution d^-g has degrees rank^(-1 / (g - 1))."""
    edge_index = power_law_graph(20_000, 200_000, exponent=exponent, seed=1)
    degree = np.sort(np.bincount(edge_index[0].numpy(), minlength=20_000))[::-1]
    rank = np.arange(60, 3_000)
    slope = np.polyfit(np.log(rank + 5), np.log(degree[rank]), 1)[0]
    assert slope == pytest.approx(-1 / (exponent - 1), abs=0.08)


def test_hubs_have_ids_all_over() -> None:
    degree = torch.bincount(power_law_graph(5_000, 50_000)[0], minlength=5_000)
    hubs = degree.topk(200).indices.double()
    assert float(hubs.mean()) == pytest.approx(2_500, rel=0.2)


def test_a_seed_gives_one_graph() -> None:
    first, again, other = (power_law_graph(500, 5_000, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    one, same = (planted_graph(300, 3_000, 4, 5, seed=7) for _ in range(2))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    assert torch.equal(one.edge_index, same.edge_index)


@pytest.mark.parametrize("homophily", [0.0, 0.5, 0.8, 1.0])
def test_planted_edges_stay_within_a_class_as_often_as_asked(homophily: float) -> None:
    data = planted_graph(8_000, 80_000, 5, 3, homophily=homophily, seed=2)
    assert_simple_and_undirected(data.edge_index, 8_000, 80_000)
    row, col = data.edge_index
    within = float((data.y[row] == data.y[col]).double().mean())
    assert within == pytest.approx(homophily + (1 - homophily) / 5, abs=0.03)


def test_planted_features_are_gaussian_about_weak_class_means() -> None:
    data = planted_graph(30_000, 1_000, 3, 20, separation=1.5, seed=4)
    assert (data.x.dtype, data.y.dtype, data.num_classes) == (torch.float32, torch.long, 3)
    assert torch.bincount(data.y).tolist() == [10_000] * 3
    means = torch.stack([data.x[data.y == c].mean(dim=0) for c in range(3)])
    noise = data.x - means[data.y]
    assert float(noise.std()) == pytest.approx(1.0, abs=0.01)
    assert float(means.norm(dim=1).pow(2).mean().sqrt()) == pytest.approx(1.5, rel=0.3)
    flat = planted_graph(30_000, 1_000, 3, 20, separation=0.0, seed=4)
    assert float(torch.stack([flat.x[flat.y == c].mean(0) for c in range(3)]).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("argument", "change"),
    [
        ("num_nodes", {"num_nodes": 1}),
        ("num_edges", {"num_edges": 7}),
        ("num_edges", {"num_edges": -2}),
        ("num_edges", {"num_edges": 4_952}),
        ("exponent", {"exponent": 2.0}),
        ("exponent", {"exponent": float("nan")}),
        ("num_classes", {"num_classes": 0}),
        ("num_classes", {"num_classes": 101}),
        ("num_features", {"num_features": 0}),
        ("homophily", {"homophily": 1.1}),
        ("separation", {"separation": float("nan")}),
        ("num_edges", {"num_classes": 100, "homophily": 1.0, "num_edges": 200}),
    ],
)
def test_what_no_graph_can_be_is_refused(argument: str, change: dict[str, Any]) -> None:
    options: dict[str, Any] = {
        "num_nodes": 100,
        "num_edges": 400,
        "num_classes": 4,
        "num_features": 3,
        **change,
    }
    with pytest.raises(InputError) as caught:
        planted_graph(**options)
    assert caught.value.argument == argument
