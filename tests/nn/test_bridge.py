from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cleanlab.classification import CleanLearning
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import GCN, SGC, NodeIdClassifier
from graphclean.types import InputError

NAMES = np.array(["ash", "birch", "cedar"])
IDS = np.arange(90)


@pytest.fixture
def trees(sbm: Data) -> np.ndarray:
    return NAMES[sbm.y.numpy()]


@pytest.fixture
def bare(sbm: Data) -> Data:
    return Data(x=sbm.x, edge_index=sbm.edge_index)


@pytest.fixture
def model(bare: Data) -> NodeIdClassifier:
    return NodeIdClassifier(SGC(epochs=60, random_state=0, val_fraction=0), bare)


def test_equals_the_classifier_on_the_same_rows(
    model: NodeIdClassifier, sbm: Data, trees: np.ndarray, half: Tensor
) -> None:
    direct = SGC(epochs=60, random_state=0, val_fraction=0).fit(sbm, mask=half)
    ids = IDS[half.numpy()]
    model.fit(ids, trees[ids])
    asked = np.array([[80], [3], [3]])
    assert list(model.classes_) == list(NAMES)
    assert np.array_equal(model.predict_proba(asked), direct.predict_proba(sbm)[[80, 3, 3]].numpy())
    assert list(model.predict(asked)) == list(NAMES[direct.predict(sbm)[[80, 3, 3]].numpy()])
    assert model.score(IDS, trees) > 0.9
    assert not hasattr(model.classifier, "module_")


def test_cross_val_predict_serial_and_parallel(model: NodeIdClassifier, trees: np.ndarray) -> None:
    folds = StratifiedKFold(3)
    ids = pd.DataFrame({"node": IDS})
    serial = cross_val_predict(model, ids, trees, cv=folds, method="predict_proba")
    parallel = cross_val_predict(model, ids, trees, cv=folds, method="predict_proba", n_jobs=2)
    assert np.allclose(serial, parallel, atol=1e-6)
    assert (NAMES[serial.argmax(axis=1)] == trees).mean() > 0.9


def test_grid_search_reaches_the_classifier(bare: Data, trees: np.ndarray) -> None:
    model = NodeIdClassifier(GCN(epochs=15, random_state=0), bare)
    search = GridSearchCV(model, {"classifier__hidden": [1, 16]}, cv=2).fit(IDS, trees)
    assert search.best_params_ == {"classifier__hidden": 16}
    assert search.best_estimator_.data is bare
    assert model.classifier.hidden == 64


def test_clone_shares_the_graph_and_nothing_else(model: NodeIdClassifier, bare: Data) -> None:
    twin = clone(model)
    assert twin.data is bare
    assert twin.classifier is not model.classifier
    twin.set_params(classifier__epochs=3)
    assert model.classifier.epochs == 60


def test_clean_learning_finds_the_flipped_labels(model: NodeIdClassifier, sbm: Data) -> None:
    wrong = np.arange(0, 90, 9)
    given = sbm.y.numpy().copy()
    given[wrong] = (given[wrong] + 1) % 3
    cleaner = CleanLearning(model, cv_n_folds=3, seed=0, verbose=False)
    cleaner.fit(IDS, given)
    found = np.flatnonzero(cleaner.get_label_issues()["is_label_issue"])
    assert len(np.intersect1d(found, wrong)) >= 8
    assert len(np.setdiff1d(found, wrong)) <= 4
    assert (cleaner.predict(IDS) == sbm.y.numpy()).mean() > 0.9


def test_weights_and_repeated_ids_count(model: NodeIdClassifier, trees: np.ndarray) -> None:
    ids = np.concatenate([IDS, IDS[:30], IDS[:30]])
    repeated = clone(model).fit(ids, trees[ids]).predict_proba(IDS)
    weight = np.where(IDS < 30, 3.0, 1.0)
    weighted = clone(model).fit(IDS, trees, sample_weight=weight).predict_proba(IDS)
    plain = clone(model).fit(IDS, trees).predict_proba(IDS)
    assert np.array_equal(repeated, weighted)
    assert not np.allclose(repeated, plain)


def test_class_missing_from_a_fit_has_no_column(model: NodeIdClassifier, trees: np.ndarray) -> None:
    ids = IDS[:60]
    assert model.fit(ids, trees[ids]).predict_proba(IDS).shape == (90, 2)


def test_labels_of_the_graph_are_not_read(sbm: Data, trees: np.ndarray) -> None:
    results = []
    for y in (sbm.y, torch.zeros(90, dtype=torch.long)):
        graph = Data(x=sbm.x, edge_index=sbm.edge_index, y=y)
        model = NodeIdClassifier(SGC(epochs=5, random_state=0), graph)
        results.append(model.fit(IDS[::2], trees[::2]).predict_proba(IDS))
        assert torch.equal(graph.y, y)
        assert "class_names" not in graph
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    "ids", [np.array([0.5, 1.0]), np.array([0, 90]), np.array([-1, 0]), np.zeros((2, 2), dtype=int)]
)
def test_bad_ids_are_refused(model: NodeIdClassifier, ids: np.ndarray) -> None:
    with pytest.raises(InputError, match="X"):
        model.fit(ids, ["ash", "birch"])


def test_contradictions_are_refused(model: NodeIdClassifier) -> None:
    with pytest.raises(InputError, match="two labels"):
        model.fit([4, 4], ["ash", "birch"])
    with pytest.raises(InputError, match="2 ids, 3 labels"):
        model.fit([4, 5], ["ash", "birch", "cedar"])
    with pytest.raises(NotFittedError):
        model.predict([1])
