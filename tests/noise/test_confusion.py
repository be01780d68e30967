from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cleanlab.count import compute_confident_joint, estimate_latent
from torch import Tensor
from torch_geometric.data import Data

from graphclean.noise import ConfusionNoise, flip_distribution
from graphclean.noise._out_of_fold import (
    classifier_probabilities,
    propagated_logistic_probabilities,
)
from graphclean.types import InputError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def confusing_probabilities(y: Tensor) -> Tensor:
    """Noisy predictions in which 0 and 1 look alike and 2 stands apart."""
    logits = 2.5 * torch.randn(len(y), 3, generator=rng(1), dtype=torch.float64)
    similar = torch.tensor([[2.0, 1.5, -2.0], [1.5, 2.0, -2.0], [-2.0, 0.5, 2.0]])
    return torch.softmax(logits + similar[y.clamp(min=0)], dim=1)


def test_flip_distribution_is_the_off_diagonal_of_cleanlabs_noise_matrix() -> None:
    y = torch.arange(3).repeat_interleave(torch.tensor([200, 90, 150]))
    probabilities = confusing_probabilities(y)
    joint = compute_confident_joint(y.numpy(), probabilities.numpy())
    noise_matrix = estimate_latent(joint, y.numpy())[1]  # columns are true classes
    expected = noise_matrix.T * (1 - np.eye(3))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(flip_distribution(y, probabilities).numpy(), expected, atol=1e-6)


def test_a_class_that_is_never_confused_falls_back_to_its_mean_probabilities() -> None:
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    probabilities = torch.tensor(
        [
            [0.8, 0.15, 0.05],
            [0.6, 0.25, 0.15],
            [0.1, 0.9, 0.0],
            [0.1, 0.9, 0.0],
            [0.0, 0.0, 1.0],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float64,
    )
    expected = [[0.0, 2 / 3, 1 / 3], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    np.testing.assert_allclose(flip_distribution(y, probabilities).numpy(), expected, atol=1e-12)


def test_a_class_without_nodes_still_has_a_distribution() -> None:
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    distribution = flip_distribution(y, confusing_probabilities(y))
    torch.testing.assert_close(distribution.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert (distribution.diagonal() == 0).all()


def test_given_probabilities_drive_the_realised_matrix(tiny_data: Data) -> None:
    probabilities = confusing_probabilities(tiny_data.y)
    sample = ConfusionNoise(0.5, pred_probs=probabilities).sample(tiny_data, 0)
    distribution = flip_distribution(tiny_data.y, probabilities)
    realised = sample.transition.double()
    assert realised.diagonal().tolist() == [0.5, 0.5, 0.5]  # 10 of the 20 nodes of each class
    off_diagonal = realised - torch.diag(realised.diagonal())
    assert ((off_diagonal - 0.5 * distribution).abs() < 1 / 20).all()


def test_rows_of_unlabelled_nodes_are_not_read(tiny_data: Data) -> None:
    tiny_data.y[::7] = -1
    probabilities = confusing_probabilities(tiny_data.y)
    poisoned = probabilities.clone()
    poisoned[::7] = torch.nan
    clean = ConfusionNoise(0.3, pred_probs=probabilities).sample(tiny_data, 0)
    assert torch.equal(clean.y, ConfusionNoise(0.3, pred_probs=poisoned).sample(tiny_data, 0).y)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda p: p[:, :2], r"shape \[60, 2\]"),
        (lambda p: p[:-1], r"shape \[59, 3\]"),
        (lambda p: p * 2, "does not sum to one"),
        (lambda p: p - 0.5, "negative"),
        (lambda p: p * torch.nan, "non-finite"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(
    tiny_data: Data, spoil: Any, complaint: str
) -> None:
    probabilities = spoil(confusing_probabilities(tiny_data.y))
    with pytest.raises(InputError, match=complaint):
        ConfusionNoise(0.3, pred_probs=probabilities.numpy()).sample(tiny_data, 0)


class Memoriser:
    """Knows the labels it was fitted on by heart, and nothing else."""

    def __init__(self) -> None:
        self.fitted_on: list[Tensor] = []
        self.mask: Tensor | None = None

    def fit(self, data: Data, y: Any = None, mask: Any = None, sample_weight: Any = None) -> Any:
        assert self.mask is None  # a fresh copy in every fold
        self.mask = mask
        self.fitted_on.append(mask)
        return self

    def predict_proba(self, data: Data) -> Tensor:
        assert self.mask is not None
        probabilities = torch.full((data.num_nodes, 3), 1 / 3)
        probabilities[self.mask] = torch.eye(3)[data.y[self.mask]]
        return probabilities


def test_a_classifier_judges_only_nodes_it_was_not_fitted_on(tiny_data: Data) -> None:
    tiny_data.y[::7] = -1
    memoriser = Memoriser()
    probabilities = classifier_probabilities(tiny_data, tiny_data.y, memoriser, rng())
    torch.testing.assert_close(
        probabilities[tiny_data.y >= 0], torch.full((51, 3), 1 / 3, dtype=torch.float64)
    )
    assert memoriser.mask is None


def test_folds_are_stratified(tiny_data: Data) -> None:
    shared = Memoriser()
    masks = shared.fitted_on

    class Recorder(Memoriser):
        def __deepcopy__(self, memo: Any) -> Recorder:
            copy = Recorder()
            copy.fitted_on = masks
            return copy

    ConfusionNoise(0.2, classifier=Recorder()).sample(tiny_data, 0)
    assert len(masks) == 5
    for mask in masks:
        assert torch.bincount(tiny_data.y[mask]).tolist() == [16, 16, 16]
    assert torch.equal(torch.stack(masks).sum(dim=0), torch.full((60,), 4))


def test_probabilities_and_classifier_exclude_each_other() -> None:
    with pytest.raises(InputError, match="either pred_probs or a classifier"):
        ConfusionNoise(0.1, pred_probs=torch.ones(2, 2) / 2, classifier=Memoriser())


def three_blobs(sparse: bool = False) -> Data:
    """Classes 0 and 1 overlap, class 2 is far away; chain edges within classes."""
    y = torch.arange(3).repeat_interleave(40)
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]])
    x = centres[y] + torch.randn(120, 2, generator=rng(2))
    chain = torch.stack([torch.arange(119), torch.arange(1, 120)])
    return Data(x=x.to_sparse() if sparse else x, edge_index=chain[:, ::2], y=y)


def test_the_built_in_classifier_finds_which_classes_are_alike() -> None:
    data = three_blobs()
    sample = ConfusionNoise(0.2).sample(data, 0)
    assert sample.transition[0, 1] > 0.15
    assert sample.transition[1, 0] > 0.15


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_features_give_the_same_probabilities(layout: str) -> None:
    dense, sparse = three_blobs(), three_blobs(sparse=True)
    if layout == "csr":
        sparse.x = sparse.x.to_sparse_csr()
    expected = propagated_logistic_probabilities(dense, dense.y, 3, rng())
    found = propagated_logistic_probabilities(sparse, dense.y, 3, rng())
    torch.testing.assert_close(found, expected)


def test_the_built_in_classifier_is_out_of_fold() -> None:
    data = three_blobs()
    data.x = torch.eye(120)  # every node is its own feature: only memorising would fit
    data.edge_index = data.edge_index[:, :0]
    probabilities = propagated_logistic_probabilities(data, data.y, 3, rng())
    confidence = probabilities[torch.arange(120), data.y]
    assert confidence.mean() < 0.45


def test_wide_features_and_a_class_of_one_node_are_handled(tiny_data: Data) -> None:
    tiny_data.x = torch.rand(60, 300, generator=rng())
    tiny_data.y[1:20] = 1
    sample = ConfusionNoise(0.3).sample(tiny_data, 0)
    assert int(sample.flip_mask.sum()) == 18


def test_two_nodes_are_enough_and_one_is_not(six_nodes: Data) -> None:
    six_nodes.y[[0, 1, 4, 5]] = -1
    assert int(ConfusionNoise(0.5).sample(six_nodes, 0).flip_mask.sum()) == 1
    six_nodes.y[2] = -1
    with pytest.raises(InputError, match="fewer than two labels"):
        ConfusionNoise(0.5).sample(six_nodes, 0)


def test_no_features_and_no_probabilities_is_an_error(tiny_data: Data) -> None:
    tiny_data.x = None
    with pytest.raises(InputError, match=r"data\.x: missing"):
        ConfusionNoise(0.1).sample(tiny_data, 0)
