"""Flags by threshold, false-discovery target and review budget, against brute force."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graphclean.issues import LabelIssues, NoiseRate
from graphclean.types import InputError

NAMES = ("a", "b", "c")
OLD = ["alternative_label", "alternative_confidence", "given_confidence"]


def make(wrong: Any, probs: Any = None, given: Any = None, **columns: Any) -> LabelIssues:
    """Issues whose class probabilities ``[n, 3]`` are known; flagged where another class leads."""
    wrong = np.asarray(wrong, dtype=float)
    n = len(wrong)
    probs = np.tile([0.5, 0.3, 0.2], (n, 1)) if probs is None else np.asarray(probs)
    given = np.zeros(n, dtype=int) if given is None else np.asarray(given)
    names, rows = np.array(NAMES), np.arange(n)
    others = probs.copy()
    others[rows, given] = -1
    other, best = others.argmax(axis=1), probs.argmax(axis=1)
    frame = pd.DataFrame(
        {
            "node": rows,
            "is_label_issue": best != given,
            "label_quality": 1 - wrong,
            "mislabel_probability": wrong,
            "given_label": names[given],
            "predicted_label": names[best],
            "suggested_label": names[best],
            "suggestion_confidence": probs[rows, best],
            "degree": 1,
            "alternative_label": names[other],
            "alternative_confidence": probs[rows, other],
            "given_confidence": probs[rows, given],
            **columns,
        },
        index=[f"n{row}" for row in rows],
    )
    return LabelIssues(frame, NAMES, NoiseRate(0.1, 0.0, 0.2), meta={"calibrated": True})


def picked(issues: LabelIssues) -> list[int]:
    return np.flatnonzero(issues.frame["is_label_issue"]).tolist()


@pytest.fixture
def random_issues() -> LabelIssues:
    rng = np.random.default_rng(0)
    return make(rng.random(200), rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200))


def test_threshold_flags_what_is_strictly_above() -> None:
    assert picked(make([0.5, 0.51, 0.2, 1.0, 0.5]).flagged(threshold=0.5)) == [1, 3]
    assert picked(make([0.0, 0.1]).flagged(threshold=0)) == [1]
    assert picked(make([1.0]).flagged(threshold=1)) == []


def test_false_discovery_target_is_the_largest_set_of_all_subsets() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        wrong = rng.random(9).round(3)
        for fdr in (0.05, 0.2, 0.45):
            sizes = [
                len(rows)
                for k in range(1, 10)
                for rows in combinations(range(9), k)
                if np.mean(1 - wrong[list(rows)]) <= fdr + 1e-12
            ]
            found = make(wrong).flagged(fdr=fdr)
            rows = picked(found)
            assert len(rows) == max(sizes, default=0)
            assert set(rows) == set(np.argsort(-wrong)[: len(rows)])
            if rows:
                assert found.summary().expected_precision >= 1 - fdr - 1e-12


def test_ties_at_the_boundary_are_all_in_or_all_out() -> None:
    # 1 and one 0.8 would have a mean of 0.1, all three 0.8s have 0.15.
    assert picked(make([0.8, 1.0, 0.8, 0.8, 0.1]).flagged(fdr=0.12)) == [1]
    assert picked(make([0.8, 1.0, 0.8, 0.8, 0.1]).flagged(fdr=0.15)) == [0, 1, 2, 3]
    assert picked(make([0.7] * 4).flagged(fdr=0.3)) == [0, 1, 2, 3]  # 1 - 0.7 > 0.3 in floats
    assert picked(make([0.7] * 4).flagged(fdr=0.29)) == []
    assert len(make([]).flagged(fdr=0.1)) == 0


def test_target_is_kept_where_the_probabilities_are_true() -> None:
    rng = np.random.default_rng(2)
    wrong = rng.beta(0.3, 1.2, 40_000)
    flags = np.asarray(make(wrong).flagged(fdr=0.1).frame["is_label_issue"])
    truly_wrong = rng.random(40_000) < wrong
    assert flags.sum() > 500
    assert 1 - truly_wrong[flags].mean() == pytest.approx(0.1, abs=0.015)


def test_budget_is_the_head_of_the_list(random_issues: LabelIssues) -> None:
    for budget, count in ((1, 1), (7, 7), (0.1, 20), (0.29, 58), (5000, 200)):
        found = random_issues.flagged(budget=budget)
        worst = random_issues.top(count)["node"]
        assert picked(found) == sorted(worst)
    assert picked(make([0.5, 0.9, 0.5, 0.5]).flagged(budget=3)) == [0, 1, 2]
    assert picked(make([0.5, 0.9, 0.5]).flagged(budget=0.9)) == [0, 1]


def test_abstained_nodes_are_reviewed_last_and_flagged_by_no_rule() -> None:
    issues = make([0.9, 0.8, 1.0, 0.1], abstained=[False, False, True, False])
    assert picked(issues.flagged(threshold=0.5)) == [0, 1]
    assert picked(issues.flagged(fdr=0.5)) == [0, 1, 3]
    assert picked(issues.flagged(budget=3)) == [0, 1, 3]
    assert picked(issues.flagged(budget=4)) == [0, 1, 2, 3]


def test_suggestions_follow_the_flags(random_issues: LabelIssues) -> None:
    found = random_issues.flagged(budget=100)
    frame = found.frame
    flags = frame["is_label_issue"]
    assert (flags != random_issues.frame["is_label_issue"]).sum() > 20
    assert (frame["suggested_label"] != frame["given_label"])[flags].all()
    # What is suggested is the most probable class of all, or of the others where flagged.
    rng = np.random.default_rng(0)
    rng.random(200)
    probs, given = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    masked = probs.copy()
    masked[flags, given[flags]] = -1
    best = masked.argmax(axis=1)
    assert frame["suggested_label"].tolist() == [NAMES[k] for k in best]
    assert frame["suggestion_confidence"].tolist() == probs[range(200), best].tolist()
    # The order in which rules were tried does not matter.
    again = found.flagged(threshold=0.7).frame
    pd.testing.assert_frame_equal(again, random_issues.flagged(threshold=0.7).frame)


def test_equal_confidence_goes_to_the_class_that_comes_first() -> None:
    issues = make([0.5, 0.5], [[0.4, 0.4, 0.2], [0.4, 0.4, 0.2]], [0, 1])
    calm = issues.flagged(budget=2).flagged(threshold=1.0).frame
    assert calm["suggested_label"].tolist() == ["a", "a"]


def test_the_rest_is_kept_and_the_policy_recorded(
    random_issues: LabelIssues, tmp_path: Path
) -> None:
    before = random_issues.frame
    found = random_issues.flagged(fdr=0.2)
    pd.testing.assert_frame_equal(random_issues.frame, before, check_exact=True)
    assert "flag_policy" not in random_issues.meta
    same = [name for name in before.columns if "suggest" not in name and name != "is_label_issue"]
    pd.testing.assert_frame_equal(found.frame[same], before[same], check_exact=True)
    assert found.meta == {"calibrated": True, "flag_policy": {"fdr": 0.2}}
    assert found.noise_rate == random_issues.noise_rate
    summary = found.summary()
    flags = found.frame["is_label_issue"]
    assert summary.issues == flags.sum() == summary.per_pair["count"].sum() > 0
    assert summary.issues == summary.per_class["issues"].sum()
    assert summary.to_dict()["flag_policy"] == {"fdr": 0.2}
    loaded = LabelIssues.load(found.save(tmp_path))
    pd.testing.assert_frame_equal(loaded.frame, found.frame, check_exact=True)
    assert loaded.summary().lines() == summary.lines()
    assert random_issues.summary().to_dict()["flag_policy"] is None


@pytest.mark.parametrize(
    ("rule", "phrase"),
    [
        ({"threshold": 0.9}, "%): mislabel probability above 0.9"),
        ({"fdr": 0.1}, "%): false-discovery target 0.1"),
        ({"budget": 1000}, "%): review budget 1,000 nodes"),
        ({"budget": 0.05}, "%): review budget 0.05 of the nodes"),
    ],
)
def test_summary_names_the_rule(rule: dict[str, Any], phrase: str) -> None:
    assert make([0.5]).flagged(**rule).summary().lines()[0].endswith(phrase)


@pytest.mark.parametrize(
    ("rule", "argument", "shown"),
    [
        ({}, "threshold, fdr, budget", "no rule"),
        ({"fdr": 0.1, "budget": 3}, "threshold, fdr, budget", "fdr=0.1, budget=3"),
        ({"threshold": 1.5}, "threshold", "1.5"),
        ({"threshold": "high"}, "threshold", "high"),
        ({"threshold": float("nan")}, "threshold", "nan"),
        ({"fdr": 0}, "fdr", "0"),
        ({"fdr": 1.0}, "fdr", "1.0"),
        ({"fdr": 10}, "fdr", "10"),
        ({"budget": 0}, "budget", "0"),
        ({"budget": -3}, "budget", "-3"),
        ({"budget": 1.0}, "budget", "1.0"),
        ({"budget": 12.5}, "budget", "12.5"),
        ({"budget": True}, "budget", "True"),
    ],
)
def test_bad_rule_is_named(rule: dict[str, Any], argument: str, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        make([0.5]).flagged(**rule)
    assert caught.value.argument == argument
    assert shown in str(caught.value)


def test_uncalibrated_probabilities_have_no_false_discovery_rate() -> None:
    rough = make([0.9])
    rough = LabelIssues(rough.frame, NAMES, rough.noise_rate)
    with pytest.raises(InputError, match="not calibrated"):
        rough.flagged(fdr=0.1)
    assert picked(rough.flagged(budget=1)) == [0]


def test_issues_of_before_are_refused_only_where_they_know_no_alternative() -> None:
    fresh = make([0.9, 0.4, 0.2], [[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    old = LabelIssues(
        fresh.frame.drop(columns=OLD), NAMES, fresh.noise_rate, meta={"calibrated": True}
    )
    assert picked(old.flagged(threshold=0.5)) == [0]
    assert old.flagged(threshold=0.5).frame["suggested_label"].tolist() == ["b", "a", "b"]
    with pytest.raises(InputError, match=r"node 'n1'.*Run the detector again"):
        old.flagged(threshold=0.3)
    assert picked(fresh.flagged(threshold=0.3)) == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alternative_label": "d"}, "class_names"),
        ({"alternative_label": "a"}, "another class than the given"),
        ({"given_confidence": 1.5}, r"in \[0, 1\]"),
        ({"abstained": 1}, "Make it bool"),
    ],
)
def test_bad_alternatives_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make([0.5], **change)
    with pytest.raises(InputError, match="all or none"):
        LabelIssues(make([0.5]).frame.drop(columns="given_confidence"), NAMES, NoiseRate(0, 0, 0))
