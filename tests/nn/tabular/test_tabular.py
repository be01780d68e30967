"""What all learners of tables share: rows, weights, soft targets, columns, threads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor
from torch_geometric.data import Data

import graphclean as gc
from graphclean.nn import NodeClassifier, ScikitLearnClassifier, TabularClassifier, cross_fit
from graphclean.types import InputError, spawn_seeds

Build = Callable[..., Any]

NAMES = sorted(n for n, c in NodeClassifier.registry.items() if issubclass(c, TabularClassifier))
every = pytest.mark.parametrize("name", NAMES)
ROWS_ONLY = {"neighbours": (), "structure": False}


@pytest.fixture
def mixed(sbm: Data) -> Data:
    """The class shows in a category alone; gaps everywhere, node 0 without edges and label."""
    rng = np.random.default_rng(3)
    colour = np.array(["red", "green", "blue"], dtype=object)[sbm.y.numpy()]
    colour[rng.random(90) < 0.1] = None
    size = rng.normal(size=90)
    size[rng.random(90) < 0.2] = np.nan
    sbm.edge_index = sbm.edge_index[:, (sbm.edge_index > 0).all(dim=0)]
    sbm.y[0] = -1
    sbm.x = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    frame = {"colour": colour, "size": size, "late": rng.random(90) < 0.5}
    sbm.node_frame = pd.DataFrame(frame)
    return sbm


@every
def test_a_frame_of_categories_and_gaps_is_learned(
    name: str, fast: Build, mixed: Data, half: Tensor
) -> None:
    model = fast(name, **ROWS_ONLY).fit(mixed, mask=half)
    assert model.categorical_names_ == ("colour",)
    assert set(model.numeric_names_) == {"size", "late"}
    probs = model.predict_proba(mixed)
    told = ~half & torch.tensor(mixed.node_frame["colour"].notna().tolist())
    assert float((probs.argmax(1) == mixed.y)[told].float().mean()) > 0.95
    with_graph = fast(name).fit(mixed, mask=half).predict_proba(mixed)
    assert bool(torch.isfinite(with_graph).all())


@every
def test_an_unknown_level_and_an_empty_row_are_predicted(
    name: str, fast: Build, mixed: Data
) -> None:
    model = fast(name, **ROWS_ONLY).fit(mixed)
    other = copy.copy(mixed)
    other.node_frame = mixed.node_frame.copy()
    other.node_frame.loc[5, "colour"] = "mauve"
    other.node_frame.loc[6, ["colour", "size"]] = None
    probs = model.predict_proba(other)
    assert torch.allclose(probs.sum(dim=1), torch.ones(90), atol=1e-5)
    same = torch.arange(90) > 6
    assert torch.equal(probs[same], model.predict_proba(mixed)[same])


@every
def test_what_is_learned_of_columns_is_of_training_rows(
    name: str, fast: Build, mixed: Data, half: Tensor
) -> None:
    table = fast(name).prepare(mixed)
    rng, others = np.random.default_rng(0), ~half.numpy()
    numeric = table.numeric.copy()
    numeric[others] = rng.normal(9, 9, numeric[others].shape)
    colour = table.categorical[0].copy()
    colour[others] = "other"
    changed = type(table)(numeric, table.numeric_names, (colour,), table.categorical_names)
    first, second = (
        fast(name).fit(mixed, mask=half, prepared=each).predict_proba(mixed, prepared=table)
        for each in (table, changed)
    )
    assert torch.equal(first, second)


def test_boosting_is_that_of_scikit_learn(fast: Build, sbm: Data, half: Tensor) -> None:
    model = fast("hist_gradient_boosting", max_features=1.0, l2=0.5, **ROWS_ONLY)
    rows = half.nonzero().view(-1)
    own = HistGradientBoostingClassifier(
        learning_rate=0.03,
        max_iter=30,
        max_leaf_nodes=15,
        min_samples_leaf=3,
        l2_regularization=0.5,
        early_stopping=False,
        random_state=spawn_seeds(0, 1)[0],
    ).fit(sbm.x[rows].numpy(), sbm.y[rows].numpy())
    found = model.fit(sbm, mask=half).predict_proba(sbm).numpy()
    np.testing.assert_allclose(found, own.predict_proba(sbm.x.numpy()), atol=1e-6)


def test_a_soft_target_is_a_row_for_each_class(sbm: Data, half: Tensor) -> None:
    soft = torch.eye(3)[sbm.y] * 0.75
    soft[torch.arange(90), (sbm.y + 1) % 3] = 0.25
    weight = 0.5 + (torch.arange(90) % 4)
    model = ScikitLearnClassifier(**ROWS_ONLY).fit(sbm, y=soft, mask=half, sample_weight=weight)
    rows = half.nonzero().view(-1)
    x = StandardScaler().fit(sbm.x[rows].double().numpy()).transform(sbm.x.double().numpy())
    y, w = sbm.y[rows].numpy(), weight[rows].numpy()
    twice = np.concatenate([rows, rows])
    share = np.concatenate([0.75 * w, 0.25 * w]) * (len(rows) / w.sum())
    own = LogisticRegression(max_iter=1000).fit(
        x[twice], np.concatenate([y, (y + 1) % 3]), sample_weight=share
    )
    np.testing.assert_allclose(model.predict_proba(sbm), own.predict_proba(x), atol=1e-4)


@every
def test_the_scale_of_weights_is_nothing(name: str, fast: Build, sbm: Data) -> None:
    weight = 1.0 + (torch.arange(90) % 3)
    first, second = (
        fast(name).fit(sbm, sample_weight=w).predict_proba(sbm) for w in (weight, 4 * weight)
    )
    assert torch.equal(first, second)


@every
def test_classes_without_a_row_have_probability_zero(name: str, fast: Build, sbm: Data) -> None:
    two = fast(name).fit(sbm, mask=sbm.y != 1)
    assert two.seen_classes_ == (0, 2)
    probs = two.predict_proba(sbm)
    assert float(probs[:, 1].max()) == 0.0
    assert bool((probs.argmax(1) == sbm.y)[sbm.y != 1].all())
    one = fast(name).fit(sbm, mask=sbm.y == 1)
    assert one.model_ is None
    assert torch.equal(one.predict_proba(sbm), torch.eye(3)[torch.ones(90).long()])


@every
def test_further_columns_of_a_stack_are_read(
    name: str, fast: Build, sbm: Data, half: Tensor
) -> None:
    sbm.x = torch.randn(90, 2, generator=torch.Generator().manual_seed(5))
    settings = {**ROWS_ONLY}
    plain = fast(name, **settings).prepare(sbm)
    told = plain.with_numeric(torch.eye(3)[sbm.y], ["p0", "p1", "p2"])
    model = fast(name, **settings).fit(sbm, mask=half, prepared=told)
    predicted = model.predict_proba(sbm, prepared=told).argmax(1)
    assert float((predicted == sbm.y).float().mean()) > 0.95
    for lacking in (None, plain):
        with pytest.raises(InputError, match="'p0'") as caught:
            model.predict_proba(sbm, prepared=lacking)
        assert caught.value.argument == "prepared"


@every
def test_another_graph_is_reduced_in_the_directions_of_the_fit(
    name: str, fast: Build, words: Data
) -> None:
    model = fast(name, svd=5, **ROWS_ONLY).fit(words)
    assert model.n_features_in_ == 5
    part = words.subgraph(torch.arange(40, 90))
    assert torch.allclose(model.predict_proba(part), model.predict_proba(words)[40:], atol=1e-5)
    with pytest.raises(InputError, match="made in another way"):
        model.predict_proba(part, prepared=model.prepare(part))


@pytest.mark.parametrize("name", ["hist_gradient_boosting", "lightgbm"])
def test_only_given_validation_rows_stop_the_rounds(
    name: str, fast: Build, sbm: Data, half: Tensor
) -> None:
    y = torch.where(half, sbm.y, (sbm.y + 1) % 3)
    settings = {"max_iter": 40, "lr": 0.3, "patience": 2}
    assert fast(name, **settings).fit(sbm, y=y, mask=half).n_iter_ == 40
    stopped = fast(name, **settings).fit(sbm, y=y, mask=half, val_mask=~half)
    assert stopped.n_iter_ <= 3
    never = fast(name, **(settings | {"patience": None}))
    assert never.fit(sbm, y=y, mask=half, val_mask=~half).n_iter_ == 40
    unknown = half & (sbm.y != 2), ~half & (sbm.y == 2)
    one_class = fast(name, **settings).fit(sbm, mask=unknown[0], val_mask=unknown[1])
    assert one_class.n_iter_ == 40


@every
def test_order_of_nodes(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    # LightGBM draws rows by their place and scikit-learn adds in their order: equal up to rounding
    # and without LightGBM's draw only.
    settings = {"subsample": 1.0} if name == "lightgbm" else {}
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    moved = Data(x=sbm.x[order], edge_index=place[sbm.edge_index], y=sbm.y[order])
    first = fast(name, **settings).fit(sbm, mask=half).predict_proba(sbm)
    second = fast(name, **settings).fit(moved, mask=half[order]).predict_proba(moved)
    assert torch.allclose(first[order], second, atol=1e-4)


class ThreadSpy(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Keeps how many threads its fit and prediction may use."""

    threads: tuple[int, ...] = ()

    def fit(self, x: np.ndarray, y: np.ndarray) -> ThreadSpy:
        self.n_classes = len(np.unique(y))
        self._look()
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        self._look()
        return np.full((len(x), self.n_classes), 1 / self.n_classes)

    def _look(self) -> None:
        self.threads += tuple(pool["num_threads"] for pool in threadpool_info())


def test_fits_and_predictions_run_on_one_thread(sbm: Data) -> None:
    with threadpool_limits(2):
        model = ScikitLearnClassifier(model=ThreadSpy())
        model.fit(sbm).predict_proba(sbm)
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2
    assert len(model.model_.threads) > 1
    assert set(model.model_.threads) == {1}


@every
def test_out_of_fold_probabilities_are_those_of_one_process(
    name: str, fast: Build, mixed: Data
) -> None:
    alone = cross_fit(fast(name), mixed, n_folds=3)
    with parallel_config("threading"):
        together = cross_fit(fast(name), mixed, n_folds=3, n_jobs=2)
    assert torch.equal(alone.model_probs, together.model_probs)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("neighbours", ("median",)),
        ("neighbours", "mean"),
        ("structure", 1),
        ("svd", 0),
        ("random_state", -1),
        ("max_iter", 0),
        ("lr", 0.0),
        ("max_leaf_nodes", 1),
        ("min_samples_leaf", 0),
        ("max_features", 0.0),
        ("l2", -1.0),
        ("patience", 0),
        ("subsample", 1.5),
    ],
)
def test_a_bad_parameter_is_named(fast: Build, sbm: Data, parameter: str, value: Any) -> None:
    for call in ("fit", "prepare"):
        with pytest.raises(InputError) as caught:
            getattr(fast("lightgbm", **{parameter: value}), call)(sbm)
        assert caught.value.argument == parameter


def test_what_is_no_table_is_refused(fast: Build, sbm: Data) -> None:
    with pytest.raises(InputError, match="prepare"):
        fast("hist_gradient_boosting").fit(sbm, prepared=sbm.x)


def test_names_are_enough(sbm: Data) -> None:
    sbm.y[::15] = (sbm.y[::15] + 1) % 3
    params = {"min_samples_leaf": 3, "max_iter": 20}
    model = gc.train(sbm, "hist_gradient_boosting", **params)
    assert model.predict_proba(sbm).shape == (90, 3)
    classifier = type(model)(**params)
    issues = gc.find_label_issues(sbm, classifier=classifier, n_folds=3, n_jobs=1)
    assert float(issues.frame["label_quality"].iloc[::15].mean()) < 0.5
