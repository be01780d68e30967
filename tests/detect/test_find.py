"""The one call, and how it finds its detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from torch_geometric.data import Data

import graphclean as gc
from graphclean.detect import GraphCleaner, NeighbourAgreement, SelfConfidence, find_label_issues
from graphclean.nn import SGC
from graphclean.types import InputError

Make = Callable[..., Any]
FAST = {"classifier": SGC(epochs=5), "n_folds": 2, "n_jobs": 1}


@pytest.fixture
def data(planted: Make) -> Data:
    graph: Data = planted(40)
    return graph


def test_default_is_graphcleaner_over_every_label(data: Data) -> None:
    issues = find_label_issues(data, feature_view=False, draws=1, **FAST)
    assert issues.meta["detector"] == "graphcleaner"
    assert issues.meta["params"]["mode"] == "crossfit"
    assert len(issues) == 40
    assert gc.find_label_issues is find_label_issues


def test_name_and_object_agree(data: Data) -> None:
    named = find_label_issues(data, "self_confidence", random_state=3, **FAST)
    built = SelfConfidence(random_state=3, **FAST)
    given = find_label_issues(data, built)
    pd.testing.assert_frame_equal(named.frame, given.frame, check_exact=True)
    assert named.meta == given.meta
    assert named.meta["seed"] == 3
    other = find_label_issues(data, "self_confidence", random_state=4, **FAST)
    assert not other.frame["label_quality"].equals(named.frame["label_quality"])


def test_parameters_and_probabilities_reach_the_detector(data: Data, some_probs: Make) -> None:
    probs = some_probs(data, 3)
    issues = find_label_issues(data, "confident_learning", pred_probs=probs, filter_by="both")
    assert issues.meta["params"]["filter_by"] == "both"
    assert list(issues.frame["label_quality"]) == pytest.approx(
        probs[range(40), data.y].tolist(), rel=1e-9
    )


def test_detector_without_seed_takes_the_shared_arguments(data: Data) -> None:
    issues = find_label_issues(data, "neighbour_agreement", random_state=5, n_jobs=2, hops=1)
    expected = NeighbourAgreement(hops=1).fit(data).find_label_issues()
    pd.testing.assert_frame_equal(issues.frame, expected.frame)


def test_bad_requests_are_named(data: Data) -> None:
    with pytest.raises(InputError, match="graphcleaner, influence_contradiction") as caught:
        find_label_issues(data, "graph_cleaner")
    assert (caught.value.argument, caught.value.value) == ("detector", "graph_cleaner")
    with pytest.raises(InputError, match="unknown parameter 'depth'"):
        find_label_issues(data, "neighbour_agreement", depth=3)
    for options in ({"hops": 2}, {"random_state": 1}):
        with pytest.raises(InputError, match="Set the parameters on the object") as caught:
            find_label_issues(data, GraphCleaner(), **options)
        assert caught.value.argument == "detector"
