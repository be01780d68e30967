"""Estimators as skops files: the same bytes for the same fit, and nothing foreign is built."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from safetensors.torch import load_file, save
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch_geometric.data import Data

from graphclean.nn import ScikitLearnClassifier, load_model, save_model, skops_bytes
from graphclean.nn.skops_bytes import estimator_bytes, estimator_from_bytes
from graphclean.types import InputError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
X[:, 3] = RNG.integers(0, 4, 60)
Y = RNG.integers(0, 3, 60)
CATEGORY = [False, False, False, True]


def boosted() -> Any:
    model = HistGradientBoostingClassifier(
        max_iter=3, categorical_features=CATEGORY, min_samples_leaf=2, random_state=0
    )
    return model.fit(X, Y)


def forest() -> Any:
    return RandomForestClassifier(2, random_state=0).fit(X, Y)


MAKERS: list[Callable[[], Any]] = [
    boosted,
    forest,
    lambda: ExtraTreesClassifier(2, random_state=0).fit(X, Y),
    lambda: GradientBoostingClassifier(n_estimators=2, random_state=0).fit(X, Y),
    lambda: MLPClassifier((3,), max_iter=400, tol=1, random_state=0).fit(X, Y),
    lambda: make_pipeline(StandardScaler(), GaussianProcessClassifier()).fit(X, Y),
]


@pytest.mark.parametrize("make", MAKERS)
def test_an_estimator_comes_back_and_twins_are_equal_bytes(make: Callable[[], Any]) -> None:
    content = estimator_bytes(make(), "model")
    assert content == estimator_bytes(make(), "model")
    model, again = make(), estimator_from_bytes(content)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def shout(x: np.ndarray) -> np.ndarray:
    return x


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(FunctionTransformer(shout)),
        FunctionTransformer(os.system),
        KNeighborsClassifier(algorithm="kd_tree").fit(X, Y),
    ],
)
def test_what_cannot_be_read_back_is_not_written(model: Any) -> None:
    with pytest.raises(InputError, match="cannot be saved") as caught:
        estimator_bytes(model, "model.part")
    assert caught.value.argument == "model.part"


class Foreign(GaussianProcessClassifier):  # type: ignore[misc]
    """An estimator of someone else."""


@pytest.mark.parametrize(
    "content",
    [skops.io.dumps(FunctionTransformer(os.system)), skops.io.dumps(Foreign())],
    ids=["function", "class"],
)
def test_foreign_types_are_not_built(content: bytes) -> None:
    with pytest.raises(InputError, match="Only scikit-learn's estimators"):
        estimator_from_bytes(content)


@pytest.mark.parametrize("content", [b"", b"PK", skops.io.dumps([1, 2])])
def test_what_is_no_estimator_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="estimator"):
        estimator_from_bytes(content)


def forge(model: Any, **changes: int) -> Any:
    """Return the model with a number of the root of its first tree set."""
    if isinstance(model, RandomForestClassifier):
        tree = model.estimators_[0].tree_
        for name, value in changes.items():
            getattr(tree, name)[0] = value
        return model
    for name, value in changes.items():
        model._predictors[0][0].nodes[name][0] = value
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (forge(forest(), children_left=10**6), "outside its nodes"),
        (forge(forest(), children_right=0), "outside its nodes"),
        (forge(forest(), feature=4), "outside its columns"),
        (forge(forest(), feature=-3), "outside its columns"),
        (forge(boosted(), left=10**6), "outside its nodes"),
        (forge(boosted(), right=0), "outside its nodes"),
        (forge(boosted(), feature_idx=4), "outside its columns"),
        (forge(boosted(), is_categorical=1, bitset_idx=99), "outside its categories"),
    ],
)
def test_trees_that_point_outside_themselves_are_refused(model: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        estimator_from_bytes(estimator_bytes(model, "model"))


def test_types_that_this_scikit_learn_lacks_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "sklearn.preprocessing._data.Gone"
    monkeypatch.setattr(skops_bytes, "TRUSTED", skops_bytes.TRUSTED | {gone})
    with zipfile.ZipFile(io.BytesIO(estimator_bytes(StandardScaler(), "model"))) as archive:
        schema = json.loads(archive.read("schema.json"))
    schema["__class__"] = "Gone"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    with pytest.raises(InputError, match="version of scikit-learn that wrote it"):
        estimator_from_bytes(buffer.getvalue())


def test_a_forged_model_is_refused_by_its_folder(sbm: Data, tmp_path: Path) -> None:
    import hashlib

    folder = save_model(ScikitLearnClassifier(model=forest()).fit(sbm), tmp_path / "model")
    parts = load_file(folder / "model.safetensors")
    content = skops.io.dumps(FunctionTransformer(os.system))
    parts["model.model_"] = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    weights = save(parts)
    (folder / "model.safetensors").write_bytes(weights)
    record = json.loads((folder / "model.json").read_text())
    record["sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / "model.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"system"):
        load_model(folder)
