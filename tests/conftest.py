from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data


@pytest.fixture
def six_nodes() -> Data:
    """Two triangles joined by one bridge, one class each.

    0       4
    | \\   / |
    |  2-3  |
    | /   \\ |
    1       5
    """
    pairs = [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]
    forward = torch.tensor(pairs).t()
    return Data(
        x=torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.0, 1.0]]),
        edge_index=torch.cat([forward, forward.flip(0)], dim=1),
        y=torch.tensor([0, 0, 0, 1, 1, 1]),
        class_names=["left", "right"],
    )


@pytest.fixture
def tiny_data() -> Data:
    """Sixty nodes, three blocks of twenty, eight features whose mean depends on the class."""
    generator = torch.Generator().manual_seed(7)
    y = torch.arange(3).repeat_interleave(20)
    same = y[:, None] == y[None, :]
    drawn = torch.rand(60, 60, generator=generator) < torch.where(same, 0.25, 0.03)
    upper = torch.triu(drawn, diagonal=1)
    centres = torch.randn(3, 8, generator=generator)
    masks = {key: torch.zeros(60, dtype=torch.bool) for key in ("train", "val", "test")}
    for block in range(3):
        order = torch.randperm(20, generator=generator) + 20 * block
        for key, part in zip(masks, order.split([10, 5, 5]), strict=True):
            masks[key][part] = True
    return Data(
        x=centres[y] + torch.randn(60, 8, generator=generator),
        edge_index=(upper | upper.t()).nonzero().t().contiguous(),
        y=y,
        train_mask=masks["train"],
        val_mask=masks["val"],
        test_mask=masks["test"],
        class_names=["ash", "birch", "cedar"],
        name="tiny",
    )


@pytest.fixture(scope="session")
def graph_root() -> Path:
    """Folder of real graphs in PyG's layout, or a skip that says what is missing."""
    root = os.environ.get("GRAPHCLEAN_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("real graphs are missing: set GRAPHCLEAN_DATA to a folder in PyG's layout")
    return Path(root)
