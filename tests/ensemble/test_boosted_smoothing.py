"""EBBS: gradients and steps against finite differences and dense algebra, trees against sklearn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor
from torch_geometric.data import Data

from graphclean.ensemble import BoostedSmoothing
from graphclean.ensemble.boosted_smoothing import MetaLoss, Smoothing
from graphclean.ensemble.regression_trees import TreeSum, fit_tree
from graphclean.nn.supervision import supervision
from graphclean.types import InputError

Make = Callable[..., Any]


def small(**params: Any) -> BoostedSmoothing:
    settings = {"rounds": 5, "min_samples_leaf": 3, "val_fraction": 0.0, "random_state": 0}
    return BoostedSmoothing(**(settings | params))


def dense_smoothing(data: Data, alpha: float, steps: int) -> np.ndarray:
    """P as a dense matrix, straight from its definition."""
    n = int(data.num_nodes)
    adjacency = np.eye(n)
    adjacency[data.edge_index[1], data.edge_index[0]] = 1.0
    adjacency[data.edge_index[0], data.edge_index[1]] = 1.0
    walk = adjacency / adjacency.sum(axis=1, keepdims=True)
    smoothing = np.eye(n)
    for _ in range(steps):
        smoothing = alpha * walk @ smoothing + (1 - alpha) * np.eye(n)
    return smoothing


def meta_loss(data: Data, weight: Tensor | None = None) -> MetaLoss:
    labels = supervision(data, None, data.train_mask, weight, data.val_mask)
    return MetaLoss(Smoothing(data, 0.6, 3), labels)


def test_smoothing_and_its_transpose_are_the_dense_matrix(noisy: Data) -> None:
    expected = dense_smoothing(noisy, 0.6, 3)
    smoothing = Smoothing(noisy, 0.6, 3)
    unit = torch.eye(90, dtype=torch.float64)
    np.testing.assert_allclose(smoothing(unit), expected, atol=1e-12)
    np.testing.assert_allclose(smoothing.transposed(unit), expected.T, atol=1e-12)
    assert np.abs(expected - expected.T).max() > 1e-2
    np.testing.assert_allclose(smoothing(torch.ones(90, 1)), np.ones((90, 1)), atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_residual_is_minus_the_numerical_gradient(noisy: Data, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(90, generator=generator) + 0.1 if weighted else None
    loss = meta_loss(noisy, weight)
    smoothing = torch.from_numpy(dense_smoothing(noisy, 0.6, 3))
    scores = torch.randn(90, 3, generator=generator, dtype=torch.float64)
    rows = noisy.train_mask
    own = torch.ones(90).double() if weight is None else weight.double()
    share = own[rows] / own[rows].sum()

    def value(at: Tensor) -> float:
        chosen = (smoothing @ at).log_softmax(dim=1)[rows, noisy.y[rows]]
        return float(-(share * chosen).sum())

    found = loss.residual(loss.smoothing(scores))
    assert float(loss(loss.smoothing(scores))) == pytest.approx(value(scores), abs=1e-9)
    for node, column in ((0, 0), (17, 2), (50, 1), (89, 0)):
        moved = torch.zeros_like(scores)
        moved[node, column] = 1e-5
        slope = (value(scores + moved) - value(scores - moved)) / 2e-5
        assert float(found[node, column]) == pytest.approx(-slope, abs=1e-9)
    # Nodes without a label of their own are taught, too.
    assert float(found[noisy.test_mask].abs().max()) > 1e-4


def test_step_is_the_minimum_on_the_line(noisy: Data) -> None:
    loss = meta_loss(noisy)
    generator = torch.Generator().manual_seed(3)
    scores = loss.smoothing(torch.randn(90, 3, generator=generator))
    along = loss.smoothing(loss.residual(scores))
    step = loss.best_step(scores, along)
    grid = np.linspace(0.0, 4.0 / float(along[loss.rows].abs().max()), 2001)
    losses = [float(loss(scores + each * along)) for each in grid]
    assert step == pytest.approx(grid[int(np.argmin(losses))], abs=2 * grid[1])
    assert step > 0.0
    assert loss.best_step(scores, -along) == 0.0
    # Of classes that a step separates, there is no minimum: the largest logit moves by 4.
    target = torch.zeros(90, 3, dtype=torch.float64)
    target[torch.arange(90), noisy.y] = 1.0
    assert loss.best_step(scores * 0.0, target) == pytest.approx(4.0, abs=1e-3)


def test_no_round_raises_the_loss(noisy: Data) -> None:
    for lr in (0.2, 1.0):
        model = small(rounds=25, lr=lr).fit(noisy)
        assert (np.diff(model.history_["loss"]) <= 1e-12).all()
        assert model.history_["loss"][-1] < 0.9 * model.history_["loss"][0]


def test_first_round_by_hand(noisy: Data) -> None:
    """Prior, residual, one tree on all nodes, the exact step, the smoothing of everything."""
    model = small(rounds=1, max_features=1.0, lr=0.5, neighbours=(), structure=False)
    probs = model.fit(noisy, val_mask=noisy.val_mask).predict_proba(noisy)
    smoothing = dense_smoothing(noisy, 0.67, 5)
    rows = noisy.train_mask.numpy()
    onehot = np.eye(3)[noisy.y.numpy()]
    counts = onehot[rows].sum(axis=0) + 0.5
    prior = np.log(counts / counts.sum())
    wrong = np.where(rows[:, None], onehot - counts / counts.sum(), 0.0) / rows.sum()
    tree = DecisionTreeRegressor(max_depth=6, min_samples_leaf=3, random_state=0)
    moved = smoothing @ tree.fit(noisy.x.numpy(), smoothing.T @ wrong).predict(noisy.x.numpy())
    grid = np.linspace(0, 4 / np.abs(moved[rows]).max(), 20001)

    def loss(step: float) -> float:
        logits = prior + step * moved
        logits = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logits[rows][onehot[rows] > 0].mean())

    step = 0.5 * grid[int(np.argmin([loss(each) for each in grid[::20]])) * 20]
    powers = np.exp(prior + step * moved)
    np.testing.assert_allclose(probs, powers / powers.sum(axis=1, keepdims=True), atol=5e-3)


def test_best_round_is_kept(noisy: Data) -> None:
    model = small(rounds=40, lr=1.0, patience=5).fit(noisy, val_mask=noisy.val_mask)
    losses = model.history_["val_loss"]
    assert model.best_round_ == int(np.argmin(losses)) + 1 == len(model.trees_.trees)
    assert model.stop_reason_ == "patience"
    assert len(losses) == model.best_round_ + 5
    held = noisy.val_mask
    chosen = model.predict_proba(noisy)[held, noisy.y[held]].log()
    assert float(-chosen.mean()) == pytest.approx(min(losses), abs=1e-5)


def test_events_stop_and_are_counted(noisy: Data) -> None:
    events: list[dict[str, Any]] = []

    def stop_at_three(event: dict[str, Any]) -> bool:
        events.append(event)
        return bool(event.get("epoch") == 3)

    model = small(rounds=9).fit(noisy, callbacks=[stop_at_three])
    assert [event["event"] for event in events] == ["start", *["epoch"] * 3, "end"]
    assert model.stop_reason_ == events[-1]["stop_reason"] == "callback"
    assert len(model.trees_.trees) == 3


def test_trees_are_those_of_scikit_learn_with_gaps() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    target = np.nan_to_num(x[:, :2]) + rng.normal(size=(300, 2))
    settings = {"max_depth": 4, "min_samples_leaf": 5, "max_features": 0.6}
    reference = DecisionTreeRegressor(**settings, random_state=7).fit(x, target)
    tree = fit_tree(x, target, **settings, seed=7)  # type: ignore[arg-type]
    other = rng.normal(size=(200, 5)).astype(np.float32)
    other[rng.random(other.shape) < 0.3] = np.nan
    for rows in (x, other):
        np.testing.assert_array_equal(tree(rows), reference.predict(rows))
    total = TreeSum([tree.times(0.5), tree], 2)
    again = TreeSum.from_arrays(total.to_arrays())
    np.testing.assert_array_equal(again(other), total(other))
    np.testing.assert_allclose(total(other), 1.5 * reference.predict(other))
    assert TreeSum.from_arrays(TreeSum([], 2).to_arrays())(other).shape == (200, 2)


def test_the_graph_makes_up_for_missing_features(planted: Make) -> None:
    """Featureless nodes among labelled ones are told by their neighbours."""
    data = planted(n=300, noise=0.0, seed=4)
    data.x[data.test_mask] = 0.0
    model = small(rounds=30, neighbours=(), structure=False).fit(data)
    alone = Data(x=data.x, edge_index=torch.empty(2, 0, dtype=torch.long))
    assert len(model.predict(alone)[data.test_mask].unique()) == 1
    assert (model.predict(data) == data.y)[data.test_mask].float().mean() > 0.7


@pytest.mark.parametrize(
    ("argument", "value"),
    [("rounds", 0), ("lr", 1.5), ("alpha", 0.0), ("steps", 0), ("max_features", 0.0),
     ("neighbours", ("median",)), ("structure", "yes"), ("max_depth", 0)],
)  # fmt: skip
def test_bad_parameter_is_named(noisy: Data, argument: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        small(**{argument: value}).fit(noisy)
    assert caught.value.argument == argument


def test_other_columns_are_refused(noisy: Data) -> None:
    model = small().fit(noisy)
    with pytest.raises(InputError):
        model.predict_proba(noisy, prepared=small(neighbours=()).prepare(noisy))
    with pytest.raises(InputError):
        model.predict_proba(noisy, prepared="table")
