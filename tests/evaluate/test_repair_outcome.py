from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_geometric.data import Data

from graphclean.denoise import ACTIONS, clean, plan_repair
from graphclean.evaluate import repair_effect, repair_outcome
from graphclean.issues import LabelIssues
from graphclean.types import InputError

Make = Callable[..., LabelIssues]


@pytest.mark.parametrize("action", ["drop", "relabel"])
@pytest.mark.parametrize("seed", range(3))
def test_whole_labels_are_counted_as_on_the_cleaned_graph(
    noisy_graph: Data, issues_of: Make, action: str, seed: int
) -> None:
    issues = issues_of(noisy_graph, seed)
    found = repair_outcome(issues, noisy_graph, action)
    after = clean(noisy_graph, issues, action).y
    expected = repair_effect(noisy_graph.y, after, noisy_graph.y_clean)
    assert {name: found[name] for name in ("repaired", "broken", "changed")} == {
        name: expected[name] for name in ("repaired", "broken", "changed")
    }
    assert found["changed"] > 0
    known = (noisy_graph.y >= 0) & (after >= 0)
    assert found["wrong_after"] == int((after != noisy_graph.y_clean)[known].sum())


@pytest.mark.parametrize("action", ["soft", "weight"])
def test_weight_moved_away_by_hand(noisy_graph: Data, issues_of: Make, action: str) -> None:
    issues = issues_of(noisy_graph)
    found = repair_outcome(issues, noisy_graph, action)
    node = issues.frame["node"].to_numpy(copy=True)
    wrong = (noisy_graph.y != noisy_graph.y_clean).numpy()[node]
    probability = issues.frame["mislabel_probability"].to_numpy()
    assert found["repaired"] == pytest.approx(probability[wrong].sum())
    assert found["broken"] == pytest.approx(probability[~wrong].sum())
    assert found["wrong_after"] == pytest.approx((1 - probability)[wrong].sum())
    repaired = clean(noisy_graph, issues, action)
    left = (
        repaired.sample_weight[node]
        if action == "weight"
        else repaired.y_soft[node, noisy_graph.y[node]]
    )
    assert found["wrong_after"] == pytest.approx(float(left[wrong].sum()), rel=1e-5)


@pytest.mark.parametrize("action", ACTIONS)
def test_expectations_are_those_of_the_plan(
    noisy_graph: Data, issues_of: Make, action: str
) -> None:
    issues = issues_of(noisy_graph)
    plan, found = plan_repair(issues, action), repair_outcome(issues, noisy_graph, action)
    assert found["expected_repaired"] == pytest.approx(plan.expected_repaired)
    assert found["expected_broken"] == pytest.approx(plan.expected_broken)
    assert found["repaired_ratio"] == pytest.approx(plan.expected_repaired / found["repaired"])
    assert found["wrong_before"] == 18


def test_nodes_of_unknown_truth_count_on_neither_side(noisy_graph: Data, issues_of: Make) -> None:
    issues = issues_of(noisy_graph)
    noisy_graph.y_clean[::2] = -1
    found = repair_outcome(issues, noisy_graph, "drop")
    rows = (issues.frame["node"].to_numpy() % 2 == 1) & issues.frame["is_label_issue"].to_numpy()
    assert found["changed"] == rows.sum()
    expected = issues.frame["mislabel_probability"].to_numpy()[rows].sum()
    assert found["expected_repaired"] == pytest.approx(expected)


def test_a_true_class_that_no_one_can_suggest_is_never_repaired(
    noisy_graph: Data, issues_of: Make
) -> None:
    issues = issues_of(noisy_graph)
    noisy_graph.y_clean = noisy_graph.y_clean.clone().fill_(9)
    found = repair_outcome(issues, noisy_graph, "relabel")
    assert (found["repaired"], found["broken"]) == (0.0, 0.0)
    assert found["repaired_ratio"] == np.inf


def test_the_gate_is_passed_on(noisy_graph: Data, issues_of: Make) -> None:
    issues = issues_of(noisy_graph)
    wide = repair_outcome(issues, noisy_graph, min_confidence=0.0, min_gain=-1.0)
    assert wide["changed"] > repair_outcome(issues, noisy_graph, min_confidence=0.9)["changed"]


@pytest.mark.parametrize(
    ("argument", "changes", "options"),
    [
        ("action", {}, {"action": "burn"}),
        ("min_gain", {}, {"action": "drop", "min_gain": 0.1}),
        ("data", {"y_clean": None}, {}),
        ("issues", {"class_names": ["ash", "birch", "oak"]}, {}),
    ],
)
def test_bad_input_is_named(
    noisy_graph: Data, issues_of: Make, argument: str, changes: Any, options: Any
) -> None:
    issues = issues_of(noisy_graph)
    for key, value in changes.items():
        noisy_graph[key] = value
    with pytest.raises(InputError) as caught:
        repair_outcome(issues, noisy_graph, **options)
    assert caught.value.argument == argument
