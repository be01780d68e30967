from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphclean.nn import NodeClassifier

FAST = {
    "hidden": 16,
    "heads": 4,
    "epochs": 40,
    "random_state": 0,
    "val_fraction": 0.0,
    "max_iter": 30,
    "min_samples_leaf": 3,
}
OF_NETWORKS = {"epochs", "val_fraction"}
"""Parameters that learners of tables do without: passed to those alone that take them."""


@pytest.fixture
def sbm() -> Data:
    """Three blocks of thirty nodes; dense features whose mean depends on the class."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(3).repeat_interleave(30)
    chance = torch.where(y[:, None] == y[None, :], 0.3, 0.02)
    upper = torch.triu(torch.rand(90, 90, generator=generator) < chance, diagonal=1)
    centres = 1.2 * torch.randn(3, 8, generator=generator)
    return Data(
        x=centres[y] + torch.randn(90, 8, generator=generator),
        edge_index=(upper | upper.t()).nonzero().t().contiguous(),
        y=y,
    )


@pytest.fixture
def words(sbm: Data) -> Data:
    """The same graph with bag-of-words features: 200 columns, 3-5 % non-zero."""
    generator = torch.Generator().manual_seed(2)
    topic = torch.arange(200) % 3
    chance = torch.where(sbm.y[:, None] == topic[None, :], 0.08, 0.02)
    data = sbm.clone()
    data.x = (torch.rand(90, 200, generator=generator) < chance).float()
    return data


@pytest.fixture(scope="session")
def half() -> torch.Tensor:
    """Every other node of the ninety."""
    return torch.arange(90) % 2 == 0


@pytest.fixture(scope="session")
def fast() -> Callable[..., Any]:
    """Build a registered classifier small enough for a test."""

    def build(name: str, **params: Any) -> Any:
        if name == "lightgbm":
            pytest.importorskip("lightgbm", reason="needs LightGBM: graphclean[tabular]")
        accepted = inspect.signature(NodeClassifier.registry[name].__init__).parameters
        small = {key: value for key, value in FAST.items() if key in accepted}
        asked = {k: v for k, v in params.items() if k in accepted or k not in OF_NETWORKS}
        return NodeClassifier.create(name, **(small | asked))

    return build
