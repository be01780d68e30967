from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

import graphclean.detect  # noqa: F401  (registers the detectors)
from graphclean.detect import Detector
from graphclean.nn import GCN, SGC

PAPER = "graphcleaner-paper"
KEYS = [*sorted(n for n, c in Detector.registry.items() if "graphclean" in c.__module__), PAPER]
"""Every registered detector, and GraphCleaner's second mode."""


@pytest.fixture(params=KEYS)
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def build() -> Callable[..., Detector]:
    """Build a detector small enough for a test; ``params`` that it does not know are left out."""

    def make(key: str, **params: Any) -> Detector:
        name, _, mode = key.partition("-")
        small: dict[str, Any] = {
            "classifier": SGC(epochs=30, patience=None, val_fraction=0.0),
            "n_folds": 3,
            "draws": 2,
            "epochs": 30,
            "feature_view": False,
            "rounds": 6,
            "runs": 4,
            "random_state": 0,
        }
        if mode:
            small |= {"mode": mode, "draws": 1, "classifier": GCN(hidden=8, epochs=20)}
        if name == "learned_stack":  # all members would take seconds a fit
            small["members"] = ("label_dependency", "relation_graph")
        accepted = inspect.signature(Detector.registry[name]).parameters
        wanted = {k: v for k, v in (small | params).items() if k in accepted}
        return Detector.create(name, **wanted)

    return make


@pytest.fixture(scope="session")
def planted() -> Callable[..., Data]:
    """Build a block graph with weak features and planted flips; ``y_clean`` is the truth.

    ``pair`` flips every class to the next one, else flips are uniform. Every fourth node is a
    validation node and the one before it is judged by paper mode.
    """

    def make(
        n: int = 120,
        classes: int = 3,
        noise: float = 0.15,
        seed: int = 0,
        degree: float = 8.0,
        homophily: float = 0.85,
        pair: bool = True,
    ) -> Data:
        generator = torch.Generator().manual_seed(seed)
        truth = torch.arange(n) % classes
        same = truth[:, None] == truth[None, :]
        inside, outside = degree * homophily * classes, degree * (1 - homophily) * classes
        chance = torch.where(same, inside / n, outside / (n * (classes - 1)))
        upper = torch.triu(torch.rand(n, n, generator=generator) < chance, diagonal=1)
        step = torch.randint(1, classes, (n,), generator=generator)
        flip = torch.rand(n, generator=generator) < noise
        centres = torch.randn(classes, 6, generator=generator)
        role = torch.arange(n) // classes % 4
        return Data(
            x=centres[truth] + torch.randn(n, 6, generator=generator),
            edge_index=(upper | upper.t()).nonzero().t().contiguous(),
            y=torch.where(flip, (truth + (1 if pair else step)) % classes, truth),
            y_clean=truth,
            noise_mask=flip,
            train_mask=role < 2,
            val_mask=role == 3,
            test_mask=role == 2,
        )

    return make


@pytest.fixture
def odd(planted: Callable[..., Data]) -> Data:
    """Everything a detector must live with at once.

    String ids, named classes, one class with a single node and one with none, unlabelled nodes,
    isolated nodes, edges in one direction only, duplicate edges, self-loops.
    """
    data = planted(64, seed=3)
    data.y[5] = 3
    data.y[::9] = -1
    source, target = data.edge_index
    keep = (source < target) & (target < 60)
    loops = torch.arange(0, 30, 2)
    edges = data.edge_index[:, keep]
    data.edge_index = torch.cat([edges, edges[:, :7], torch.stack([loops, loops])], dim=1)
    data.class_names = ["ash", "birch", "cedar", "lone", "never"]
    data.node_ids = [f"paper {node:03d}" for node in range(64)]
    data.name = "odd"
    return data


@pytest.fixture(scope="session")
def some_probs() -> Callable[..., torch.Tensor]:
    """Make class probabilities ``[N, C]`` that favour the true class of the planted graphs."""

    def make(data: Data, classes: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(len(data.y), classes, generator=generator, dtype=torch.float64)
        logits[torch.arange(len(data.y)), data.y_clean] += 2.5
        return logits.softmax(dim=1)

    return make
