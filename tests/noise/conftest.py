from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch_geometric.data import Data


@pytest.fixture
def ragged() -> Data:
    """Ninety-seven nodes, four classes of odd sizes, 9 unlabelled, one isolated, three masks."""
    generator = torch.Generator().manual_seed(3)
    y = torch.tensor([0] * 41 + [1] * 23 + [2] * 17 + [3] * 7 + [-1] * 9)
    y = y[torch.randperm(97, generator=generator)]
    edges = torch.randint(0, 96, (2, 230), generator=generator)
    part = torch.randint(0, 4, (97,), generator=generator)
    return Data(
        x=torch.randn(97, 5, generator=generator) + y.clamp(min=0)[:, None],
        edge_index=edges,
        y=y,
        train_mask=part == 0,
        val_mask=part == 1,
        test_mask=part == 2,
    )


@pytest.fixture(scope="session")
def noisy_blocks() -> Callable[..., Data]:
    """Build a graph whose given labels were drawn from a transition matrix; ``y_clean`` is true.

    The neighbours of a node are independent given its class: they share it with probability
    ``homophily``. Features are class centres, ``spread`` apart, plus standard normal noise.
    """

    def make(
        transition: np.ndarray,
        prior: np.ndarray,
        *,
        n: int = 400,
        homophily: float = 0.85,
        degree: int = 6,
        spread: float = 3.0,
        seed: int = 0,
    ) -> Data:
        rng = np.random.default_rng(seed)
        classes = len(prior)
        true = rng.choice(classes, n, p=prior)
        given = (rng.random((n, 1)) > transition[true].cumsum(axis=1)).sum(axis=1)
        source = rng.integers(0, n, n * degree // 2)
        alike = rng.random(len(source)) < homophily
        target = np.empty_like(source)
        for c in range(classes):
            for same in (True, False):
                rows = (true[source] == c) & (alike == same)
                target[rows] = rng.choice(np.flatnonzero((true == c) == same), rows.sum())
        edges = np.stack([np.r_[source, target], np.r_[target, source]])
        centres = spread * np.eye(classes, classes + 2)
        return Data(
            x=torch.from_numpy(centres[true] + rng.normal(size=(n, classes + 2))).float(),
            edge_index=torch.from_numpy(edges),
            y=torch.from_numpy(given.clip(max=classes - 1)),
            y_clean=torch.from_numpy(true),
        )

    return make
