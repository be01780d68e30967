"""Tags that look wrong: against cleanlab, scikit-learn, planted flips and a poisoned tag."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from cleanlab.multilabel_classification import get_label_quality_scores
from cleanlab.multilabel_classification.filter import (
    find_label_issues,
    find_multilabel_issues_per_class,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch_geometric.data import Data

import graphclean as gc
from graphclean.detect.confident_learning import FILTERS
from graphclean.detect.multilabel import find_multilabel_issues, pooled_quality
from graphclean.detect.one_vs_rest import fit_one_vs_rest
from graphclean.types import InputError


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Tags ``[80, 5]`` with one in ten turned round, and probabilities that know the truth."""
    rng = np.random.default_rng(0)
    truth = rng.random((80, 5)) < [0.1, 0.3, 0.5, 0.7, 0.2]
    probs = 1 / (1 + np.exp(-(4 * truth - 2 + rng.standard_normal((80, 5)))))
    return (truth ^ (rng.random((80, 5)) < 0.1)).astype(int), probs


@pytest.fixture(scope="module")
def graph() -> Data:
    """Two hundred nodes with four independent tags; neighbours share tags, features are weak."""
    rng = np.random.default_rng(1)
    truth = rng.random((200, 4)) < 0.4
    alike = (truth[:, None] == truth[None]).mean(axis=2)
    upper = np.triu(rng.random((200, 200)) < np.where(alike > 0.9, 0.5, 0.01), 1)
    edges = np.array(np.nonzero(upper | upper.T))
    return Data(
        x=torch.tensor(truth @ rng.standard_normal((4, 6)) + rng.standard_normal((200, 6))),
        edge_index=torch.tensor(edges),
        y=torch.tensor(truth),
    )


def flipped(graph: Data, share: float = 0.08) -> tuple[np.ndarray, np.ndarray]:
    wrong = np.random.default_rng(2).random((200, 4)) < share
    return graph.y.numpy() ^ wrong, wrong


def lists(tags: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in tags]


@pytest.mark.filterwarnings("ignore:The multi_label argument")  # cleanlab calls its own old way
@pytest.mark.parametrize("filter_by", FILTERS)
def test_issues_and_scores_are_those_of_cleanlab(
    filter_by: str, scored: tuple[np.ndarray, np.ndarray]
) -> None:
    tags, probs = scored
    found = find_multilabel_issues(tags, probs, filter_by=filter_by)
    theirs = find_multilabel_issues_per_class(lists(tags), probs, filter_by=filter_by, n_jobs=1)
    assert (found.tag_issue == theirs).all()
    assert 5 < found.tag_issue.sum() < 120
    if not filter_by.startswith("low_"):  # for these cleanlab counts nodes, not tags
        nodes = find_label_issues(lists(tags), probs, filter_by=filter_by, n_jobs=1)
        assert (found.frame["is_label_issue"] == nodes).all()
    np.testing.assert_allclose(
        found.label_quality, get_label_quality_scores(lists(tags), probs), rtol=1e-12
    )


@pytest.mark.parametrize("alpha", [0.1, 0.8, 1.0])
def test_pooled_quality_is_the_moving_average(alpha: float) -> None:
    scores = np.random.default_rng(3).random((20, 7))
    expected = []
    for row in scores:
        average = max(row)
        for score in sorted(row, reverse=True)[1:]:
            average = alpha * score + (1 - alpha) * average
        expected.append(average)
    np.testing.assert_allclose(pooled_quality(scores, alpha), expected, rtol=1e-12)
    assert pooled_quality(scores[:, :1], alpha).tolist() == scores[:, 0].tolist()
    np.testing.assert_allclose(pooled_quality(scores, 1.0), scores.min(axis=1))


def test_one_vs_rest_is_logistic_regression_per_tag() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((120, 5))
    tags = (x @ rng.standard_normal((5, 3)) + rng.standard_normal((120, 3)) > [0, 1, -1]) * 1.0
    constant = np.column_stack([np.zeros(120), np.ones(120)])
    weight, bias = fit_one_vs_rest(
        torch.tensor(x), torch.tensor(np.hstack([tags, constant])), strength=0.3
    )
    for tag in range(3):
        theirs = LogisticRegression(C=0.3, tol=1e-10, max_iter=1000).fit(x, tags[:, tag])
        np.testing.assert_allclose(weight[:, tag], theirs.coef_[0], atol=1e-4)
        np.testing.assert_allclose(bias[tag], theirs.intercept_[0], atol=1e-4)
    assert (weight[:, 3:] == 0).all()
    assert bias[3:].sigmoid().tolist() == pytest.approx([1 / 122, 121 / 122])


def test_planted_flips_are_found_from_the_graph_alone(graph: Data) -> None:
    tags, wrong = flipped(graph)
    data = Data(x=graph.x, edge_index=graph.edge_index)
    found = find_multilabel_issues(tags, data=data)
    assert roc_auc_score(wrong.ravel(), 1 - found.self_confidence.ravel()) > 0.9
    assert roc_auc_score(wrong.any(axis=1), 1 - found.label_quality) > 0.85
    assert (found.suggested == graph.y.numpy()).mean() > (~wrong).mean() + 0.02
    # The graph helps: without edges less is found.
    alone = Data(x=graph.x, edge_index=torch.empty(2, 0, dtype=torch.long))
    poor = find_multilabel_issues(tags, data=alone)
    scores = [1 - found.self_confidence.ravel(), 1 - poor.self_confidence.ravel()]
    assert roc_auc_score(wrong.ravel(), scores[0]) > roc_auc_score(wrong.ravel(), scores[1]) + 0.03


@pytest.mark.parametrize("node", [0, 57, 199])
def test_own_tags_move_no_own_probability(node: int, graph: Data) -> None:
    tags, _ = flipped(graph)
    poisoned = tags.copy()
    poisoned[node] ^= True
    before, after = (find_multilabel_issues(t, data=graph).pred_probs for t in (tags, poisoned))
    assert (before[node] == after[node]).all()
    assert (np.delete(before, node, axis=0) != np.delete(after, node, axis=0)).any()


def test_seed_decides_and_labels_of_the_graph_are_not_read(graph: Data) -> None:
    tags, _ = flipped(graph)
    kept = copy.copy(graph)
    bare = Data(x=graph.x, edge_index=graph.edge_index, y=torch.arange(200) % 7)
    first, again, other = (
        find_multilabel_issues(tags, data=data, random_state=seed)
        for data, seed in ((graph, 0), (bare, 0), (graph, 1))
    )
    pd.testing.assert_frame_equal(first.tags(), again.tags(), check_exact=True)
    assert (first.pred_probs != other.pred_probs).any()
    assert graph.keys() == kept.keys()
    assert torch.equal(graph.y, kept.y)
    assert first.notes == ()


def test_unlabelled_nodes_are_predicted_from_but_not_judged(graph: Data) -> None:
    tags = flipped(graph)[0].astype(int)
    tags[::3] = -1
    data = copy.copy(graph)
    data.node_ids = [f"p{row}" for row in range(200)]
    found = find_multilabel_issues(tags, data=data)
    known = np.arange(200) % 3 != 0
    assert found.node.tolist() == np.flatnonzero(known).tolist()
    assert found.frame.index.tolist() == [f"p{row}" for row in np.flatnonzero(known)]
    assert (found.given == (tags[known] == 1)).all()
    probs = np.full((200, 4), np.nan)
    probs[known] = found.pred_probs
    again = find_multilabel_issues(tags, probs, data=data)
    pd.testing.assert_frame_equal(again.frame, found.frame)


def test_frames_agree_with_the_matrices(scored: tuple[np.ndarray, np.ndarray]) -> None:
    tags, probs = scored
    names = ["ash", "birch", "cedar", "dogwood", "elm"]
    table = pd.DataFrame(tags, columns=names, index=[f"n{row}" for row in range(80)])
    found = find_multilabel_issues(table, probs)
    long = found.tags()
    assert len(long) == 400
    for name, matrix in (
        ("given", tags == 1),
        ("probability", probs),
        ("is_issue", found.tag_issue),
        ("suggested", (tags == 1) != found.tag_issue),
        ("label_quality", np.where(tags, probs, 1 - probs)),
    ):
        wide = long.reset_index().pivot(index="node", columns="tag", values=name)
        assert list(wide.columns) == names
        assert (wide.to_numpy() == matrix).all(), name
    issues = found.tags(only_issues=True)
    pd.testing.assert_frame_equal(issues, long[long["is_issue"]])
    frame = found.frame
    assert frame.index.tolist() == table.index.tolist()
    assert (frame["num_tag_issues"] == long.groupby("node")["is_issue"].sum().to_numpy()).all()
    assert (frame["num_tags"] == tags.sum(axis=1)).all()
    first = frame["worst_tag"].iloc[0]
    assert long[long["node"] == 0].set_index("tag")["label_quality"].idxmin() == first
    assert found.top(3)["label_quality"].tolist() == sorted(frame["label_quality"])[:3]
    per_tag = found.per_tag().set_index("tag")
    assert per_tag["given"].tolist() == tags.sum(axis=0).tolist()
    wrong = per_tag["should_be_off"] + per_tag["should_be_on"]
    assert wrong.tolist() == found.tag_issue.sum(axis=0).tolist()
    assert repr(found).startswith(f"MultiLabelIssues({int(frame['is_label_issue'].sum())} of 80")
    assert "<table" in found._repr_html_()
    for array in (found.given, found.label_quality):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_labels_come_in_any_form(scored: tuple[np.ndarray, np.ndarray]) -> None:
    tags, probs = scored
    expected = find_multilabel_issues(tags, probs).frame
    forms: list[Any] = [
        torch.tensor(tags),
        torch.tensor(tags).float(),
        torch.tensor(tags).to_sparse(),
        tags == 1,
        tags.tolist(),
        sp.csr_matrix(tags),
    ]
    for form in forms:
        pd.testing.assert_frame_equal(find_multilabel_issues(form, probs).frame, expected)
    assert gc.find_multilabel_issues is find_multilabel_issues
    assert gc.detect.find_multilabel_issues is find_multilabel_issues


def test_constant_and_rare_tags_are_survived(
    scored: tuple[np.ndarray, np.ndarray], graph: Data
) -> None:
    tags, probs = scored
    tags = tags.copy()
    tags[:, 0], tags[:, 1] = 0, 1
    tags[:, 2] = np.arange(80) == 4
    found = find_multilabel_issues(tags, probs)
    assert not found.tag_issue[:, :2].any()
    assert any("2 tag(s)" in note for note in found.notes)
    wide = np.zeros((200, 3))
    wide[7, 1], wide[:, 2] = 1, 1
    predicted = find_multilabel_issues(wide, data=graph).pred_probs
    assert ((predicted > 0) & (predicted < 1)).all()
    assert predicted[:, 0].max() < 0.01
    assert predicted[:, 2].min() > 0.99


def test_graph_without_features_or_edges_is_enough(graph: Data) -> None:
    tags, wrong = flipped(graph)
    bare = find_multilabel_issues(tags, data=Data(edge_index=graph.edge_index))
    assert roc_auc_score(wrong.ravel(), 1 - bare.self_confidence.ravel()) > 0.75
    assert any("no features" in note for note in bare.notes)


@pytest.mark.parametrize(
    ("change", "argument", "shown"),
    [
        ({"labels": np.arange(80)}, "labels", r"shape \(80,\)"),
        ({"labels": np.full((80, 5), 2)}, "labels", "2 at node 0, tag 0"),
        ({"labels": np.full((80, 5), np.nan)}, "labels", "nan at node 0"),
        ({"labels": "tags"}, "labels", "str"),
        ({"labels": np.full((80, 5), -1)}, "labels", "no node with known tags"),
        ({"labels": np.eye(80, 5) - 1}, "labels", "-1 for some tags of node 0"),
        ({"labels": np.zeros((80, 0))}, "labels", "shape"),
        ({"pred_probs": np.ones((80, 4))}, "pred_probs", r"shape \(80, 4\)"),
        ({"pred_probs": np.full((80, 5), 1.01)}, "pred_probs", "1.01"),
        ({"pred_probs": np.full((80, 5), np.nan)}, "pred_probs", "nan"),
        ({"pred_probs": "high"}, "pred_probs", "str"),
        ({"pred_probs": None}, "data", "missing"),
        ({"pred_probs": None, "data": "graph"}, "data", "str"),
        ({"pred_probs": None, "data": Data(x=torch.ones(9, 2))}, "labels", "80 rows"),
        ({"data": Data(node_ids=[1, 2])}, "labels", "2 entries"),
        ({"tag_names": ["a", "b"]}, "tag_names", "2 names"),
        ({"tag_names": ["a"] * 5}, "tag_names", "5 names"),
        ({"filter_by": "all"}, "filter_by", "all"),
        ({"alpha": 0}, "alpha", "0"),
        ({"alpha": 1.5}, "alpha", "1.5"),
        ({"hops": 0}, "hops", "0"),
        ({"dimensions": 0}, "dimensions", "0"),
        ({"dimensions": None}, "dimensions", "None"),
        ({"strength": 0}, "strength", "0"),
        ({"strength": True}, "strength", "True"),
        ({"random_state": -1, "pred_probs": None, "data": "ring"}, "random_state", "-1"),
        ({"n_folds": 1, "pred_probs": None, "data": "ring"}, "n_folds", "1"),
    ],
)
def test_bad_input_is_named(
    change: dict[str, Any], argument: str, shown: str, scored: tuple[np.ndarray, np.ndarray]
) -> None:
    if change.get("data") == "ring":
        ring = torch.arange(80)
        change = change | {"data": Data(x=torch.eye(80), edge_index=torch.stack([ring, ring]))}
    elif change.get("data") == "graph":
        change = change | {"data": "a str"}
    given: dict[str, Any] = {"labels": scored[0], "pred_probs": scored[1]} | change
    labels, probs = given.pop("labels"), given.pop("pred_probs")
    with pytest.raises(InputError, match=shown) as caught:
        find_multilabel_issues(labels, probs, **given)
    assert caught.value.argument == argument
    assert caught.value.fix


def test_one_tag_is_a_problem_like_any_other(graph: Data) -> None:
    tags, wrong = flipped(graph)
    found = find_multilabel_issues(tags[:, :1], data=graph)
    assert (found.label_quality == found.self_confidence[:, 0]).all()
    assert roc_auc_score(wrong[:, 0], 1 - found.label_quality) > 0.85
