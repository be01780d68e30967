"""What every registered detector promises."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch_geometric.data import Data

from graphclean.detect import Detector, SelfConfidence
from graphclean.issues import REQUIRED_COLUMNS, LabelIssues
from graphclean.nn import SGC, cross_fit
from graphclean.nn.crossfit import OutOfFold
from graphclean.types import InputError

Build = Callable[..., Detector]
Make = Callable[..., Any]

DETECTORS = sorted(n for n, c in Detector.registry.items() if "graphclean" in c.__module__)
PAPER = "graphcleaner-paper"
REFUSES_PROBS = {name for name in DETECTORS if not Detector.registry[name].reads_probs} | {PAPER}
READS_PROBS = sorted(set(DETECTORS) - REFUSES_PROBS)


def judged_by(key: str, data: Data) -> np.ndarray:
    labelled = data.y >= 0
    return (labelled & ~data.train_mask & ~data.val_mask if key == PAPER else labelled).numpy()


def check_verdict(detector: Detector, data: Data, judged: np.ndarray, classes: int) -> None:
    quality, issue, suggested = (
        detector.label_quality_,
        detector.is_label_issue_,
        detector.suggested_label_,
    )
    assert quality.shape == issue.shape == suggested.shape == (data.num_nodes,)
    assert (quality.dtype, issue.dtype, suggested.dtype) == (np.float64, np.bool_, np.int64)
    np.testing.assert_array_equal(np.isfinite(quality), judged)
    assert ((quality[judged] >= 0) & (quality[judged] <= 1)).all()
    assert not issue[~judged].any()
    assert (suggested[~judged] == -1).all()
    assert ((suggested[judged] >= 0) & (suggested[judged] < classes)).all()
    assert (suggested[issue] != data.y.numpy()[issue]).all()
    rate = detector.noise_rate_
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    if detector.transition_ is not None:
        assert detector.transition_.shape == (classes, classes)
        assert (detector.transition_ >= 0).all()
        np.testing.assert_allclose(detector.transition_.sum(axis=1), 1.0)


def test_odd_graph_is_judged_whole(key: str, build: Build, odd: Data) -> None:
    detector = build(key).fit(odd)
    judged = judged_by(key, odd)
    check_verdict(detector, odd, judged, 5)

    issues = detector.find_label_issues()
    assert isinstance(issues, LabelIssues)
    frame, rows = issues.frame, np.flatnonzero(judged)
    assert list(frame.columns[: len(REQUIRED_COLUMNS)]) == list(REQUIRED_COLUMNS)
    assert list(frame["node"]) == list(rows)
    assert list(frame.index) == [odd.node_ids[row] for row in rows]
    assert issues.class_names == tuple(odd.class_names)
    names = np.array(odd.class_names)
    assert (frame["given_label"] == names[odd.y.numpy()[rows]]).all()
    assert (frame["suggested_label"] == names[detector.suggested_label_[rows]]).all()
    assert frame["predicted_label"].isin(odd.class_names).all()
    assert (frame["is_label_issue"] == detector.is_label_issue_[rows]).all()
    assert (frame["label_quality"] == detector.label_quality_[rows]).all()
    assert (frame["mislabel_probability"] == 1.0 - frame["label_quality"]).all()

    neighbours = {node: set() for node in range(64)}
    for a, b in odd.edge_index.t().tolist():
        if a != b:
            neighbours[a].add(b)
            neighbours[b].add(a)
    assert list(frame["degree"]) == [len(neighbours[row]) for row in rows]
    for row, share in zip(rows, frame["neighbour_agreement"], strict=True):
        labels = [int(odd.y[j]) for j in neighbours[row] if odd.y[j] >= 0]
        expected = np.mean([label == odd.y[row] for label in labels]) if labels else np.nan
        assert share == pytest.approx(expected, nan_ok=True)

    assert issues.meta["detector"] == key.split("-")[0]
    assert issues.meta["dataset"] == "odd"
    assert issues.meta["calibrated"] is build(key).calibrated
    assert any("isolated" in note for note in issues.meta["notes"])
    json.dumps(issues.meta)
    assert str(issues.summary())


@pytest.mark.parametrize("case", ["two classes", "no edges", "no features", "few labels"])
def test_awkward_graph_is_judged(key: str, case: str, build: Build, planted: Make) -> None:
    data = planted(48, classes=2 if case == "two classes" else 3, seed=5)
    if case == "no edges":
        data.edge_index = torch.empty(2, 0, dtype=torch.long)
    if case == "no features":
        data.x, data.num_nodes = None, 48
    if case == "few labels":
        data.y[8:] = -1
        data.train_mask = torch.arange(48) < 4
        data.val_mask = (torch.arange(48) >= 4) & (torch.arange(48) < 7)
    detector = build(key).fit(data)
    check_verdict(detector, data, judged_by(key, data), 2 if case == "two classes" else 3)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 1], [0, 0, 1, 1, 2, 2]])
def test_a_handful_of_nodes_is_judged(key: str, labels: list[int], build: Build) -> None:
    n = len(labels)
    ring = torch.arange(n)
    data = Data(
        x=torch.eye(n), edge_index=torch.stack([ring, ring.roll(1)]), y=torch.tensor(labels)
    )
    data.val_mask = torch.arange(n) < 2
    data.train_mask = torch.arange(n) == 2
    detector = build(key, n_folds=5)
    if key == PAPER and n < 4:
        with pytest.raises(InputError, match="train_mask"):
            detector.fit(data)
    else:
        check_verdict(detector.fit(data), data, judged_by(key, data), max(labels) + 1)


def test_user_objects_are_untouched(key: str, build: Build, odd: Data, some_probs: Make) -> None:
    kept, detector = copy.deepcopy(odd), build(key)
    params = {name: repr(value) for name, value in detector.get_params().items()}
    probs = None if key in REFUSES_PROBS else some_probs(odd, 5)
    seen = None if probs is None else probs.clone()
    detector.fit(odd, pred_probs=probs)
    assert sorted(odd.keys()) == sorted(kept.keys())
    for name, value in kept.to_dict().items():
        same = torch.equal(odd[name], value) if isinstance(value, Tensor) else odd[name] == value
        assert same, name
    assert seen is None or torch.equal(probs, seen)
    assert {name: repr(value) for name, value in detector.get_params().items()} == params
    classifier = detector.get_params().get("classifier")
    assert classifier is None or not hasattr(classifier, "module_")


def test_parameters_follow_scikit_learn(key: str, build: Build, planted: Make) -> None:
    detector = build(key)
    with pytest.raises(NotFittedError):
        detector.find_label_issues()
    assert not [name for name in vars(detector) if name.endswith("_")]
    twin = clone(detector)
    plain = {k: v for k, v in detector.get_params().items() if k != "classifier"}
    assert {k: v for k, v in twin.get_params().items() if k != "classifier"} == plain
    small, large = planted(48, seed=1), planted(60, seed=2)
    refitted = detector.fit(large).fit(small).find_label_issues().frame
    pd.testing.assert_frame_equal(twin.fit(small).find_label_issues().frame, refitted)


def test_planted_flips_are_found(key: str, build: Build, planted: Make) -> None:
    data = planted(180, noise=0.15, degree=12)
    detector = build(key).fit(data)
    rows = np.isfinite(detector.label_quality_)
    wrong = data.noise_mask.numpy()[rows]
    found = average_precision_score(wrong, 1.0 - detector.label_quality_[rows])
    # Chance is the share of flips, about 0.15.
    assert found > wrong.mean() + 0.4
    repaired = detector.suggested_label_[detector.is_label_issue_]
    truth = data.y_clean.numpy()[detector.is_label_issue_]
    assert len(truth) > 0
    assert (repaired == truth).mean() > 0.5


def test_own_probabilities_take_the_place_of_the_classifier(
    key: str, build: Build, odd: Data, some_probs: Make
) -> None:
    probs = some_probs(odd, 5)
    if key in REFUSES_PROBS:
        with pytest.raises(InputError, match="pred_probs") as caught:
            build(key).fit(odd, pred_probs=probs)
        assert caught.value.argument == "pred_probs"
        return
    probs[odd.y < 0] = torch.nan
    forms = [
        probs,
        probs.numpy(),
        probs.tolist(),
        pd.DataFrame(probs.numpy(), columns=odd.class_names),
    ]
    # The classifier is not run: this one cannot be.
    frames = [
        build(key, classifier="no such thing").fit(odd, pred_probs=form).find_label_issues().frame
        for form in forms
    ]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0], rtol=1e-12)
    own = build(key).fit(odd).find_label_issues().frame
    assert not own["label_quality"].equals(frames[0]["label_quality"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p[:-1],
        lambda p: p[:, :-1],
        lambda p: p.argmax(dim=1),
        lambda p: p * 1.01,
        lambda p: p.log(),
        lambda p: p.where(torch.arange(len(p)).unsqueeze(1) != 1, torch.nan),
        lambda p: p + torch.tensor([1.5, -1.5, 0, 0, 0]),
        lambda p: "probabilities",
        lambda p: [["a"] * 5] * len(p),
    ],
)
def test_bad_probabilities_are_refused(
    key: str, spoil: Make, build: Build, odd: Data, some_probs: Make
) -> None:
    with pytest.raises(InputError) as caught:
        build(key).fit(odd, pred_probs=spoil(some_probs(odd, 5)))
    assert caught.value.argument == "pred_probs"
    assert caught.value.fix


@pytest.mark.parametrize("key", READS_PROBS)
def test_out_of_fold_in_place_of_own_folds(key: str, build: Build, planted: Make) -> None:
    data, detector = planted(60, seed=6), build(key)
    classifier = detector.get_params().get("classifier")
    if classifier is None:
        pytest.skip(f"{key} has no classifier of its own to compare with")
    ready = cross_fit(classifier, data, n_folds=3, random_state=0)
    own = clone(detector).fit(data).find_label_issues().frame
    pd.testing.assert_frame_equal(
        detector.fit(data, pred_probs=ready).find_label_issues().frame, own, check_exact=True
    )
    with pytest.raises(InputError, match="pred_probs"):
        detector.fit(planted(48), pred_probs=ready)


def test_out_of_fold_over_a_part_of_the_labels(build: Build, planted: Make) -> None:
    data = planted(90, seed=6)
    part = torch.arange(90) < 70
    ready = cross_fit(SGC(epochs=10), data, mask=part, n_folds=3, random_state=0)
    detector = build("graphcleaner", feature_view=True).fit(data, pred_probs=ready)
    check_verdict(detector, data, np.ones(90, dtype=bool), 3)
    with pytest.raises(InputError, match="without folds"):
        detector.fit(data, OutOfFold(ready.pred_probs, ready.fold * 0 - 1, ready.model_probs))


def test_ids_may_be_a_tensor(build: Build, planted: Make) -> None:
    data = planted(30)
    data.node_ids = torch.arange(30) * 10
    frame = build("neighbour_agreement").fit(data).find_label_issues().frame
    assert list(frame.index) == list(range(0, 300, 10))


def test_ids_and_names_survive_the_disk(build: Build, odd: Data, tmp_path: Any) -> None:
    issues = build("self_confidence").fit(odd).find_label_issues()
    again = LabelIssues.load(issues.save(tmp_path / "out"))
    pd.testing.assert_frame_equal(again.frame, issues.frame, check_exact=True)


def test_record_of_a_foreign_learner_holds_no_memory_address(planted: Make) -> None:
    class Uniform:
        def fit(self, data: Data, y: Any = None, mask: Any = None) -> Uniform:
            return self

        def predict_proba(self, data: Data) -> Tensor:
            return torch.full((data.num_nodes, 3), 1 / 3)

    params = [
        SelfConfidence(classifier=Uniform(), n_folds=np.int64(2))
        .fit(planted(48))
        .find_label_issues()
        .meta["params"]
        for _ in range(2)
    ]
    assert params[0] == params[1]
    assert params[0]["classifier"] == "Uniform"
    assert params[0]["n_folds"] == 2
