from __future__ import annotations

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
