"""Bad input: one error that names the argument, the value and the fix, before any long work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch_geometric.data import Data

from graphclean.detect import (
    ConfidentLearning,
    Detector,
    GraphCleaner,
    NeighbourAgreement,
    SelfConfidence,
)
from graphclean.nn import SGC
from graphclean.types import InputError

Make = Callable[..., Any]
UNREACHED = "no such classifier"
"""A classifier that fails when it is asked for: the error must come before."""


def refused(detector: Detector, data: Any, argument: str, value: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        detector.fit(data)
    error = caught.value
    assert error.argument == argument
    assert str(value) in str(error)
    assert error.fix.endswith(".")
    assert error.fix in str(error)
    return error


@pytest.mark.parametrize(
    ("detector", "argument", "value"),
    [
        (ConfidentLearning(filter_by="all", classifier=UNREACHED), "filter_by", "all"),
        (ConfidentLearning(rank_by="margin", classifier=UNREACHED), "rank_by", "margin"),
        (NeighbourAgreement(hops=0), "hops", 0),
        (NeighbourAgreement(hops="2"), "hops", "2"),
        (GraphCleaner(mode="fast", classifier=UNREACHED), "mode", "fast"),
        (GraphCleaner(features_epoch="first", classifier=UNREACHED), "features_epoch", "first"),
        (GraphCleaner(hops=0, classifier=UNREACHED), "hops", 0),
        (GraphCleaner(hops=1.5, classifier=UNREACHED), "hops", 1.5),
        (GraphCleaner(draws=0, classifier=UNREACHED), "draws", 0),
        (GraphCleaner(draws="5", classifier=UNREACHED), "draws", "5"),
        (GraphCleaner(threshold=97, classifier=UNREACHED), "threshold", 97),
        (GraphCleaner(threshold="high", classifier=UNREACHED), "threshold", "high"),
        (SelfConfidence(classifier="gnc"), "classifier", "gnc"),
        (SelfConfidence(classifier=SGC), "classifier", "SGC"),
        (SelfConfidence(classifier=3), "classifier", 3),
        (SelfConfidence(classifier=SGC(epochs=0)), "epochs", 0),
        (SelfConfidence(n_folds=1, classifier=SGC()), "n_folds", 1),
        (SelfConfidence(n_folds=2.5, classifier=SGC()), "n_folds", 2.5),
        (SelfConfidence(n_folds="5", classifier=SGC()), "n_folds", "5"),
        (SelfConfidence(n_repeats=0, classifier=SGC()), "n_repeats", 0),
        (SelfConfidence(random_state=-1, classifier=SGC()), "random_state", -1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Detector) else str(value),
)
def test_bad_parameter(detector: Detector, argument: str, value: Any, planted: Make) -> None:
    refused(detector, planted(30), argument, value)


def test_bad_graph_is_refused_at_the_door(key: str, build: Make, planted: Make) -> None:
    detector = build(key)
    refused(detector, {"x": 1}, "data", "dict")
    data = planted(30)
    data.y = torch.zeros(30, dtype=torch.long)
    refused(detector, data, "y", "a single class")
    data.y = torch.full((30,), -1)
    refused(detector, data, "y", "no labelled node")
    data = planted(30)
    data.edge_index = torch.tensor([[0], [30]])
    refused(detector, data, "edge_index", "[0, 30]")


@pytest.mark.parametrize(
    ("ids", "value"),
    [(["a"] * 30, "'a' appears twice"), ([*range(29), "z"], "ids such as 0"), ([0.5], "ids")],
)
def test_node_ids_must_tell_nodes_apart(ids: list[Any], value: str, planted: Make) -> None:
    data = planted(30)
    data.node_ids = ids if len(ids) == 30 else [number + ids[0] for number in range(30)]
    refused(SelfConfidence(classifier=UNREACHED), data, "node_ids", value)


@pytest.mark.parametrize(
    ("argument", "value", "spoil"),
    [
        ("train_mask", "missing", lambda d: d.__delattr__("train_mask")),
        ("val_mask", "missing", lambda d: d.__delattr__("val_mask")),
        ("val_mask", (30, 2), lambda d: d.update({"val_mask": torch.ones(30, 2).bool()})),
        ("train_mask", "no labelled node", lambda d: d.train_mask.fill_(False)),
        ("val_mask", "no labelled node", lambda d: d.y.masked_fill_(d.val_mask, -1)),
        ("val_mask", "a single labelled node", lambda d: d.val_mask[:-1].fill_(False)),
        ("train_mask", "no labelled node to judge", lambda d: d.train_mask.fill_(True)),
    ],
)
def test_paper_mode_needs_a_split(argument: str, value: Any, spoil: Make, planted: Make) -> None:
    data = planted(30)
    data.val_mask[-1] = True
    spoil(data)
    refused(GraphCleaner(mode="paper"), data, argument, value)


def test_paper_mode_needs_a_neural_classifier(planted: Make) -> None:
    data = planted(30)
    detector = GraphCleaner(mode="paper", classifier=LogisticRegression())
    refused(detector, data, "classifier", "LogisticRegression")
    refused(GraphCleaner(mode="paper", classifier="gnc"), data, "classifier", "gnc")


def test_paper_mode_takes_a_registered_name(build: Make, planted: Make) -> None:
    data = planted(48)
    named = build("graphcleaner-paper", classifier="sgc").fit(data)
    built = build("graphcleaner-paper", classifier=SGC()).fit(data)
    assert (named.label_quality_ == built.label_quality_)[data.test_mask.numpy()].all()


def test_paper_mode_lives_without_edges_at_any_depth(build: Make, planted: Make) -> None:
    """Eleven features, one of them not zero: that sparse a table is still fed to the network."""
    data: Data = planted(48)
    data.edge_index = torch.empty(2, 0, dtype=torch.long)
    detector = build("graphcleaner-paper", hops=5).fit(data)
    assert (detector.label_quality_[data.test_mask.numpy()] >= 0).all()
