from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphclean.denoise import ACTIONS, plan_repair
from graphclean.issues import LabelIssues
from graphclean.types import InputError

Make = Callable[..., LabelIssues]


def test_relabel_counts_by_hand(issues: LabelIssues) -> None:
    plan = plan_repair(issues)
    assert plan.action == "relabel"
    decision = plan.decisions["decision"]
    assert decision[decision == "relabel"].index.tolist() == ["n0", "n5"]
    assert plan.decisions["new_label"].to_dict() == {
        "n8": "birch",
        "n0": "birch",
        "n1": "birch",
        "n2": "cedar",
        "n4": "ash",
        "n5": "cedar",
        "n7": "ash",
    }
    assert (plan.judged, plan.flagged, plan.changed, plan.kept) == (7, 4, 2, 2)
    assert plan.expected_repaired == 0.75 + 0.9375
    assert plan.expected_broken == 0.125 + 0.0625
    assert plan.expected_net == 1.5


def test_no_gate_is_so_open_that_a_label_replaces_itself(issues: LabelIssues) -> None:
    plan = plan_repair(issues, min_confidence=0.0, min_gain=-1.0)
    assert plan.decisions["decision"].to_dict()["n8"] == "keep"
    assert (plan.changed, plan.kept) == (3, 1)


def test_drop_counts_removed_labels(issues: LabelIssues) -> None:
    plan = plan_repair(issues, "drop")
    assert (plan.changed, plan.kept) == (4, 0)
    assert plan.expected_repaired == 0.75 + 0.875 + 0.625 + 0.9375
    assert plan.expected_broken == 4 - plan.expected_repaired
    dropped = plan.decisions[plan.decisions["decision"] == "drop"]
    assert dropped.index.tolist() == ["n8", "n0", "n4", "n5"]
    assert (dropped["new_label"] == "").all()


@pytest.mark.parametrize("action", ["soft", "weight"])
def test_soft_and_weight_count_the_weight_that_they_take(issues: LabelIssues, action: str) -> None:
    plan = plan_repair(issues, action)
    wrong = np.array([0.75, 0.875, 0.25, 0.5, 0.625, 0.9375, 0.0])
    assert plan.changed == 6
    assert plan.kept == 0
    assert plan.expected_repaired == pytest.approx((wrong**2).sum())
    assert plan.expected_broken == pytest.approx((wrong * (1 - wrong)).sum())
    assert (plan.decisions["new_label"] == plan.decisions["given_label"]).all()


@pytest.mark.parametrize(
    ("gate", "relabelled"),
    [
        ({}, ["b", "c"]),
        ({"min_confidence": 0.75}, ["c"]),
        ({"min_confidence": 0.751}, []),
        ({"min_confidence": 0.0}, ["a", "b", "c"]),
        ({"min_confidence": 0.0, "min_gain": 0.5}, ["c"]),
        ({"min_confidence": 0.0, "min_gain": 0.25}, ["b", "c"]),
        ({"min_confidence": 0.0, "min_gain": -1.0}, ["a", "b", "c", "d"]),
        ({"min_confidence": 1, "min_gain": 0}, []),
    ],
)
def test_the_gate(make_issues: Make, gate: dict[str, float], relabelled: list[str]) -> None:
    found = make_issues(
        node=range(5),
        given=[0] * 5,
        suggested=[1] * 5,
        wrong=[0.5, 0.625, 0.75, 0.375, 0.875],
        confidence=[0.5, 0.625, 0.75, 0.25, 0.875],
        flagged=[True, True, True, True, False],
        ids="abcde",
    )
    decision = plan_repair(found, "relabel", **gate).decisions["decision"]
    assert decision[decision == "relabel"].index.tolist() == relabelled


def test_confidence_beyond_the_mislabel_probability_counts_as_that(make_issues: Make) -> None:
    found = make_issues([0, 1], [0, 0], [1, 1], [0.5, 0.7], [0.9, 0.9], [True, True])
    plan = plan_repair(found, "relabel")
    assert plan.decisions["suggestion_confidence"].tolist() == [0.5, 0.7]
    assert plan.decisions["decision"].tolist() == ["keep", "relabel"]
    assert plan.expected_repaired == 0.7


@st.composite
def beliefs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 12))
    unit = st.floats(0, 1, width=32)
    rows = st.lists(unit, min_size=size, max_size=size).map(np.array)
    wrong, share = draw(rows), draw(rows)
    return wrong, share * wrong, draw(rows) < 0.7


@settings(max_examples=40, deadline=None)
@given(beliefs())
def test_the_open_gate_takes_every_expected_gain_and_no_loss(
    make_issues: Make, belief: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    wrong, confidence, flagged = belief
    size = len(wrong)
    found = make_issues(range(size), [0] * size, [1] * size, wrong, confidence, flagged)
    gain = np.where(flagged, confidence - (1 - wrong), 0.0)
    best = np.maximum(gain, 0.0).sum()
    assert plan_repair(found, min_confidence=0.0).expected_net == pytest.approx(best)
    plan = plan_repair(found)
    each = plan.decisions[plan.decisions["decision"] == "relabel"]
    assert (each["expected_repaired"] - each["expected_broken"] >= 0.2 - 1e-9).all()
    assert set(each["node"]) == set(np.flatnonzero(flagged & (confidence >= 0.6)))


@pytest.mark.parametrize("action", ACTIONS)
def test_expectations_match_a_simulated_truth(make_issues: Make, action: str) -> None:
    rng = np.random.default_rng(0)
    size, classes = 20_000, 4
    row = np.arange(size)
    belief = rng.dirichlet([0.3] * classes, size)
    truth = (rng.random((size, 1)) > belief.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    given = np.where(rng.random(size) < 0.6, belief.argmax(axis=1), rng.integers(0, classes, size))
    others = belief.copy()
    others[row, given] = -1.0
    suggested = others.argmax(axis=1)
    wrong = 1.0 - belief[row, given]
    found = make_issues(row, given, suggested, wrong, belief[row, suggested], wrong > 0.5)
    plan = plan_repair(found, action)
    changed = (plan.decisions["decision"] != "keep").to_numpy()
    share = wrong if action in ("soft", "weight") else changed.astype(float)
    right_after = suggested == truth if action == "relabel" else given != truth
    repaired = (share * (given != truth) * right_after).sum()
    broken = (share * (given == truth)).sum()
    assert changed.sum() > 2000
    assert abs(repaired - plan.expected_repaired) < 4 * np.sqrt(plan.expected_repaired)
    assert abs(broken - plan.expected_broken) < 4 * np.sqrt(plan.expected_broken)
    if action == "relabel":
        new = plan.decisions["new_label"].map({n: i for i, n in enumerate(found.class_names)})
        assert (new == truth).mean() > (given == truth).mean()
        ungated = np.where(wrong > 0.5, suggested, given)
        assert broken < ((given == truth) & (ungated != truth)).sum()


def test_a_detector_without_calibration_passes_the_same_gate_with_a_note(make_issues: Make) -> None:
    parts = ([0], [0], [1], [0.75], [0.75], [True])
    sure, unsure = (plan_repair(make_issues(*parts, calibrated=c)) for c in (True, False))
    assert sure.decisions.equals(unsure.decisions)
    assert (sure.calibrated, unsure.calibrated) == (True, False)
    assert "not calibrated" in str(unsure)
    assert "not calibrated" not in str(sure)


def test_nothing_flagged_and_nothing_judged(make_issues: Make) -> None:
    for found in (make_issues([0], [0], [1], [0.0], [0.0], [False]), make_issues(*[[]] * 6)):
        for action in ACTIONS:
            plan = plan_repair(found, action)
            assert (plan.changed, plan.kept) == (0, 0)
            assert (plan.expected_repaired, plan.expected_broken, plan.expected_net) == (0, 0, 0)
            assert "\n\n" not in str(plan)
            assert "<table" not in plan._repr_html_()


def test_the_plan_in_words(issues: LabelIssues) -> None:
    plan = plan_repair(issues)
    text = str(plan)
    assert "Relabel 2 of 4 flagged nodes" in text
    assert "1.7 labels repaired, 0.2 broken (net +1.5)" in text
    assert "at least 0.6" in text
    assert "2 flagged nodes keep their label" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["ash", "birch", "1", "0.750", "0.125"] in rows
    assert ["birch", "cedar", "1", "0.938", "0.062"] in rows
    assert repr(plan).startswith("RepairPlan(Relabel 2 of 4")
    dropped = str(plan_repair(issues, "drop"))
    assert "3.2 wrong labels removed, 0.8 right labels removed (net +2.4)" in dropped
    assert "Gate" not in dropped
    assert ["ash", "2", "1.500", "0.500"] in [line.split() for line in dropped.splitlines()]


def test_class_names_cannot_inject_html(make_issues: Make) -> None:
    found = make_issues([0], [3], [0], [1.0], [1.0], [True])
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append(tag)  # type: ignore[method-assign]
    parser.feed(plan_repair(found)._repr_html_())
    assert "td" in seen
    assert "b" not in seen


def test_the_record_is_strict_json_and_the_plan_frozen(issues: LabelIssues) -> None:
    plan = plan_repair(issues, min_confidence=np.float32(0.5))
    record = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert record == plan.to_dict()
    assert record["counts"] == {"judged": 7, "flagged": 4, "changed": 2, "kept": 2}
    assert record["thresholds"] == {"min_confidence": 0.5, "min_gain": 0.0}
    assert plan_repair(issues, "drop").to_dict()["thresholds"] == {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.changed = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("action", {"action": "remove"}),
        ("action", {"action": ["drop"]}),
        ("min_confidence", {"min_confidence": 1.5}),
        ("min_confidence", {"min_confidence": -0.1}),
        ("min_confidence", {"min_confidence": float("nan")}),
        ("min_confidence", {"min_confidence": "0.5"}),
        ("min_confidence", {"min_confidence": True}),
        ("min_gain", {"min_gain": -1.01}),
        ("min_gain", {"min_gain": 2}),
        ("min_confidence", {"action": "drop", "min_confidence": 0.5}),
        ("min_gain", {"action": "soft", "min_gain": 0.0}),
    ],
)
def test_bad_arguments_are_named(
    issues: LabelIssues, argument: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(InputError) as caught:
        plan_repair(issues, **arguments)  # type: ignore[arg-type]
    assert caught.value.argument == argument


def test_only_issues_can_be_planned(issues: LabelIssues) -> None:
    with pytest.raises(InputError, match="LabelIssues"):
        plan_repair(issues.frame)  # type: ignore[arg-type]
