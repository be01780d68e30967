from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from graphclean.issues import LabelIssues, NoiseRate


@pytest.fixture
def noisy_graph() -> Data:
    """Ninety nodes, three classes, every fifth label wrong, one node unlabelled, one isolated."""
    generator = torch.Generator().manual_seed(5)
    truth = torch.arange(90) % 3
    same = truth[:, None] == truth[None, :]
    upper = torch.triu(
        torch.rand(90, 90, generator=generator) < torch.where(same, 0.15, 0.03), diagonal=1
    )
    upper[:, 7] = upper[7, :] = False
    wrong = torch.arange(90) % 5 == 0
    y = torch.where(wrong, (truth + 1 + torch.arange(90) // 45) % 3, truth)
    y[11] = -1
    centres = torch.randn(3, 6, generator=generator)
    return Data(
        x=centres[truth] + torch.randn(90, 6, generator=generator),
        edge_index=(upper | upper.t()).nonzero().t().contiguous(),
        y=y,
        y_clean=truth,
        class_names=["ash", "birch", "cedar"],
    )


@pytest.fixture
def issues_of() -> Callable[..., LabelIssues]:
    """Make issues from the truth blurred: good, not perfect. ``judged`` limits the nodes."""

    def make(data: Data, seed: int = 0, judged: np.ndarray | None = None) -> LabelIssues:
        rng = np.random.default_rng(seed)
        rows = data.y.numpy() >= 0
        node = np.flatnonzero(rows if judged is None else rows & judged)
        given, clean = data.y.numpy()[node], data.y_clean.numpy()[node]
        wrong = given != clean
        probability = np.clip(rng.normal(0.2 + 0.55 * wrong, 0.2), 0.0, 1.0)
        other = (given + 1) % 3
        suggested = np.where(wrong & (rng.random(len(node)) < 0.8), clean, other)
        names = np.array(data.class_names, dtype=object)
        degree = torch.bincount(data.edge_index[0], minlength=data.num_nodes).numpy()
        frame = pd.DataFrame(
            {
                "node": node,
                "is_label_issue": probability > 0.45,
                "label_quality": 1 - probability,
                "mislabel_probability": probability,
                "given_label": names[given],
                "predicted_label": names[suggested],
                "suggested_label": names[suggested],
                "suggestion_confidence": 0.95 * probability,
                "degree": degree[node],
            },
            index=pd.Index(node, name="node_id"),
        )
        return LabelIssues(frame, tuple(data.class_names), NoiseRate(0.2, 0.1, 0.3))

    return make
