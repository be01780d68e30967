"""What is particular to LightGBM and to the classifiers of scikit-learn."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.svm import LinearSVC
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import ScikitLearnClassifier, load_model, save_model
from graphclean.types import InputError, MissingDependencyError

Build = Callable[..., Any]


def test_without_lightgbm_the_extra_is_named(
    fast: Build, sbm: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fast("lightgbm")
    saved = save_model(model.fit(sbm), tmp_path / "model")
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    for call in (lambda: model.fit(sbm), lambda: load_model(saved)):
        with pytest.raises(MissingDependencyError, match=r"pip install 'graphclean\[tabular\]'"):
            call()


def test_rounds_of_lightgbm_are_epochs(fast: Build, sbm: Data, half: Tensor) -> None:
    events: list[dict[str, Any]] = []

    def stop_at_four(event: dict[str, Any]) -> bool:
        events.append(event)
        return event.get("epoch") == 4

    model = fast("lightgbm").fit(sbm, mask=half, val_mask=~half, callbacks=[stop_at_four])
    losses = [event["val_loss"] for event in events[1:-1]]
    assert len(losses) == model.n_iter_ == 4
    assert losses == sorted(losses, reverse=True)
    assert events[0] == {"event": "start", "epochs": 30, "n_train": 45, "n_val": 45}
    assert events[-1]["stop_reason"] == "callback"
    short = fast("lightgbm", max_iter=4).fit(sbm, mask=half, val_mask=~half)
    assert torch.equal(short.predict_proba(sbm), model.predict_proba(sbm))


def test_a_callback_that_stops_lightgbm_late_keeps_the_best_round(
    fast: Build, sbm: Data, half: Tensor
) -> None:
    losses: list[float] = []

    def stop_late(event: dict[str, Any]) -> bool:
        losses.append(event.get("val_loss", torch.inf))
        return event.get("epoch") == 25

    model = fast("lightgbm", lr=1.0, patience=100)
    wrong = torch.where(torch.arange(len(sbm.y)) % 3 == 0, (sbm.y + 1) % (sbm.y.max() + 1), sbm.y)
    model.fit(sbm, y=wrong, mask=half, val_mask=~half, callbacks=[stop_late])
    rounds = losses[1:26]
    assert min(rounds) < rounds[-1]
    assert model.n_iter_ == rounds.index(min(rounds)) + 1


def test_a_saved_lightgbm_is_its_text(fast: Build, sbm: Data, tmp_path: Path) -> None:
    folder = save_model(fast("lightgbm").fit(sbm), tmp_path / "model")
    assert b"tree\nversion=" in (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "given",
    [
        RandomForestClassifier(5),
        make_pipeline(PolynomialFeatures(1), GaussianNB()),
        KNeighborsClassifier(algorithm="brute"),
        CalibratedClassifierCV(LinearSVC(), cv=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_any_classifier_fits_and_is_saved(
    given: Any, sbm: Data, half: Tensor, tmp_path: Path
) -> None:
    model = ScikitLearnClassifier(model=given, structure=False, random_state=0)
    before = repr(given.get_params())
    probs = model.fit(sbm, mask=half).predict_proba(sbm)
    assert float((probs.argmax(1) == sbm.y)[~half].float().mean()) > 0.8
    assert not [key for key in vars(given) if key.endswith("_")]
    assert repr(given.get_params()) == before
    again = load_model(save_model(model, tmp_path / "model"))
    assert torch.equal(again.predict_proba(sbm), probs)
    assert type(again.model) is type(given)
    assert repr(again.model) == repr(given)
    refitted = again.fit(sbm, mask=half).predict_proba(sbm)
    assert torch.equal(refitted, probs)


def test_parameters_of_the_model_are_parameters(sbm: Data, tmp_path: Path) -> None:
    model = ScikitLearnClassifier(model=RandomForestClassifier(5, max_depth=2))
    assert model.get_params()["model__max_depth"] == 2
    twin = clone(model).set_params(model__max_depth=1)
    assert model.model.max_depth == 2
    saved = load_model(save_model(twin.fit(sbm), tmp_path / "model"))
    assert saved.get_params()["model__max_depth"] == 1
    assert {tree.get_depth() for tree in saved.model_.estimators_} == {1}


def test_the_seed_reaches_the_model_and_none_leaves_its_own(sbm: Data) -> None:
    def drawn(seed: int | None, own: int | None) -> Tensor:
        model = RandomForestClassifier(3, random_state=own)
        return ScikitLearnClassifier(model=model, random_state=seed).fit(sbm).predict_proba(sbm)

    assert torch.equal(drawn(0, None), drawn(0, 7))
    assert not torch.equal(drawn(0, None), drawn(1, None))
    assert torch.equal(drawn(None, 7), drawn(None, 7))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (LinearRegression(), "Pass a classifier"),
        ("RandomForestClassifier", "Pass a classifier"),
        (RandomForestClassifier, "Pass a classifier"),
        (LinearSVC(), "CalibratedClassifierCV"),
    ],
)
def test_what_gives_no_probabilities_is_refused(given: Any, said: str, sbm: Data) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ScikitLearnClassifier(model=given).fit(sbm)
    assert caught.value.argument == "model"


def test_a_model_without_weights_refuses_them(sbm: Data) -> None:
    model = ScikitLearnClassifier(model=KNeighborsClassifier())
    with pytest.raises(InputError, match="takes no sample_weight"):
        model.fit(sbm, y=torch.full((90, 3), 1 / 3))
    model.fit(sbm, sample_weight=torch.full((90,), 2.0))
