from __future__ import annotations

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from graphclean.denoise import clean
from graphclean.detect import find_label_issues
from graphclean.evaluate import detection_scores, evaluate_issues, label_accuracy, repair_effect
from graphclean.issues import LabelIssues, NoiseRate
from graphclean.noise import FlipLabels
from graphclean.types import InputError

NAMES = ("a", "b", "c")


def make_issues(transition: np.ndarray | None = None, node: tuple[int, ...] = (4, 0, 2, 1, 5)):  # type: ignore[no-untyped-def]
    frame = pd.DataFrame(
        {
            "node": node,
            "is_label_issue": [True, True, True, False, False],
            "label_quality": [0.1, 0.2, 0.4, 0.9, 0.6],
            "mislabel_probability": [0.9, 0.8, 0.6, 0.1, 0.4],
            "given_label": ["a", "a", "b", "b", "c"],
            "predicted_label": ["b", "c", "a", "b", "a"],
            "suggested_label": ["b", "c", "a", "b", "a"],
            "suggestion_confidence": [0.9, 0.7, 0.6, 0.9, 0.4],
            "degree": [1] * 5,
        },
        index=[f"n{row}" for row in node],
    )
    return LabelIssues(frame, NAMES, NoiseRate(0.5, 0.4, 0.6), transition, {"calibrated": True})


def make_graph() -> Data:
    """Truth: node 4 is b (found, well suggested), 0 is b (found, badly suggested), 2 is right."""
    return Data(
        x=torch.zeros(6, 1),
        y=torch.tensor([0, 1, 1, -1, 0, 2]),
        y_clean=torch.tensor([1, 1, 1, 0, 1, 0]),
        class_names=list(NAMES),
        node_ids=[f"n{row}" for row in range(6)],
    )


def test_rows_are_aligned_by_node() -> None:
    found = evaluate_issues(make_issues(), make_graph())
    wrong = np.array([True, True, False, False, True])
    flagged = np.array([True, True, True, False, False])
    expected = detection_scores(wrong, np.array([0.9, 0.8, 0.6, 0.1, 0.4]), flagged)
    assert {name: found[name] for name in expected} == expected
    assert found["precision"] == 2 / 3
    assert found["fdr"] == 1 / 3
    assert found["suggestion_accuracy"] == 1 / 2
    assert found["noise_rate"] == 3 / 5
    assert found["estimated_noise_rate"] == 0.5
    assert found["noise_rate_error"] == pytest.approx(-0.1)
    assert math.isnan(found["transition_error"])


@pytest.mark.parametrize(
    ("low", "high", "covered"), [(0.4, 0.6, 1), (0.6, 0.7, 1), (0.4, 0.59, 0), (0.61, 0.7, 0)]
)
def test_the_interval_holds_the_true_rate_or_not(low: float, high: float, covered: int) -> None:
    issues = make_issues()
    issues = LabelIssues(
        issues.frame, NAMES, NoiseRate(0.65, low, high), None, {"calibrated": True}
    )
    found = evaluate_issues(issues, make_graph())
    assert (found["noise_rate_low"], found["noise_rate_high"]) == (low, high)
    assert found["noise_rate_covered"] == covered


def test_no_flag_is_no_false_discovery() -> None:
    issues = make_issues()
    frame = issues.frame.assign(is_label_issue=False)
    issues = LabelIssues(frame, NAMES, issues.noise_rate, None, {"calibrated": True})
    found = evaluate_issues(issues, make_graph())
    assert found["fdr"] == 0.0
    assert math.isnan(found["precision"])


def test_transition_error_is_against_the_realised_matrix() -> None:
    # judged: true a given c; true b given a, a, b, b; no c
    realised = np.array([[0, 0, 1], [0.5, 0.5, 0], [0, 0, 1]])
    assert evaluate_issues(make_issues(realised), make_graph())["transition_error"] == 0.0
    found = evaluate_issues(make_issues(np.eye(3)), make_graph())
    assert found["transition_error"] == pytest.approx((2 + 1) / 9)


def test_nodes_without_known_truth_do_not_count() -> None:
    graph = make_graph()
    graph.y_clean[4] = -1
    found = evaluate_issues(make_issues(), graph)
    assert (found["nodes"], found["wrong"], found["flagged"]) == (4, 2, 2)
    assert found["suggestion_accuracy"] == 0.0
    graph.y_clean[:] = -1
    nothing = evaluate_issues(make_issues(np.eye(3)), graph)
    assert nothing["nodes"] == 0
    assert math.isnan(nothing["noise_rate"])
    assert math.isnan(nothing["noise_rate_covered"])
    assert math.isnan(nothing["transition_error"])


def test_current_labels_are_not_read_and_nothing_is_changed() -> None:
    graph, issues = make_graph(), make_issues()
    before = copy.deepcopy(graph)
    expected = evaluate_issues(issues, graph)
    cleaned = clean(graph, issues, "relabel")
    assert not torch.equal(cleaned.y, graph.y)
    assert evaluate_issues(issues, cleaned) == pytest.approx(expected, nan_ok=True)
    assert torch.equal(graph.y, before.y)
    assert torch.equal(graph.y_clean, before.y_clean)
    assert graph.keys() == before.keys()


def test_the_realised_repair_is_counted_as_the_plan_counts() -> None:
    graph, issues = make_graph(), make_issues()
    dropped = clean(graph, issues, "drop")
    effect = repair_effect(graph.y, dropped.y, graph.y_clean)
    assert (effect["repaired"], effect["broken"], effect["changed"]) == (2, 1, 3)
    relabelled = clean(graph, issues, "relabel")
    effect = repair_effect(graph.y, relabelled.y, graph.y_clean)
    assert (effect["repaired"], effect["broken"], effect["changed"]) == (1, 1, 3)
    assert effect["accuracy_after"] == label_accuracy(
        relabelled.y[[0, 1, 2, 4, 5]], [1, 1, 1, 1, 0]
    )


def test_a_detector_is_scored_end_to_end(tiny_data: Data) -> None:
    noisy = FlipLabels("uniform", 0.1, seed=0)(tiny_data)
    issues = find_label_issues(noisy, "neighbour_agreement")
    found = evaluate_issues(issues, noisy)
    assert found["wrong"] == int(noisy.noise_mask.sum())
    assert found["noise_rate"] == pytest.approx(noisy.noise_rate)
    assert found["auroc"] > 0.8
    assert all(isinstance(value, (int, float)) for value in found.values())


def test_a_class_that_only_the_truth_has() -> None:
    graph = make_graph()
    graph.y_clean[0] = 3
    found = evaluate_issues(make_issues(np.eye(3)), graph)
    assert found["wrong"] == 3
    assert math.isfinite(found["transition_error"])


@pytest.mark.parametrize(
    ("argument", "changes"),
    [
        ("data", {"y_clean": None}),
        ("y_clean", {"y_clean": torch.zeros(6)}),
        ("y_clean", {"y_clean": torch.zeros(6, 1, dtype=torch.long)}),
        ("issues", {"y_clean": torch.zeros(5, dtype=torch.long)}),
        ("issues", {"class_names": ["a", "b", "d"]}),
        ("issues", {"node_ids": [f"n{row}" for row in range(1, 7)]}),
    ],
)
def test_what_does_not_fit_is_refused(argument: str, changes: dict[str, object]) -> None:
    graph = make_graph()
    for key, value in changes.items():
        graph[key] = value
    with pytest.raises(InputError) as caught:
        evaluate_issues(make_issues(), graph)
    assert caught.value.argument == argument
