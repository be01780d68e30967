"""What a detector stores so that flags can be set anew, and the one call that sets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch_geometric.data import Data

from graphclean.detect import Detector, GraphCleaner, Verdict, find_label_issues
from graphclean.issues import NoiseRate
from graphclean.nn import SGC
from graphclean.types import InputError

Make = Callable[..., Any]
UNREACHED = "no such classifier"


class Known(Detector):
    """Judges by probabilities that are known, with one node in three unlabelled."""

    calibrated = True

    def _judge(self, graph: Any, pred_probs: Any) -> Verdict:
        del pred_probs
        n = len(graph.y)
        probs = np.random.default_rng(0).dirichlet(np.ones(3), n)
        given = probs[np.arange(n), graph.y.clamp_min(0)]
        self.probs = probs
        rate = NoiseRate(0.1, 0.0, 0.2)
        return Verdict(graph.y >= 0, given, given < 0.2, probs, probs, rate)


Known.name = "known"  # set late: a class with a name would register itself


@pytest.fixture
def data(planted: Make) -> Data:
    graph: Data = planted(60)
    graph.y[::3] = -1
    return graph


def test_alternatives_are_the_best_of_the_other_classes(data: Data) -> None:
    detector = Known().fit(data)
    frame = detector.find_label_issues().frame
    for (_, row), given in zip(frame.iterrows(), data.y[data.y >= 0].tolist(), strict=True):
        probs = detector.probs[row["node"]]
        other = max((k for k in range(3) if k != given), key=lambda k: probs[k])
        assert row["alternative_label"] == str(other)
        assert row["alternative_confidence"] == probs[other]
        assert row["given_confidence"] == probs[given]
        best = other if row["is_label_issue"] else int(probs.argmax())
        assert row["suggested_label"] == str(best)
        assert row["suggestion_confidence"] == probs[best]


def test_own_rule_as_a_threshold_changes_nothing(data: Data) -> None:
    issues = Known().fit(data).find_label_issues()
    assert 3 < issues.frame["is_label_issue"].sum() < 30
    same = issues.flagged(budget=30).flagged(threshold=0.8)
    pd.testing.assert_frame_equal(same.frame, issues.frame, check_exact=True)


def test_graphcleaner_flags_again_what_it_flagged(planted: Make) -> None:
    detector = GraphCleaner(
        classifier=SGC(epochs=20), n_folds=3, draws=1, feature_view=False, random_state=0
    )
    issues = detector.fit(planted(90)).find_label_issues()
    again = issues.flagged(budget=60).flagged(threshold=0.5)
    pd.testing.assert_frame_equal(again.frame, issues.frame, check_exact=True)
    wide = issues.flagged(budget=60).frame
    assert (wide["suggested_label"] != wide["given_label"])[wide["is_label_issue"]].all()
    assert (wide["suggestion_confidence"] <= wide["mislabel_probability"] + 1e-12)[
        wide["is_label_issue"]
    ].all()


def test_one_call_sets_the_flags_after_the_fit(data: Data) -> None:
    plain = find_label_issues(data, Known())
    for rule in ({"fdr": 0.2}, {"budget": 7}, {"budget": 0.5}):
        found = find_label_issues(data, Known(), **rule)
        expected = plain.flagged(**rule)
        pd.testing.assert_frame_equal(found.frame, expected.frame, check_exact=True)
        assert found.meta == plain.meta | {"flag_policy": rule}


@pytest.mark.parametrize(
    ("detector", "rule", "argument"),
    [
        ("self_confidence", {"fdr": 0.1}, "fdr"),
        ("graphcleaner", {"fdr": 0.1, "mode": "paper"}, "fdr"),
        ("graphcleaner", {"fdr": 2}, "fdr"),
        ("graphcleaner", {"budget": -1}, "budget"),
        ("graphcleaner", {"budget": 3, "fdr": 0.1}, "threshold, fdr, budget"),
    ],
)
def test_bad_rule_is_refused_before_the_fit(
    detector: str, rule: dict[str, Any], argument: str, data: Data
) -> None:
    with pytest.raises(InputError) as caught:
        find_label_issues(data, detector, classifier=UNREACHED, **rule)
    assert caught.value.argument == argument


def test_threshold_of_graphcleaner_is_still_its_own(data: Data) -> None:
    fast = {"classifier": SGC(epochs=5), "n_folds": 2, "draws": 1, "feature_view": False}
    issues = find_label_issues(data, threshold=0.9, n_jobs=1, **fast)
    assert issues.meta["params"]["threshold"] == 0.9
    assert "flag_policy" not in issues.meta
    frame = issues.frame
    assert (frame["is_label_issue"] == (frame["mislabel_probability"] > 0.9)).all()
