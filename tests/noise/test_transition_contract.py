"""What every registered transition estimator promises."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.noise import TransitionEstimator
from graphclean.types import InputError

Make = Callable[..., Data]

NAMES = sorted(
    name for name, cls in TransitionEstimator.registry.items() if "graphclean" in cls.__module__
)
TRUE = np.array([[0.8, 0.15, 0.05], [0.1, 0.9, 0.0], [0.05, 0.25, 0.7]])
PRIOR = np.array([0.4, 0.35, 0.25])


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def blocks(noisy_blocks: Make) -> Data:
    return noisy_blocks(TRUE, PRIOR, n=300)


def build(name: str, data: Data, **params: Any) -> TransitionEstimator:
    """Build an estimator small enough for a test; every second node is verified where needed."""
    verified = data.y_clean.clone()
    verified[1::2] = -1
    small = {"steps": 80, "epochs": 60, "rounds": 3, "verified": verified, "random_state": 0}
    accepted = inspect.signature(TransitionEstimator.registry[name]).parameters
    return TransitionEstimator.create(
        name, **{key: value for key, value in (small | params).items() if key in accepted}
    )


def some_probs(data: Data, classes: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(data.y), classes, generator=rng, dtype=torch.float64)
    logits[torch.arange(len(data.y)), data.y_clean] += 2.5
    return logits.softmax(dim=1)


def fitted(name: str, data: Data, classes: int = 3, **params: Any) -> TransitionEstimator:
    estimator = build(name, data, **params)
    probs = some_probs(data, classes) if estimator.reads_probs else None
    assert estimator.fit(data, probs) is estimator
    return estimator


def check_result(estimator: TransitionEstimator, classes: int) -> None:
    transition, prior = estimator.transition_, estimator.class_prior_
    assert (transition.shape, prior.shape) == ((classes, classes), (classes,))
    assert (transition.dtype, prior.dtype) == (np.float64, np.float64)
    assert (transition >= 0).all()
    assert (prior >= 0).all()
    np.testing.assert_allclose(transition.sum(axis=1), 1.0, atol=1e-9)
    assert prior.sum() == pytest.approx(1.0)
    if estimator.standard_error_ is not None:
        assert estimator.standard_error_.shape == (classes, classes)
        assert not (estimator.standard_error_ < 0).any()
    gap = np.sqrt(((transition - np.eye(classes)) ** 2).sum() / (2 * classes))
    assert estimator.credibility_ == pytest.approx(1 - gap)
    assert 0 <= estimator.credibility_ <= 1


def test_the_promised_estimators_are_registered() -> None:
    assert {
        "anchors",
        "confident_joint",
        "dual_t",
        "hoc",
        "neighbour_lca",
        "verified",
        "volminnet",
    } <= set(NAMES)


def test_result_has_the_promised_form(name: str, blocks: Data) -> None:
    estimator = fitted(name, blocks)
    check_result(estimator, 3)
    params = estimator.get_params()
    assert set(params) == set(inspect.signature(type(estimator)).parameters)
    copy = clone(estimator)
    assert not hasattr(copy, "transition_")
    assert set(copy.get_params()) == set(params)


def test_classes_may_be_numbered_in_any_order(name: str, blocks: Data) -> None:
    order = torch.tensor([2, 0, 1])  # class c is called order[c]
    renamed = blocks.clone()
    renamed.y, renamed.y_clean = order[blocks.y], order[blocks.y_clean]
    estimator, other = build(name, blocks), build(name, renamed)
    probs = some_probs(blocks, 3)
    moved = torch.empty_like(probs)
    moved[:, order] = probs
    estimator.fit(blocks, probs if estimator.reads_probs else None)
    other.fit(renamed, moved if other.reads_probs else None)
    back = np.ix_(order.numpy(), order.numpy())
    # cleanlab rounds the joint to whole nodes, VolMinNet computes in single precision
    tolerance = {"confident_joint": 2e-2, "volminnet": 1e-4}.get(name, 1e-6)
    np.testing.assert_allclose(other.transition_[back], estimator.transition_, atol=tolerance)
    np.testing.assert_allclose(
        other.class_prior_[order.numpy()], estimator.class_prior_, atol=tolerance
    )
    assert np.abs(other.transition_ - estimator.transition_).max() > 1e-3


def test_seed_decides_and_global_state_does_not(name: str, blocks: Data) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (fitted(name, blocks, random_state=4) for _ in range(2))
    np.testing.assert_array_equal(first.transition_, again.transition_)
    np.testing.assert_array_equal(first.class_prior_, again.class_prior_)
    if "random_state" in first.get_params():
        other = fitted(name, blocks, random_state=5)
        if name != "volminnet":  # its seed matters only where the features are reduced
            assert not np.array_equal(first.transition_, other.transition_)
        with pytest.raises(InputError, match="random_state: -1"):
            fitted(name, blocks, random_state=-1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_the_truth_is_not_read_and_nothing_is_changed(name: str, blocks: Data) -> None:
    poisoned, estimator = blocks.clone(), build(name, blocks)
    poisoned.y_clean = torch.full_like(blocks.y, 12345)
    poisoned.noise_mask = torch.ones(len(blocks.y), dtype=torch.bool)
    probs = some_probs(blocks, 3) if estimator.reads_probs else None
    before = None if probs is None else probs.clone()
    expected = estimator.fit(blocks, probs).transition_
    kept = poisoned.clone()
    np.testing.assert_array_equal(estimator.fit(poisoned, probs).transition_, expected)
    assert poisoned.keys() == kept.keys()
    assert all(torch.equal(poisoned[key], kept[key]) for key in kept.to_dict())
    assert probs is None or torch.equal(probs, before)


def test_labels_are_read(name: str, blocks: Data) -> None:
    """A third of class 0 renamed to class 2 shows in row 0."""
    before = fitted(name, blocks, steps=300).transition_
    blocks.y[(blocks.y_clean == 0) & (torch.arange(300) % 3 == 0)] = 2
    if name != "anchors":  # it reads the labels through the probabilities alone
        assert fitted(name, blocks, steps=300).transition_[0, 2] > before[0, 2] + 0.05


def test_absent_class_unlabelled_and_isolated_nodes(name: str, blocks: Data) -> None:
    """Classes 1 and 4 of five are carried by nobody, nor is class 1 by any verified node."""
    rename = torch.tensor([0, 2, 3])
    blocks.y, blocks.y_clean = rename[blocks.y], rename[blocks.y_clean]
    blocks.class_names = list("abcde")
    blocks.y[::7] = -1
    source, target = blocks.edge_index
    keep = (source < target) & (source > 20)
    loops = torch.arange(30, 60)
    blocks.edge_index = torch.cat([blocks.edge_index[:, keep], torch.stack([loops, loops])], dim=1)
    blocks.x = blocks.x.to_sparse()
    estimator = fitted(name, blocks, classes=5)
    check_result(estimator, 5)
    for absent in (1, 4):
        np.testing.assert_array_equal(estimator.transition_[absent], np.eye(5)[absent])
        assert estimator.class_prior_[absent] == 0
        assert (np.delete(estimator.transition_[:, absent], absent) == 0).all()


def test_two_classes_and_no_noise(name: str, noisy_blocks: Make) -> None:
    data = noisy_blocks(np.eye(2), np.array([0.6, 0.4]), n=200, homophily=0.97, spread=8.0)
    estimator = fitted(name, data, classes=2, steps=500, epochs=300)
    check_result(estimator, 2)
    if estimator.reads_probs:  # they also hold the doubt of the probabilities
        assert np.diag(estimator.transition_).min() > 0.6
    else:
        np.testing.assert_allclose(estimator.transition_, np.eye(2), atol=0.05)
        np.testing.assert_allclose(estimator.class_prior_, [0.6, 0.4], atol=0.1)


def test_a_class_of_one_node(name: str, noisy_blocks: Make) -> None:
    data = noisy_blocks(TRUE, PRIOR, n=150)
    data.y[7] = 3
    check_result(fitted(name, data, classes=4), 4)


def test_a_checked_graph_gives_the_same(name: str, blocks: Data) -> None:
    raw, checked = fitted(name, blocks), fitted(name, check(blocks))
    np.testing.assert_allclose(raw.transition_, checked.transition_, atol=1e-9)


def test_bad_graphs_are_refused(name: str, blocks: Data) -> None:
    estimator = build(name, blocks)
    probs = some_probs(blocks, 3) if estimator.reads_probs else None
    with pytest.raises(InputError, match="data: a dict"):
        estimator.fit({"y": 1}, probs)
    blocks.y = torch.zeros(300, dtype=torch.long)
    with pytest.raises(InputError, match="y: a single class"):
        estimator.fit(blocks, probs)
    blocks.y = torch.full((300,), -1)
    with pytest.raises(InputError, match="y: no labelled node"):
        estimator.fit(blocks, probs)


def test_probabilities_are_asked_for_refused_or_checked(name: str, blocks: Data) -> None:
    estimator, probs = build(name, blocks), some_probs(blocks, 3)
    if not estimator.reads_probs:
        with pytest.raises(InputError, match=r"pred_probs: given\. .* leave it out"):
            estimator.fit(blocks, probs)
        return
    with pytest.raises(InputError, match="pred_probs: missing"):
        estimator.fit(blocks)
    with pytest.raises(InputError, match=r"pred_probs: shape \[300, 2\]"):
        estimator.fit(blocks, probs[:, :2])
    with pytest.raises(InputError, match="pred_probs: str"):
        estimator.fit(blocks, "high")
    with pytest.raises(InputError, match="pred_probs: a row that does not sum to one"):
        estimator.fit(blocks, 2 * probs)
    with pytest.raises(InputError, match="pred_probs: a negative or non-finite"):
        estimator.fit(blocks, -probs)
    blocks.y[0] = -1
    expected = estimator.fit(blocks, probs).transition_
    probs[0] = torch.nan
    np.testing.assert_array_equal(estimator.fit(blocks, probs.numpy()).transition_, expected)
    assert estimator.standard_error_ is None


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("anchors", "quantile", 1.0),
        ("dual_t", "quantile", "high"),
        ("hoc", "views", "edges"),
        ("hoc", "rounds", 0),
        ("hoc", "components", 2.5),
        ("hoc", "steps", 0),
        ("neighbour_lca", "max_iter", 0),
        ("verified", "verified", None),
        ("verified", "verified", torch.zeros(3, dtype=torch.long)),
        ("verified", "verified", torch.full((300,), 3)),
        ("verified", "verified", torch.full((300,), -1)),
        ("verified", "verified", torch.zeros(300)),
        ("volminnet", "volume", -1.0),
        ("volminnet", "epochs", 0),
        ("volminnet", "lr", 0.0),
        ("volminnet", "weight_decay", "strong"),
        ("volminnet", "components", 0),
    ],
)
def test_bad_parameters_are_refused(name: str, argument: str, value: Any, blocks: Data) -> None:
    with pytest.raises(InputError) as caught:
        fitted(name, blocks, **{argument: value})
    assert caught.value.argument == argument
    assert caught.value.fix.endswith(".")


@pytest.mark.parametrize(("name", "params"), [("neighbour_lca", {}), ("hoc", {"views": "graph"})])
def test_without_pairs_of_neighbours_there_is_nothing_to_count(
    name: str, params: dict[str, Any], blocks: Data
) -> None:
    blocks.edge_index = torch.arange(300).reshape(150, 2).t().contiguous()
    with pytest.raises(InputError, match="no labelled node with two labelled neighbours"):
        fitted(name, blocks, **params)
