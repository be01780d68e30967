from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

import graphclean.detect.probability
from graphclean.detect import Detector, LabelPropagationResidual, RankAverage
from graphclean.nn import SGC, cross_fit
from graphclean.nn.crossfit import OutOfFold
from graphclean.types import InputError

Make = Callable[..., Any]
MEMBERS = ("self_confidence", "neighbour_agreement", "disagreement", "knn_agreement")


@pytest.fixture
def data(planted: Make) -> Data:
    graph: Data = planted(70, seed=3)
    graph.y[::10] = -1
    return graph


@pytest.fixture
def ready(data: Data) -> OutOfFold:
    return cross_fit(SGC(epochs=20), data, n_folds=3)


def alone(name: str, data: Data, ready: OutOfFold) -> Detector:
    member = Detector.create(name)
    return member.fit(data, ready if member.reads_probs else None)


def test_quality_is_the_mean_share_of_worse_nodes(data: Data, ready: OutOfFold) -> None:
    found = RankAverage(members=MEMBERS).fit(data, ready)
    frame = found.find_label_issues().frame
    rows = np.flatnonzero(data.y.numpy() >= 0)
    expected = np.zeros(len(rows))
    tied = 0
    for name in MEMBERS:
        quality = alone(name, data, ready).label_quality_[rows]
        quality = quality.astype(np.float32)
        near = quality[:, None] == quality[None, :]
        worse = (quality[:, None] > quality[None, :]).sum(axis=1)
        tied += near.sum() - len(rows)
        share = (worse + 0.5 * (near.sum(axis=1) - 1)) / (len(rows) - 1)
        np.testing.assert_allclose(frame[f"rank_{name}"], share, atol=1e-12)
        expected += share / len(MEMBERS)
    assert tied > 10
    np.testing.assert_allclose(frame["label_quality"], expected, atol=1e-12)


def test_as_many_are_flagged_as_by_the_median_member(data: Data, ready: OutOfFold) -> None:
    found = RankAverage(members=MEMBERS[:3]).fit(data, ready)
    counts = sorted(int(alone(name, data, ready).is_label_issue_.sum()) for name in MEMBERS[:3])
    assert counts[0] < counts[1] < counts[2]
    assert found.is_label_issue_.sum() == counts[1]
    assert found.noise_rate_.value == pytest.approx(counts[1] / 63)
    quality, flagged = found.label_quality_, found.is_label_issue_
    assert np.nanmax(quality[flagged]) <= np.nanmin(quality[~flagged])


def test_one_member_keeps_its_order_and_its_flags(data: Data, ready: OutOfFold) -> None:
    found = RankAverage(members=("self_confidence",)).fit(data, ready)
    single = alone("self_confidence", data, ready)
    rows = data.y.numpy() >= 0
    np.testing.assert_array_equal(
        np.argsort(found.label_quality_[rows]), np.argsort(single.label_quality_[rows])
    )
    assert set(found.label_quality_[rows]) == {i / 62 for i in range(63)}
    np.testing.assert_array_equal(found.is_label_issue_, single.is_label_issue_)
    np.testing.assert_array_equal(found.suggested_label_, single.suggested_label_)


def test_members_share_one_set_of_probabilities(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*args: Any, **options: Any) -> OutOfFold:
        calls.append(options["random_state"])
        return cross_fit(*args, **options)

    monkeypatch.setattr(graphclean.detect.probability, "cross_fit", counted)
    members = ("self_confidence", "confident_learning", "label_non_uniformity")
    RankAverage(members=members, classifier=SGC(epochs=5), n_folds=3, random_state=7).fit(data)
    assert calls == [7]


def test_without_a_reader_no_probabilities_are_made_or_taken(data: Data, ready: OutOfFold) -> None:
    detector = RankAverage(
        members=("neighbour_agreement", "label_propagation"), classifier="no such thing"
    )
    assert np.isfinite(detector.fit(data).label_quality_).sum() == 63
    with pytest.raises(InputError, match="pred_probs"):
        detector.fit(data, ready)


def test_the_seed_reaches_the_members(data: Data) -> None:
    found = RankAverage(members=("label_propagation",), random_state=5).fit(data)
    rows = data.y.numpy() >= 0
    member = LabelPropagationResidual(random_state=5).fit(data).label_quality_[rows]
    other = LabelPropagationResidual(random_state=6).fit(data).label_quality_[rows]
    order = np.argsort(found.label_quality_[rows], kind="stable")
    assert (np.diff(member[order]) > -1e-6).all()
    assert not (np.diff(other[order]) > -1e-6).all()


def test_the_error_of_a_member_is_not_hidden(
    data: Data, ready: OutOfFold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> torch.Tensor:
        raise RuntimeError("no votes today")

    monkeypatch.setattr(LabelPropagationResidual, "_weights", fails)
    with pytest.raises(RuntimeError, match="no votes today"):
        RankAverage(members=("self_confidence", "label_propagation")).fit(data, ready)


@pytest.mark.parametrize(
    ("members", "value"),
    [
        ((), "()"),
        ("self_confidence", "self_confidence"),
        (("self_confidence", "no_such"), "no_such"),
        (("self_confidence", 3), "3"),
        (("self_confidence", "self_confidence"), "'self_confidence' twice"),
        (None, "None"),
    ],
)
def test_bad_members_are_named(members: Any, value: str, data: Data) -> None:
    with pytest.raises(InputError) as caught:
        RankAverage(members=members, classifier="unreached").fit(data)
    assert caught.value.argument == "members"
    assert value in str(caught.value)
