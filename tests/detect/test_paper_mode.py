"""The published method, step by step; its features are in test_hop_features.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.metrics import average_precision_score
from torch_geometric.data import Data
from torch_geometric.nn.models import MLP as PyGMLP

from graphclean.detect import GraphCleaner
from graphclean.detect.paper_mode import (
    MislabelMLP,
    flip_half,
    published_classifier,
)
from graphclean.nn import GCN
from graphclean.noise.confident_joint import confident_joint, transition_from_joint
from graphclean.types import spawn_seeds

Make = Callable[..., Any]
SMALL = GCN(hidden=8, epochs=20, patience=None)


def paper(**params: Any) -> GraphCleaner:
    return GraphCleaner(**({"mode": "paper", "classifier": SMALL} | params))


def test_base_model_is_the_published_one() -> None:
    params = published_classifier().get_params()
    published = {
        "hidden": 256,
        "num_layers": 3,
        "dropout": 0.5,
        "epochs": 200,
        "lr": 1e-3,
        "weight_decay": 5e-4,
        "patience": None,
        "monitor": "val_accuracy",
        "norm": None,
        "feature_norm": None,
    }
    assert published == {key: params[key] for key in published}


def test_detector_is_the_published_one() -> None:
    """Against a plain loop: 7-32-2 with ReLU before batch norm, L1 loss on Pr(flipped), Adam."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 7, generator=generator)
    target, rows = torch.arange(40) % 2, torch.arange(40) < 30
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(spawn_seeds(3, 2)[1])
        reference = PyGMLP([7, 32, 2], act_first=True, norm="batch_norm")
    optimiser = torch.optim.Adam(reference.parameters(), lr=1e-3, weight_decay=5e-4)
    for _ in range(500):
        optimiser.zero_grad()
        chance = reference(x[rows]).softmax(dim=1)[:, 1]
        torch.nn.functional.l1_loss(chance, target[rows].float()).backward()
        optimiser.step()
    expected = reference.eval()(x).softmax(dim=1).detach()
    detector = MislabelMLP(random_state=3)
    found = detector.fit(Data(x=x), target, rows).predict_proba(Data(x=x))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert found.std() > 0.05


def test_half_of_the_held_out_labels_flip_by_the_transition() -> None:
    transition = np.array([[0.7, 0.3, 0.0, 0.0], [0.2, 0.6, 0.2, 0.0], [0, 0, 1, 0], [0, 0, 0, 1]])
    y = torch.tensor([0] * 400 + [1] * 401 + [2] * 100 + [3] * 99)
    val = torch.arange(1000) % 2 == 0
    flipped, changed = flip_half(y, val, transition, np.random.default_rng(0))
    eligible = val & (y < 2)
    assert int(changed.sum()) == int(eligible.sum()) // 2
    assert not (changed & ~eligible).any()
    assert torch.equal(flipped != y, changed)
    assert set(flipped[changed & (y == 0)].tolist()) == {1}
    shares = torch.bincount(flipped[changed & (y == 1)], minlength=4) / (changed & (y == 1)).sum()
    np.testing.assert_allclose(shares.numpy(), [0.5, 0.0, 0.5, 0.0], atol=0.15)


def test_targets_of_flips_follow_the_transition() -> None:
    """Chi-square against T's off-diagonal, class by class; two of the targets are impossible."""
    transition = np.array(
        [[0.7, 0.2, 0.1, 0.0], [0.3, 0.1, 0.3, 0.3], [0.05, 0.1, 0.85, 0.0], [0.2, 0.6, 0.2, 0.0]]
    )
    y = torch.arange(4).repeat(2000)
    everyone = torch.ones(8000, dtype=torch.bool)
    flipped, changed = flip_half(y, everyone, transition, np.random.default_rng(1))
    assert int(changed.sum()) == 4000
    assert torch.equal(flipped != y, changed)
    chosen = torch.bincount(y[changed], minlength=4)
    assert chisquare(chosen.numpy()).pvalue > 0.01
    for label in range(4):
        counts = torch.bincount(flipped[changed & (y == label)], minlength=4).numpy()
        off = transition[label] * (np.arange(4) != label)
        possible = off > 0
        assert counts[~possible].sum() == 0
        expected = off[possible] / off.sum() * counts.sum()
        assert chisquare(counts[possible], expected).pvalue > 0.01
    again, _ = flip_half(y, everyone, transition, np.random.default_rng(1))
    assert torch.equal(flipped, again)


def test_no_class_that_can_flip_means_no_flip() -> None:
    y = torch.tensor([0, 1, 0, 1])
    flipped, changed = flip_half(
        y, torch.ones(4, dtype=torch.bool), np.eye(2), np.random.default_rng(0)
    )
    assert torch.equal(flipped, y)
    assert not changed.any()


def test_transition_and_predictions_come_from_the_best_epoch(planted: Make) -> None:
    data = planted(120, seed=3)
    model = GCN(hidden=8, epochs=60, patience=None, monitor="val_accuracy")
    best, last = (
        paper(classifier=model, features_epoch=epoch).fit(data) for epoch in ("best", "last")
    )
    np.testing.assert_array_equal(best.transition_, last.transition_)
    frames = [detector.find_label_issues().frame for detector in (best, last)]
    assert (frames[0]["predicted_label"] == frames[1]["predicted_label"]).all()
    assert not frames[0]["label_quality"].equals(frames[1]["label_quality"])

    model.set_params(random_state=spawn_seeds(0, 3)[0])
    model.fit(data, mask=data.train_mask, val_mask=data.val_mask)
    probs = model.predict_proba(data, epoch="best")
    assert not torch.equal(probs, model.predict_proba(data, epoch="last"))
    known = probs[data.val_mask].double()
    joint = confident_joint(
        data.y[data.val_mask].numpy(), (known / known.sum(dim=1, keepdim=True)).numpy()
    )
    np.testing.assert_allclose(best.transition_, transition_from_joint(joint))


def test_threshold_is_the_published_one(planted: Make) -> None:
    data = planted(240, noise=0.1, seed=1)
    detector = paper(classifier=GCN(hidden=16, epochs=60, patience=None)).fit(data)
    rows = data.test_mask.numpy()
    score = 1.0 - detector.label_quality_[rows]
    flagged = detector.is_label_issue_[rows]
    np.testing.assert_array_equal(flagged, score > 0.97)
    assert 0 < flagged.sum() < (score > 0.5).sum()
    assert detector.noise_rate_.value == pytest.approx(flagged.mean())
    assert average_precision_score(data.noise_mask.numpy()[rows], score) > 0.6
    low = paper(classifier=GCN(hidden=16, epochs=60, patience=None), threshold=0.5).fit(data)
    np.testing.assert_array_equal(low.is_label_issue_[rows], score > 0.5)


def test_draws_are_averaged(planted: Make) -> None:
    """The first draw of two is the draw of one: the mean of both is not either of them."""
    data = planted(60, seed=1)
    one, two = (paper(draws=draws).fit(data).label_quality_ for draws in (1, 2))
    rows = data.test_mask.numpy()
    assert np.abs(one[rows] - two[rows]).max() > 1e-4
    assert (two[rows] >= one[rows] / 2 - 1e-9).all()
    assert (two[rows] <= (1 + one[rows]) / 2 + 1e-9).all()
