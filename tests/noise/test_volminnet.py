from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphclean.noise import VolMinNet, realised_transition
from graphclean.noise.volminnet import small_volume

Make = Callable[..., Data]

TRUE = np.array([[0.75, 0.2, 0.05], [0.05, 0.85, 0.1], [0.25, 0.0, 0.75]])
PRIOR = np.array([0.4, 0.35, 0.25])


@pytest.mark.parametrize("sparse", [False, True])
def test_recovers_the_planted_matrix(sparse: bool, noisy_blocks: Make) -> None:
    data = noisy_blocks(TRUE, PRIOR, n=2000, homophily=0.95, spread=4.0)
    if sparse:
        data.x = data.x.to_sparse()
    found = VolMinNet().fit(data)
    realised = realised_transition(data.y_clean, data.y, 3).numpy()
    assert np.abs(found.transition_ - realised).max() < 0.05
    np.testing.assert_allclose(found.class_prior_, PRIOR, atol=0.04)


def test_a_larger_weight_of_the_volume_makes_it_smaller(noisy_blocks: Make) -> None:
    data = noisy_blocks(TRUE, PRIOR, n=300, spread=1.0)
    free, pressed = (VolMinNet(volume=v, epochs=100).fit(data).transition_ for v in (0.0, 0.5))
    assert np.linalg.det(pressed) < np.linalg.det(free) - 0.05


def test_rows_of_the_parametrisation() -> None:
    raw = torch.tensor([[9.0, 0.0], [-torch.inf, -9.0]])
    torch.testing.assert_close(small_volume(raw), torch.tensor([[2 / 3, 1 / 3], [0.0, 1.0]]))


def test_probabilities_fit_the_given_labels_better_than_their_shares(noisy_blocks: Make) -> None:
    """The mean over nodes of (T' p) is the share of the given labels at the optimum of the bias."""
    data = noisy_blocks(TRUE, PRIOR, n=500)
    found = VolMinNet(weight_decay=0.0).fit(data)
    shares = np.bincount(data.y.numpy(), minlength=3) / 500
    np.testing.assert_allclose(found.class_prior_ @ found.transition_, shares, atol=0.02)
