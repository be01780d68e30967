from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics import f1_score
from torch_geometric.data import Data

from graphclean.denoise import clean
from graphclean.evaluate import compare_repairs, downstream_accuracy, label_accuracy
from graphclean.issues import LabelIssues
from graphclean.nn import SGC
from graphclean.types import InputError

Make = Callable[..., LabelIssues]
TEST = np.arange(90) // 3 % 3 == 2
SMALL = SGC(epochs=30, lr=0.2, patience=None, val_fraction=0.0)


class Recorder(BaseEstimator):  # type: ignore[misc]
    """Notes what it is given and predicts ``(node + random_state) mod 3``."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(self, data: Any, y: Any = None, mask: Any = None, sample_weight: Any = None) -> Any:
        call = {"data": data, "y": y, "mask": mask, "weight": sample_weight}
        Recorder.seen.append(call | {"seed": self.random_state})
        return self

    def predict_proba(self, data: Any) -> torch.Tensor:
        code = (torch.arange(data.num_nodes) + (self.random_state or 0)) % 3
        return torch.nn.functional.one_hot(code, 3).float()


@pytest.fixture
def recorder() -> Recorder:
    Recorder.seen.clear()
    return Recorder()


def test_scores_are_those_of_scikit_learn_on_the_test_nodes(
    noisy_graph: Data, recorder: Recorder
) -> None:
    found = downstream_accuracy(noisy_graph, noisy_graph, recorder, test_mask=TEST, random_state=1)
    predicted = (np.arange(90) + 1) % 3
    for name, labels in (("clean", noisy_graph.y_clean), ("given", noisy_graph.y)):
        rows = TEST & (labels.numpy() >= 0)
        truth = labels.numpy()[rows]
        assert found[f"accuracy_{name}"] == pytest.approx((truth == predicted[rows]).mean())
        expected = f1_score(truth, predicted[rows], average="macro")
        assert found[f"macro_f1_{name}"] == pytest.approx(expected)
    assert recorder.seen[0]["seed"] == 1
    assert recorder.random_state is None


@pytest.mark.parametrize("action", ["drop", "relabel", "soft", "weight"])
def test_no_label_of_a_test_node_reaches_the_classifier(
    noisy_graph: Data, issues_of: Make, recorder: Recorder, action: str
) -> None:
    noisy_graph.noise_mask = noisy_graph.y != noisy_graph.y_clean
    repaired = clean(noisy_graph, issues_of(noisy_graph), action)
    found = downstream_accuracy(noisy_graph, repaired, recorder, test_mask=TEST)
    (call,) = recorder.seen
    test = torch.from_numpy(TEST)
    assert set(call["data"].keys()) == {"x", "edge_index", "num_nodes", "y", "class_names"}
    assert (call["data"].y[test] == -1).all()
    assert (call["y"][test] == (0 if action == "soft" else -1)).all()
    assert not call["mask"][test].any()
    if action == "weight":
        assert (call["weight"][test] == 0).all()
        rest = call["mask"]
        assert torch.equal(call["weight"][rest], repaired.sample_weight[rest])
    if action == "soft":
        assert torch.equal(call["y"][~test], repaired.y_soft[~test])
        assert torch.equal(call["data"].y[call["mask"]], repaired.y_soft.argmax(1)[call["mask"]])
    else:
        assert torch.equal(call["y"][~test], repaired.y[~test])
    train = ~test & (repaired.y >= 0)
    if action == "weight":
        train &= repaired.sample_weight > 0
    assert torch.equal(call["mask"], train)
    assert found["train"] == int(train.sum())
    accuracy = label_accuracy(call["data"].y, noisy_graph.y_clean)
    assert found["train_label_accuracy"] == accuracy


@pytest.mark.parametrize("names", [True, False])
def test_poisoned_test_labels_change_no_prediction(noisy_graph: Data, names: bool) -> None:
    if not names:
        del noisy_graph.class_names
    poisoned = copy.copy(noisy_graph)
    poisoned.y = noisy_graph.y.clone()
    poisoned.y[TEST] = (noisy_graph.y[TEST] + 1) % 3 if names else 5
    first, second = (
        downstream_accuracy(noisy_graph, repaired, SMALL, test_mask=TEST)
        for repaired in (noisy_graph, poisoned)
    )
    assert first == second
    moved = downstream_accuracy(poisoned, poisoned, SMALL, test_mask=TEST)
    assert moved["accuracy_clean"] == first["accuracy_clean"]
    assert moved["accuracy_given"] != first["accuracy_given"]


def test_training_labels_do_count(noisy_graph: Data) -> None:
    shuffled = copy.copy(noisy_graph)
    shuffled.y = (noisy_graph.y + 1) % 3
    good, bad = (
        downstream_accuracy(noisy_graph, graph, SMALL, test_mask=TEST)["accuracy_clean"]
        for graph in (noisy_graph, shuffled)
    )
    assert good > 0.6 > bad


def test_the_train_mask_is_the_graphs_the_callers_or_all(
    noisy_graph: Data, recorder: Recorder
) -> None:
    own, asked = torch.arange(90) < 60, np.arange(90) >= 60
    noisy_graph.train_mask = own
    labelled = noisy_graph.y.numpy() >= 0
    for mask, expected in ((None, own.numpy()), (asked, asked)):
        found = downstream_accuracy(
            noisy_graph, noisy_graph, recorder, test_mask=TEST, train_mask=mask
        )
        assert found["train"] == (expected & labelled & ~TEST).sum()
    noisy_graph.train_mask = torch.stack([own, ~own], dim=1)
    found = downstream_accuracy(noisy_graph, noisy_graph, recorder, test_mask=TEST)
    assert found["train"] == (labelled & ~TEST).sum()


def test_repairs_are_compared_with_given_true_and_fewer_labels(
    noisy_graph: Data, issues_of: Make, recorder: Recorder
) -> None:
    before = copy.deepcopy(noisy_graph)
    issues = issues_of(noisy_graph)
    table = compare_repairs(noisy_graph, issues, classifier=recorder, test_mask=TEST, seeds=(4, 9))
    repairs = ["given", "oracle", "random", "drop", "relabel", "soft", "weight"]
    assert table["repair"].tolist() == repairs * 2
    assert table["seed"].tolist() == [4] * 7 + [9] * 7
    assert [call["seed"] for call in recorder.seen] == table["seed"].tolist()
    calls = dict(zip(zip(table["repair"], table["seed"], strict=True), recorder.seen, strict=True))
    train = ~torch.from_numpy(TEST) & (noisy_graph.y >= 0)
    assert torch.equal(calls["given", 4]["y"][train], noisy_graph.y[train])
    assert torch.equal(calls["oracle", 4]["y"][train], noisy_graph.y_clean[train])
    assert calls["oracle", 4]["y"][11] == -1
    rows = table.set_index(["repair", "seed"])
    assert rows.loc[("oracle", 4), "train_label_accuracy"] == 1.0
    assert (rows.loc["random", "train"] == rows.loc["drop", "train"]).all()
    assert rows.loc[("random", 4), "train"] < rows.loc[("given", 4), "train"]
    removed = [set(torch.where(train & (calls["random", s]["y"] < 0))[0].tolist()) for s in (4, 9)]
    assert removed[0] != removed[1]
    assert all(bool(train[list(nodes)].all()) for nodes in removed)
    assert torch.equal(noisy_graph.y, before.y)
    assert noisy_graph.keys() == before.keys()


def test_earlier_soft_labels_are_no_part_of_the_references(
    noisy_graph: Data, issues_of: Make, recorder: Recorder
) -> None:
    issues = issues_of(noisy_graph)
    softened = clean(clean(noisy_graph, issues, "soft"), issues, "weight")
    compare_repairs(softened, issues, (), recorder, test_mask=TEST, seeds=[0])
    assert all(call["y"].dim() == 1 and call["weight"] is None for call in recorder.seen)


def test_issues_that_saw_test_labels_are_counted(
    noisy_graph: Data, issues_of: Make, recorder: Recorder
) -> None:
    seen = compare_repairs(
        noisy_graph, issues_of(noisy_graph), ["drop"], recorder, test_mask=TEST, seeds=[0]
    )
    assert (seen["judged_test"] == (TEST & (noisy_graph.y.numpy() >= 0)).sum()).all()
    blind = issues_of(noisy_graph, judged=~TEST)
    table = compare_repairs(noisy_graph, blind, ["drop"], recorder, test_mask=TEST, seeds=[0])
    assert (table["judged_test"] == 0).all()


def test_strictly_held_out_test_labels_move_nothing_but_their_own_scores(
    noisy_graph: Data, issues_of: Make
) -> None:
    blind = issues_of(noisy_graph, judged=~TEST)
    poisoned = copy.copy(noisy_graph)
    poisoned.y = noisy_graph.y.clone()
    poisoned.y[TEST] = 0
    first, second = (
        compare_repairs(graph, blind, classifier=SMALL, test_mask=TEST, seeds=[0])
        for graph in (noisy_graph, poisoned)
    )
    same = ["repair", "train", "test", "train_label_accuracy", "accuracy_clean", "macro_f1_clean"]
    assert first[same].equals(second[same])


def test_without_known_labels_there_is_no_score(noisy_graph: Data, recorder: Recorder) -> None:
    noisy_graph.y_clean = torch.where(torch.from_numpy(TEST), -1, noisy_graph.y_clean)
    found = downstream_accuracy(noisy_graph, noisy_graph, recorder, test_mask=TEST)
    assert math.isnan(found["accuracy_clean"])
    assert math.isnan(found["macro_f1_clean"])
    assert found["accuracy_given"] >= 0


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("test_mask", {"test_mask": TEST[:10]}),
        ("test_mask", {"test_mask": TEST.astype(int)}),
        ("train_mask", {"test_mask": ~TEST, "train_mask": ~TEST}),
        ("train_mask", {"train_mask": TEST[:3]}),
        ("classifier", {"classifier": 3}),
        ("classifier", {"classifier": "oracle"}),
    ],
)
def test_bad_input_is_named(noisy_graph: Data, argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        downstream_accuracy(noisy_graph, noisy_graph, **({"test_mask": TEST} | options))
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("data", "y_clean", None),
        ("data", "y", None),
        ("y_clean", "y_clean", torch.zeros(3, dtype=torch.long)),
        ("y_soft", "y_soft", torch.zeros(90)),
        ("sample_weight", "sample_weight", torch.zeros(3)),
    ],
)
def test_graphs_that_do_not_fit_are_refused(
    noisy_graph: Data, argument: str, key: str, value: Any
) -> None:
    noisy_graph[key] = value
    with pytest.raises(InputError) as caught:
        downstream_accuracy(noisy_graph, noisy_graph, test_mask=TEST)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("actions", {"actions": ["drop", "drop"]}),
        ("action", {"actions": ["burn"]}),
        ("seeds", {"seeds": []}),
    ],
)
def test_comparisons_that_do_not_fit_are_refused(
    noisy_graph: Data, issues_of: Make, argument: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError) as caught:
        compare_repairs(noisy_graph, issues_of(noisy_graph), test_mask=TEST, **options)
    assert caught.value.argument == argument
