"""The default base learner: full batch while that takes minutes, mini-batches beyond."""

import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import GraphCleaner, base_learner, default_classifier
from graphclean.detect.base_learner import feature_view_classifier, is_large
from graphclean.evaluate import detection_scores
from graphclean.evaluate.speed.graphs import planted_graph
from graphclean.noise import FlipLabels


def empty_graph(nodes, edges):
    return Data(
        y=torch.zeros(nodes, dtype=torch.long),
        edge_index=torch.zeros(2, edges, dtype=torch.long),
        num_nodes=nodes,
    )


@pytest.mark.parametrize(
    ("nodes", "edges", "large"),
    [(100_000, 2_000_000, False), (100_001, 0, True), (10, 2_000_001, True)],
)
def test_large_is_many_nodes_or_many_edges(nodes, edges, large):
    graph = empty_graph(nodes, edges)
    assert is_large(graph) == large
    for learner in (default_classifier(graph), feature_view_classifier(graph)):
        assert (learner.batch_size is not None) == large


def test_steps_stay_about_the_same_as_the_graph_grows():
    epochs = {
        n: default_classifier(empty_graph(n, 0)).epochs for n in (120_000, 600_000, 9_000_000)
    }
    assert epochs == {120_000: 50, 600_000: 10, 9_000_000: 5}
    few_labels = empty_graph(120_000, 0)
    few_labels.y[500:] = -1
    assert default_classifier(few_labels).epochs == 200
    small = default_classifier()
    assert (small.name, small.epochs, small.batch_size) == ("sign", 100, None)


def test_mini_batches_and_samples_find_what_was_flipped(monkeypatch):
    monkeypatch.setattr(base_learner, "LARGE_NODES", 100)
    monkeypatch.setattr(base_learner, "_BATCH", 256)
    monkeypatch.setattr(base_learner, "_STEPS", 100)
    monkeypatch.setattr("graphclean.detect.crossfit_mode._FIT_ROWS", 600)
    graph = planted_graph(1200, 12_000, 4, 16, seed=0)
    data = check(FlipLabels("uniform", 0.1, seed=0)(graph))
    found = GraphCleaner(random_state=0).fit(data)
    scores = detection_scores(
        data.noise_mask.numpy(), 1 - found.label_quality_, found.is_label_issue_
    )
    assert scores["ap"] > 0.9
    assert scores["f1"] > 0.8
    assert abs(found.noise_rate_.value - 0.1) < 0.03
    assert any("mini-batches" in note for note in found.find_label_issues().meta["notes"])
