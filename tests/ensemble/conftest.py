from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphclean.ensemble import EnsembleClassifier
from graphclean.nn import SGC
from graphclean.nn.tabular import HistGradientBoosting, ScikitLearnClassifier


def small_members() -> list[tuple[str, Any]]:
    """A learner of the graph and one of rows, without draws of their own."""
    return [
        ("sgc", SGC(epochs=20, lr=0.1, val_fraction=0.0, patience=None)),
        ("rows", ScikitLearnClassifier(neighbours=(), structure=False)),
    ]


def small_stackers() -> list[Any]:
    trees = HistGradientBoosting(max_iter=5, min_samples_leaf=3, max_features=1.0)
    return ["logistic", ("trees", trees.set_params(neighbours=("mean",), structure=False))]


def build_ensemble(name: str, **params: Any) -> EnsembleClassifier:
    """An ensemble small enough for a test; it takes what it knows of the parameters."""
    small: dict[str, Any] = {
        "estimators": small_members(),
        "stackers": small_stackers(),
        "classifier": SGC(epochs=20, lr=0.1, val_fraction=0.0, patience=None),
        "n_folds": 3,
        "hidden": 8,
        "epochs": 10,
        "rounds": 5,
        "max_iter": 5,
        "min_samples_leaf": 3,
        "random_state": 0,
    }
    accepted = inspect.signature(EnsembleClassifier.registry[name]).parameters
    return EnsembleClassifier.create(
        name, **{key: value for key, value in (small | params).items() if key in accepted}
    )


def plant(n: int = 90, classes: int = 3, noise: float = 0.2, seed: int = 0) -> Data:
    """Blocks with features that tell the class; given labels of which some are wrong."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % classes
    same = truth[:, None] == truth[None, :]
    chance = torch.where(same, 6.8 * classes / n, 1.2 * classes / (n * (classes - 1)))
    upper = torch.triu(torch.rand(n, n, generator=generator) < chance, diagonal=1)
    wrong = torch.zeros(n, dtype=torch.bool)
    wrong[torch.randperm(n, generator=generator)[: round(noise * n)]] = True
    step = torch.randint(1, classes, (n,), generator=generator)
    centres = torch.randn(classes, 8, generator=generator)
    role = torch.rand(n, generator=generator)
    return Data(
        x=centres[truth] + 0.7 * torch.randn(n, 8, generator=generator),
        edge_index=(upper | upper.t()).nonzero().t().contiguous(),
        y=torch.where(wrong, (truth + step) % classes, truth),
        y_clean=truth,
        noise_mask=wrong,
        train_mask=role < 0.6,
        val_mask=(role >= 0.6) & (role < 0.8),
        test_mask=role >= 0.8,
        class_names=[f"class {c}" for c in range(classes)],
    )


@pytest.fixture(scope="session")
def build() -> Callable[..., EnsembleClassifier]:
    return build_ensemble


@pytest.fixture(scope="session")
def planted() -> Callable[..., Data]:
    return plant


@pytest.fixture
def noisy() -> Data:
    return plant()
