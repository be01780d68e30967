from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from torch_geometric.data import Data

from graphclean.noise import FeatureDependentNoise
from graphclean.noise.feature_dependent import truncated_normal
from graphclean.types import InputError


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.1), (0.1, 0.1), (0.45, 0.3), (1.0, 0.05)])
def test_truncated_normal_matches_scipy_with_standardised_bounds(
    mean: float, spread: float
) -> None:
    levels = np.linspace(0.001, 0.999, 41)
    low, high = -mean / spread, (1 - mean) / spread
    expected = truncnorm.ppf(levels, low, high, loc=mean, scale=spread)
    found = truncated_normal(torch.from_numpy(levels), mean, spread)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_propensities_lie_on_both_sides_of_the_rate() -> None:
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    propensity = truncated_normal(uniform, 0.4, 0.1)
    assert 0.0 <= float(propensity.min()) < 0.2
    assert 0.6 < float(propensity.max()) <= 1.0
    assert float(propensity.mean()) == pytest.approx(0.4, abs=0.01)


def test_nodes_and_classes_follow_the_formula(ragged: Data) -> None:
    ragged.x = ragged.x * 1e4  # so large that the softmax is an argmax
    sample = FeatureDependentNoise(0.3, spread=0.2).sample(ragged, 8)
    stream = torch.Generator().manual_seed(8)
    nodes = torch.nonzero(ragged.y >= 0).flatten()
    levels = torch.rand(88, generator=stream, dtype=torch.float64).numpy()
    propensity = truncnorm.ppf(levels, -0.3 / 0.2, 0.7 / 0.2, loc=0.3, scale=0.2)
    clocks = -np.log(torch.rand(88, generator=stream, dtype=torch.float64).numpy()) / propensity
    chosen = nodes[np.argsort(clocks)[:26].copy()]
    assert set(torch.nonzero(sample.flip_mask).flatten().tolist()) == set(chosen.tolist())
    projected = ragged.x @ torch.randn(5, 4, generator=stream)
    for node in chosen.tolist():
        ranking = projected[node].argsort(descending=True).tolist()
        assert sample.y[node] == next(c for c in ranking if c != ragged.y[node])


def test_a_node_without_features_flips_to_any_other_class(ragged: Data) -> None:
    ragged.x = torch.zeros(97, 5)
    sample = FeatureDependentNoise(1.0).sample(ragged, 0)
    largest = sample.y[ragged.y == 0]
    assert set(largest.tolist()) == {1, 2, 3}


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_features_give_the_same_noise(ragged: Data, layout: torch.layout) -> None:
    dense = FeatureDependentNoise(0.4).sample(ragged, 3)
    ragged.x = ragged.x.to_sparse(layout=layout)
    assert torch.equal(FeatureDependentNoise(0.4).sample(ragged, 3).y, dense.y)


@pytest.mark.parametrize("spread", [0.0, -1.0, float("nan"), float("inf")])
def test_the_spread_is_positive(spread: float) -> None:
    with pytest.raises(InputError, match="spread"):
        FeatureDependentNoise(0.1, spread=spread)


def test_features_are_needed(ragged: Data) -> None:
    ragged.x = None
    with pytest.raises(InputError, match=r"data\.x: missing"):
        FeatureDependentNoise(0.1).sample(ragged, 0)
