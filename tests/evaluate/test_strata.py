from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch_geometric.data import Data

from graphclean.denoise import clean
from graphclean.evaluate import by_stratum, detection_scores, evaluate_issues
from graphclean.issues import LabelIssues
from graphclean.types import InputError

Make = Callable[..., LabelIssues]


def facts(data: Data, issues: LabelIssues) -> pd.DataFrame:
    """One row a judged node, homophily and degree by a loop over the edges."""
    edges = set(map(tuple, data.edge_index.t().tolist()))
    rows = []
    for row in issues.frame.itertuples():
        near = [b for a, b in edges if a == row.node]
        share = {}
        for name, y in (("given", data.y), ("true", data.y_clean)):
            known = [int(y[i]) for i in near if y[i] >= 0]
            own = int(y[row.node])
            share[name] = known.count(own) / len(known) if known else float("nan")
        rows.append({"degree": len(near), **share})
    found = pd.DataFrame(rows, index=issues.frame.index)
    found["score"] = issues.frame["mislabel_probability"]
    found["flagged"] = issues.frame["is_label_issue"]
    node = issues.frame["node"].to_numpy()
    found["wrong"] = (data.y != data.y_clean).numpy()[node]
    return found


def check(row: pd.Series[Any], part: pd.DataFrame) -> None:
    assert (row["nodes"], row["wrong"], row["flagged"]) == (
        len(part),
        part["wrong"].sum(),
        part["flagged"].sum(),
    )
    assert row["expected_wrong"] == pytest.approx(part["score"].sum())
    if part["wrong"].any():
        assert row["ap"] == pytest.approx(average_precision_score(part["wrong"], part["score"]))
        assert row["f1"] == pytest.approx(f1_score(part["wrong"], part["flagged"]))
        assert row["recall"] == pytest.approx(part["flagged"][part["wrong"]].mean())


def test_classes_are_scored_one_by_one(noisy_graph: Data, issues_of: Make) -> None:
    issues = issues_of(noisy_graph)
    table, nodes = by_stratum(issues, noisy_graph), facts(noisy_graph, issues)
    assert table["bin"].tolist() == ["ash", "birch", "cedar"]
    for _, row in table.iterrows():
        check(row, nodes[issues.frame["given_label"] == row["bin"]])


def test_degrees_double(noisy_graph: Data, issues_of: Make) -> None:
    issues = issues_of(noisy_graph)
    table, nodes = by_stratum(issues, noisy_graph, "degree"), facts(noisy_graph, issues)
    spans = {"0": (0, 0), "1": (1, 1), "2": (2, 2), "3 to 4": (3, 4), "5 to 8": (5, 8)}
    spans["9 to 16"] = (9, 16)
    assert set(table["bin"]) <= set(spans)
    assert table["nodes"].sum() == len(issues)
    assert table["bin"].iloc[0] == "0"
    for _, row in table.iterrows():
        check(row, nodes[nodes["degree"].between(*spans[row["bin"]])])


@pytest.mark.parametrize("labels", ["given", "true"])
def test_homophily_by_the_given_or_the_true_labels(
    noisy_graph: Data, issues_of: Make, labels: str
) -> None:
    issues = issues_of(noisy_graph)
    table = by_stratum(issues, noisy_graph, "homophily", labels=labels)
    share = facts(noisy_graph, issues)
    spans = {
        "0 to below 0.25": share[labels] < 0.25,
        "0.25 to below 0.5": (share[labels] >= 0.25) & (share[labels] < 0.5),
        "0.5 to below 0.75": (share[labels] >= 0.5) & (share[labels] < 0.75),
        "0.75 to below 1": (share[labels] >= 0.75) & (share[labels] < 1.0),
        "1": share[labels] == 1.0,
        "no labelled neighbour": share[labels].isna(),
    }
    assert table["bin"].tolist() == [name for name, rows in spans.items() if rows.any()]
    for _, row in table.iterrows():
        check(row, share[spans[row["bin"]]])


def test_the_judged_labels_make_the_homophily_of_a_cleaned_graph(
    noisy_graph: Data, issues_of: Make
) -> None:
    issues = issues_of(noisy_graph)
    cleaned = clean(noisy_graph, issues, "relabel")
    assert not torch.equal(cleaned.y, noisy_graph.y)
    before = by_stratum(issues, noisy_graph, "homophily")
    pd.testing.assert_frame_equal(by_stratum(issues, cleaned, "homophily"), before)


def test_a_number_of_bins_splits_by_size_and_edges_as_they_are(
    noisy_graph: Data, issues_of: Make
) -> None:
    issues = issues_of(noisy_graph)
    nodes = facts(noisy_graph, issues)
    table = by_stratum(issues, noisy_graph, "homophily", bins=4)
    known = table[table["bin"] != "no labelled neighbour"]
    assert len(known) == 4
    assert known["nodes"].max() - known["nodes"].min() < 15
    two = by_stratum(issues, noisy_graph, "degree", bins=[0, 6])
    assert two["bin"].tolist() == ["0 to 5", "6 or more"]
    for (_, row), rows in zip(
        two.iterrows(), (nodes["degree"] < 6, nodes["degree"] >= 6), strict=True
    ):
        check(row, nodes[rows])


def test_one_bin_is_the_whole(noisy_graph: Data, issues_of: Make) -> None:
    issues = issues_of(noisy_graph)
    row = by_stratum(issues, noisy_graph, "degree", bins=1).iloc[0]
    whole = evaluate_issues(issues, noisy_graph)
    empty = np.zeros(0, dtype=bool)
    for name in detection_scores(empty, np.zeros(0), empty):
        assert row[name] == pytest.approx(whole[name], nan_ok=True)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("stratum", {"stratum": "colour"}),
        ("labels", {"stratum": "homophily", "labels": "mine"}),
        ("labels", {"stratum": "degree", "labels": "true"}),
        ("bins", {"stratum": "class", "bins": 3}),
        ("bins", {"stratum": "degree", "bins": 0}),
        ("bins", {"stratum": "degree", "bins": []}),
        ("bins", {"stratum": "degree", "bins": [3, 2]}),
        ("bins", {"stratum": "degree", "bins": [4, 9]}),
        ("bins", {"stratum": "degree", "bins": "wide"}),
    ],
)
def test_bad_input_is_named(
    noisy_graph: Data, issues_of: Make, argument: str, options: Any
) -> None:
    with pytest.raises(InputError) as caught:
        by_stratum(issues_of(noisy_graph), noisy_graph, **options)
    assert caught.value.argument == argument


def test_the_truth_is_needed(noisy_graph: Data, issues_of: Make) -> None:
    issues = issues_of(noisy_graph)
    noisy_graph.y_clean = None
    with pytest.raises(InputError):
        by_stratum(issues, noisy_graph)
