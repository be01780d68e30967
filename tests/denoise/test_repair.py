from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData

from graphclean.data import check, load_npz, num_classes, save_npz
from graphclean.denoise import ACTIONS, clean, plan_repair
from graphclean.issues import LabelIssues
from graphclean.nn.supervision import supervision
from graphclean.types import InputError

Make = Callable[..., LabelIssues]

RENAMED = ["asp", "birch", "cedar", "<b>&"]


def test_drop_takes_label_and_masks_and_leaves_the_node(graph: Data, issues: LabelIssues) -> None:
    out = clean(graph, issues)
    assert out.y.tolist() == [-1, 1, 2, -1, -1, -1, 2, 0, -1]
    assert out.train_mask.nonzero().flatten().tolist() == [1, 2, 6]
    assert out.val_mask[:, 0].nonzero().flatten().tolist() == []
    assert out.val_mask[:, 1].nonzero().flatten().tolist() == [1, 2, 6]
    assert out.test_mask.nonzero().flatten().tolist() == [3, 7]
    assert out.edge_index is graph.edge_index
    assert out.x is graph.x


def test_relabel_follows_the_plan(graph: Data, issues: LabelIssues) -> None:
    out = clean(graph, issues, "relabel")
    assert out.y.tolist() == [1, 1, 2, -1, 0, 2, 2, 0, 1]
    eager = clean(graph, issues, "relabel", min_confidence=0.0, min_gain=-1.0)
    assert eager.y.tolist() == [1, 1, 2, -1, 2, 2, 2, 0, 1]
    assert out.train_mask is graph.train_mask
    for action, cleaned in (("relabel", out), ("drop", clean(graph, issues, "drop"))):
        code = {name: number for number, name in enumerate(graph.class_names)} | {"": -1}
        decisions = plan_repair(issues, action).decisions
        assert cleaned.y[decisions["node"].tolist()].tolist() == [
            code[name] for name in decisions["new_label"]
        ]


def test_soft_labels_by_hand(graph: Data, issues: LabelIssues) -> None:
    out = clean(graph, issues, "soft")
    expected = [
        [0.125, 0.75, 0.0625, 0.0625],  # flagged: 1 - p, c, rest of p on two classes
        [0.25 / 3, 0.75, 0.25 / 3, 0.25 / 3],  # its own label suggested: p on three classes
        [0.375, 0.0625, 0.5, 0.0625],
        [0.0, 0.0, 0.0, 0.0],  # unlabelled
        [0.375, 0.3125 / 2, 0.3125, 0.3125 / 2],
        [0.0, 0.0625, 0.9375, 0.0],
        [0.0, 0.0, 1.0, 0.0],  # labelled, not judged
        [1.0, 0.0, 0.0, 0.0],  # judged, surely right
        [0.25, 0.25, 0.25, 0.25],
    ]
    assert out.y_soft.dtype == torch.float32
    torch.testing.assert_close(out.y_soft, torch.tensor(expected))
    assert torch.equal(out.y, graph.y)


def test_sample_weights_by_hand(graph: Data, issues: LabelIssues) -> None:
    out = clean(graph, issues, "weight")
    assert out.sample_weight.dtype == torch.float32
    expected = [0.125, 0.75, 0.5, 0.0, 0.375, 0.0625, 1.0, 1.0, 0.25]
    assert out.sample_weight.tolist() == expected
    assert torch.equal(out.y, graph.y)


def test_of_two_classes_the_other_one_takes_all_of_p(make_issues: Make) -> None:
    found = make_issues([0, 1], [0, 1], [1, 1], [0.75, 0.25], [0.5, 0.75], [1, 0], names=("a", "b"))
    data = Data(x=torch.zeros(2, 1), y=torch.tensor([0, 1]), class_names=["a", "b"])
    assert clean(data, found, "soft").y_soft.tolist() == [[0.25, 0.75], [0.25, 0.75]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 3),
            st.floats(0, 1, width=32),
            st.floats(0, 1, width=32),
            st.booleans(),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_soft_rows_are_distributions_whatever_the_detector_says(
    make_issues: Make, rows: list[tuple[int, int, float, float, bool]]
) -> None:
    label, suggested, wrong, confidence, flagged = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    found = make_issues(range(len(rows)), label, suggested, wrong, confidence, flagged)
    data = Data(y=torch.tensor(label), class_names=list(found.class_names), num_nodes=len(rows))
    soft = clean(data, found, "soft").y_soft
    assert bool((soft >= 0).all())
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(len(rows)))
    own = soft[torch.arange(len(rows)), data.y]
    torch.testing.assert_close(own, torch.tensor(1 - wrong, dtype=torch.float32))


def test_classifiers_take_soft_labels_and_weights(graph: Data, issues: LabelIssues) -> None:
    everywhere = torch.ones(9, dtype=torch.bool)
    soft = clean(graph, issues, "soft")
    found = supervision(soft, y=soft.y_soft, mask=everywhere)
    assert found.train_index.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    weighted = clean(graph, issues, "weight")
    found = supervision(weighted, mask=everywhere, sample_weight=weighted.sample_weight)
    assert found.weight is not None
    assert found.weight.tolist() == [0.125, 0.75, 0.5, 0.375, 0.0625, 1.0, 1.0, 0.25]


@pytest.mark.parametrize("action", ACTIONS)
def test_the_input_is_untouched(graph: Data, issues: LabelIssues, action: str) -> None:
    before, held = copy.deepcopy(graph), dict(graph.to_dict())
    frame, meta = issues.frame.copy(), issues.meta
    out = clean(graph, issues, action)
    out.y.fill_(0)
    out.class_names.append("more")
    if action == "drop":
        for key in ("train_mask", "val_mask", "test_mask"):
            out[key].fill_(True)
    assert graph.to_dict().keys() == before.to_dict().keys()
    for key, value in held.items():
        assert graph[key] is value
        same = torch.equal if isinstance(value, torch.Tensor) else list.__eq__
        assert same(value, before[key])
    assert issues.frame.equals(frame)
    assert issues.meta == meta


@pytest.mark.parametrize("action", ACTIONS)
def test_truth_is_carried_along_and_never_read(
    graph: Data, issues: LabelIssues, action: str
) -> None:
    poisoned = copy.copy(graph)
    poisoned.y_clean, poisoned.noise_mask = torch.full((9,), 99), torch.ones(9).bool()
    first, second = clean(graph, issues, action), clean(poisoned, issues, action)
    for key in set(first.to_dict()) - {"y_clean"}:
        value = first[key]
        assert torch.equal(value, second[key]) if torch.is_tensor(value) else value == second[key]
    assert first.y_clean is graph.y_clean
    assert second.y_clean is poisoned.y_clean


def test_what_was_done_is_written_down(graph: Data, issues: LabelIssues, tmp_path: Path) -> None:
    for action in ACTIONS:
        out = clean(graph, issues, action)
        assert out.cleaning == plan_repair(issues, action).to_dict()
        assert json.loads(json.dumps(out.cleaning)) == out.cleaning
        back = load_npz(save_npz(out, tmp_path / f"{action}.npz"))
        assert back.cleaning == out.cleaning
        assert torch.equal(back.y, out.y)
    out = clean(graph, issues, "relabel", min_confidence=0.9, min_gain=0.1)
    assert out.cleaning["thresholds"] == {"min_confidence": 0.9, "min_gain": 0.1}
    assert out.cleaning["counts"]["changed"] == 1


def test_a_class_keeps_its_number_when_its_last_label_goes(make_issues: Make) -> None:
    data = Data(x=torch.zeros(3, 1), y=torch.tensor([0, 1, 2]))
    found = make_issues([2], [2], [0], [1.0], [1.0], [True], names=("0", "1", "2"))
    out = clean(data, found, "drop")
    assert out.y.tolist() == [0, 1, -1]
    assert num_classes(out) == 3


def test_soft_labels_of_other_labels_do_not_survive(graph: Data, issues: LabelIssues) -> None:
    soft = clean(graph, issues, "soft")
    both = clean(soft, issues, "weight")
    assert torch.equal(both.y_soft, soft.y_soft)
    for action in ("drop", "relabel"):
        assert "y_soft" not in clean(soft, issues, action)
    assert "y_soft" in soft


def test_labels_in_every_form_the_door_accepts(graph: Data, issues: LabelIssues) -> None:
    expected = clean(graph, issues, "relabel").y
    for y in (
        graph.y.int(),
        graph.y.float().where(graph.y >= 0, torch.tensor(float("nan"))),
        graph.y.view(-1, 1),
        graph.y.numpy(),
    ):
        other = copy.copy(graph)
        other.y = y
        out = clean(other, issues, "relabel")
        assert out.y.dtype == torch.long
        assert torch.equal(out.y, expected)


def test_zero_one_masks_and_numpy_masks(graph: Data, issues: LabelIssues) -> None:
    expected = clean(graph, issues).val_mask
    for mask in (graph.val_mask.int(), graph.val_mask.numpy()):
        other = copy.copy(graph)
        other.val_mask = mask
        assert torch.equal(clean(other, issues).val_mask.bool(), expected)
    assert graph.val_mask.sum() == 6


def test_a_repaired_graph_passes_the_door_again(graph: Data, issues: LabelIssues) -> None:
    for action in ACTIONS:
        out = check(clean(graph, issues, action))
        assert out.cleaning["action"] == action
        assert out.class_names == graph.class_names


def _with(graph: Data, **changes: Any) -> Data:
    other = copy.copy(graph)
    for key, value in changes.items():
        other[key] = value
    return other


@pytest.mark.parametrize(
    ("argument", "message", "changes"),
    [
        ("issues", "found on other labels", {"y": [2, 1, 2, -1, 0, 1, 2, 0, 1]}),
        ("issues", "found on other labels", {"y": [-1, 1, 2, -1, 0, 1, 2, 0, 1]}),
        ("issues", "class 'ash' where the graph has 'asp'", {"class_names": RENAMED}),
        ("issues", "class", {"class_names": ["ash", "birch", "cedar"]}),
        ("issues", "class", {"class_names": ["ash", "birch", "cedar", "<b>&", "elm"]}),
        ("issues", "row 8 was node 'n8'", {"node_ids": [f"m{i}" for i in range(9)]}),
        ("issues", "it is 8", {"node_ids": list(range(9))}),
        ("node_ids", "3 entries", {"node_ids": ["n0", "n1", "n2"]}),
        ("y", "whole numbers", {"y": [0.5] * 9}),
        ("train_mask", "shape", {"train_mask": torch.tensor([0, 2])}),
    ],
)
def test_issues_of_another_graph_are_refused(
    graph: Data, issues: LabelIssues, argument: str, message: str, changes: dict[str, Any]
) -> None:
    changes = {k: torch.tensor(v) if k == "y" else v for k, v in changes.items()}
    with pytest.raises(InputError, match=message) as caught:
        clean(_with(graph, **changes), issues)
    assert caught.value.argument == argument


def test_a_smaller_graph_is_refused(graph: Data, issues: LabelIssues) -> None:
    smaller = graph.subgraph(torch.arange(8))
    smaller.node_ids = graph.node_ids[:8]
    with pytest.raises(InputError, match="node 8 in a graph of 8 nodes"):
        clean(smaller, issues)


def test_labels_beyond_the_classes_of_the_issues_are_refused(make_issues: Make) -> None:
    found = make_issues([0], [0], [1], [1.0], [1.0], [True], names=("0", "1"))
    with pytest.raises(InputError, match="2 classes, the graph has 3"):
        clean(Data(x=torch.zeros(2, 1), y=torch.tensor([0, 2])), found, "soft")


def test_what_is_no_graph_or_no_issues_is_refused(graph: Data, issues: LabelIssues) -> None:
    with pytest.raises(InputError, match="without y"):
        clean(Data(x=graph.x), issues)
    hetero = HeteroData()
    hetero.y = graph.y
    with pytest.raises(InputError, match="HeteroData"):
        clean(hetero, issues)
    with pytest.raises(InputError, match="LabelIssues"):
        clean(graph, issues.frame)  # type: ignore[arg-type]


def test_issues_found_before_a_repair_cannot_be_used_after_it(
    graph: Data, issues: LabelIssues
) -> None:
    for action in ("drop", "relabel"):
        once = clean(graph, issues, action)
        with pytest.raises(InputError, match="found on other labels"):
            clean(once, issues, action)
