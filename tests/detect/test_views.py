"""Several learners for one detector: lists of ``OutOfFold``, and what no label may reach."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import (
    Detector,
    GraphCleaner,
    NeighbourAgreement,
    SelfConfidence,
    paper_crossfit,
)
from graphclean.detect.base_learner import feature_view_classifier
from graphclean.detect.hop_evidence import HopEvidence
from graphclean.detect.paper_mode import MislabelMLP
from graphclean.nn import MLP, SGC, OutOfFold, cross_fit, stratified_folds
from graphclean.types import InputError

Make = Callable[..., Any]
SHORT = SGC(epochs=20, patience=None, val_fraction=0.0)
FEW = MLP(hidden=8, epochs=15, patience=None, val_fraction=0.0)
SUSPECTS = (3, 20, 41, 77)


@pytest.fixture
def data(planted: Make) -> Data:
    """A graph with unlabelled nodes, and with 77 isolated."""
    data = planted(90, seed=11)
    data.y[5::11] = -1
    data.edge_index = data.edge_index[:, (data.edge_index != 77).all(dim=0)]
    return data


@pytest.fixture
def folds(data: Data) -> Tensor:
    return stratified_folds(data.y, data.y >= 0, 3, 0)


def fitted(data: Data, folds: Tensor, seed: int = 0, model: Any = SHORT) -> OutOfFold:
    return cross_fit(model, data, folds=folds, random_state=seed)


def cleaner(**params: Any) -> GraphCleaner:
    return GraphCleaner(**({"draws": 1, "n_folds": 3} | params))


def test_second_view_takes_the_place_of_the_features_alone(data: Data, folds: Tensor) -> None:
    first = fitted(data, folds)
    mlp = cross_fit(feature_view_classifier(data), data, folds=first.fold, random_state=0)
    alone, pair = (cleaner().fit(data, found) for found in (first, [first, mlp]))
    frames = [detector.find_label_issues().frame for detector in (alone, pair)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert alone.noise_rate_ == pair.noise_rate_
    np.testing.assert_array_equal(alone.transition_, pair.transition_)
    other = cleaner().fit(data, [first, fitted(data, folds, model=FEW)]).find_label_issues().frame
    assert not other["agreement_x0"].equals(frames[0]["agreement_x0"])
    assert not other["agreement_xs"].equals(frames[0]["agreement_xs"])
    assert other["agreement_p1"].equals(frames[0]["agreement_p1"])


def test_nothing_is_trained_where_both_views_are_given(
    data: Data, folds: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [fitted(data, folds), fitted(data, folds, model=FEW)]

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("graphclean.detect.graphcleaner.cross_fit", refuse)
    cleaner(classifier="no such classifier").fit(data, views)
    with pytest.raises(AssertionError):
        cleaner().fit(data, views[:1])


def test_further_views_are_evidence(data: Data, folds: Tensor) -> None:
    views = [fitted(data, folds, seed) for seed in range(4)]
    frames = {
        count: cleaner().fit(data, views[:count]).find_label_issues().frame for count in (2, 3, 4)
    }
    for count, frame in frames.items():
        extra = {name for name in frame if name.startswith("agreement_v")}
        assert extra == {f"agreement_v{position}" for position in range(1, count - 1)}
        for position in range(1, count - 1):
            rows = frame["node"].to_numpy()
            said = views[position + 1].pred_probs.double().numpy()[rows, data.y.numpy()[rows]]
            np.testing.assert_array_equal(frame[f"agreement_v{position}"], said)
    assert not frames[2]["label_quality"].equals(frames[3]["label_quality"])


def test_list_of_one_is_the_one(data: Data, folds: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_crossfit, "MislabelMLP", partial(MislabelMLP, epochs=5))
    first = fitted(data, folds)
    for detector in (cleaner(feature_view=False), cleaner(mode="paper"), SelfConfidence()):
        plain = detector.fit(data, first).find_label_issues()
        for wrapped in ([first], (first,)):
            listed = detector.fit(data, wrapped).find_label_issues()
            pd.testing.assert_frame_equal(listed.frame, plain.frame, check_exact=True)


SINGLE = sorted(
    name
    for name, cls in Detector.registry.items()
    if cls.reads_probs and not cls.reads_views and "graphclean" in cls.__module__
)


@pytest.mark.parametrize("name", SINGLE)
def test_detectors_of_one_learner_refuse_several(name: str, data: Data, folds: Tensor) -> None:
    views = [fitted(data, folds, seed) for seed in range(2)]
    with pytest.raises(InputError, match="a list of 2 OutOfFold") as caught:
        Detector.create(name).fit(data, pred_probs=views)
    assert caught.value.argument == "pred_probs"
    assert name in caught.value.fix


@pytest.mark.parametrize("detector", [SelfConfidence(), NeighbourAgreement(), cleaner()])
def test_empty_list_is_refused(detector: Detector, data: Data) -> None:
    with pytest.raises(InputError) as caught:
        detector.fit(data, pred_probs=[])
    assert caught.value.argument == "pred_probs"


def test_views_must_share_their_folds(data: Data, folds: Tensor) -> None:
    first = fitted(data, folds)
    twice = torch.stack([folds, folds])
    for others in ((folds + 1) % 3 - (folds < 0).long(), twice):
        second = fitted(data, others.masked_fill((folds < 0).expand_as(others), -1))
        with pytest.raises(InputError, match="different folds") as caught:
            cleaner().fit(data, pred_probs=[first, second])
        assert "cross_fit(folds=...)" in caught.value.fix


def test_views_must_fit_the_graph(data: Data, folds: Tensor, planted: Make) -> None:
    first, small = fitted(data, folds), planted(60, seed=1)
    other = fitted(small, torch.arange(60) % 3)
    for views in ([first, other], [other, first], [first, first.pred_probs]):
        with pytest.raises(InputError) as caught:
            cleaner().fit(data, pred_probs=views)
        assert caught.value.argument == "pred_probs"


def evidence_of(data: Data, folds: Tensor, **params: Any) -> HopEvidence:
    """Return all the evidence that there can be, every model fitted anew."""
    graph, views = check(data), [fitted(data, folds, 0), fitted(data, folds, 0, FEW)]
    views.append(fitted(data, folds, 7))
    return cleaner(**params).gather(graph, views)[0]


@pytest.mark.parametrize("node", SUSPECTS)
def test_own_label_moves_no_piece_of_evidence(node: int, data: Data, folds: Tensor) -> None:
    """All classes of all pieces, with the folds fixed; walks over labels round to 1e-14."""
    poisoned = data.clone()
    poisoned.y[node] = (data.y[node] + 1) % 3
    before, after = (evidence_of(d, folds) for d in (data, poisoned))
    hops = [f"{kind}{hop}" for hop in (1, 2, 3) for kind in "pl"]
    assert before.names == after.names == ("p0", *hops, "x0", "xs", "v1", "y", "r")
    for name, was, now in zip(before.names, before.distributions, after.distributions, strict=True):
        loose = 1e-14 if name in ("l2", "l3") else 0.0
        torch.testing.assert_close(now[node], was[node], rtol=0, atol=loose, msg=name)
        assert (was != now).any(), name  # it does move others


def test_evidence_of_the_label_view_is_that_of_the_detector(data: Data, folds: Tensor) -> None:
    frame = cleaner(feature_view=False).fit(data, fitted(data, folds)).find_label_issues().frame
    own = Detector.create("label_dependency", n_folds=3).fit(data)
    np.testing.assert_allclose(
        frame["agreement_y"], own.label_quality_[frame["node"].to_numpy()], atol=1e-12
    )
    without = cleaner(feature_view=False, label_view=False).fit(data, fitted(data, folds))
    assert "agreement_y" not in without.find_label_issues().frame


def test_plain_probabilities_leave_the_features_out(data: Data, some_probs: Make) -> None:
    frame = cleaner().fit(data, some_probs(data, 3)).find_label_issues().frame
    found = [name for name in frame if name.startswith("agreement_")]
    assert found == [f"agreement_{name}" for name in ("p0", "l1", "l2", "l3", "y")]
