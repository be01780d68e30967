"""Hop features of every detector against explicit dense float64 matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import NeighbourAgreement
from graphclean.detect.hop_evidence import hop_evidence
from graphclean.detect.paper_mode import AgreementFeatures
from graphclean.nn import SGC, cross_fit

Make = Callable[..., Any]


@pytest.fixture
def graph(planted: Make) -> Data:
    """Checked graph with unlabelled and isolated nodes, triangles, a leaf and a lone pair."""
    data = planted(50, seed=9, degree=6.0)
    data.y[::8] = -1
    edges = data.edge_index
    data.edge_index = torch.cat(
        [edges[:, (edges < 45).all(dim=0)], torch.tensor([[45, 46, 47], [46, 45, 0]])], dim=1
    )
    return check(data)


def adjacency(graph: Data) -> np.ndarray:
    dense = np.zeros((graph.num_nodes, graph.num_nodes))
    for source, target in graph.edge_index.t().tolist():
        dense[target, source] = dense[source, target] = float(source != target)
    return dense


def powers(matrix: np.ndarray, hops: int) -> list[np.ndarray]:
    """Return S, S^2, ... S^K with zeroed diagonals, each from the full power before."""
    found, power = [], np.eye(len(matrix))
    for _ in range(hops):
        power = power @ matrix
        found.append(power - np.diag(np.diag(power)))
    return found


def symmetric(dense: np.ndarray) -> np.ndarray:
    degree = dense.sum(axis=1)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return scale[:, None] * dense * scale[None, :]


def row_normalised(dense: np.ndarray) -> np.ndarray:
    degree = dense.sum(axis=1, keepdims=True)
    return np.divide(dense, degree, out=np.zeros_like(dense), where=degree > 0)


def onehot(graph: Data) -> np.ndarray:
    labels = np.zeros((graph.num_nodes, 3))
    for node, label in enumerate(graph.y.tolist()):
        if label >= 0:
            labels[node, label] = 1.0
    return labels


@pytest.mark.parametrize("hops", [1, 2, 3, 5])
@pytest.mark.parametrize("flips", [False, True])
def test_paper_features(hops: int, flips: bool, graph: Data, some_probs: Make) -> None:
    probs = some_probs(graph, 3).float()
    asked = graph.y.clamp_min(0)
    if flips:
        asked = (asked + torch.arange(50) % 3) % 3
    found = AgreementFeatures(graph, probs, hops, exclude_self=True).of(asked)
    matrices = powers(symmetric(adjacency(graph)), hops)
    blocks = [
        probs.double().numpy(),
        *(m @ probs.double().numpy() for m in matrices),
        *(m @ onehot(graph) for m in matrices),
    ]
    expected = np.stack([block[np.arange(50), asked.numpy()] for block in blocks], axis=1)
    assert found.shape == (50, 2 * hops + 1)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    assert (found[48:, 1:] == 0).all()  # isolated


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_hop_evidence(hops: int, graph: Data) -> None:
    source = cross_fit(SGC(epochs=10), graph, n_folds=3, n_repeats=2, random_state=1)
    evidence = hop_evidence(graph, source, hops)
    dense = adjacency(graph)
    degree = dense.sum(axis=1)
    np.testing.assert_array_equal(evidence.degree.numpy(), degree)
    assert (degree == 0).sum() >= 2
    assert (degree == 1).sum() >= 2
    own = source.pred_probs.double().numpy()
    expected = {"p0": own}
    for hop, matrix in enumerate(powers(row_normalised(dense), hops), start=1):
        predicted, labels = np.zeros((50, 3)), matrix @ onehot(graph)
        for repeat in range(2):
            models = source.model_probs[repeat].double().numpy()
            for node in range(50):
                fold = int(source.fold[repeat, node])
                seen = models[fold] if fold >= 0 else models.mean(axis=0)
                predicted[node] += (matrix @ seen)[node] / 2
        for name, walked in ((f"p{hop}", predicted), (f"l{hop}", labels)):
            blended = own.copy()
            for node in range(50):
                mass = walked[node].sum()
                if mass > 1e-9:
                    trust = degree[node] / (degree[node] + 1)
                    blended[node] = trust * walked[node] / mass + (1 - trust) * own[node]
            expected[name] = blended
    assert list(evidence.names) == list(expected)
    for name, distribution in zip(evidence.names, evidence.distributions, strict=True):
        np.testing.assert_allclose(distribution.numpy(), expected[name], atol=1e-9, err_msg=name)
        np.testing.assert_allclose(distribution.sum(dim=1).numpy(), 1.0, atol=1e-6)
    for node in np.flatnonzero(degree == 0):
        for distribution in evidence.distributions:
            np.testing.assert_allclose(distribution[node].numpy(), own[node], atol=1e-12)


def test_own_probabilities_are_not_propagated(graph: Data, some_probs: Make) -> None:
    probs = some_probs(graph, 3)
    evidence = hop_evidence(graph, probs, 2)
    assert evidence.names == ("p0", "l1", "l2")
    other = probs.clone()
    other[7] = torch.tensor([0.1, 0.2, 0.7])
    again = hop_evidence(graph, other, 2)
    for before, after in zip(evidence.distributions, again.distributions, strict=True):
        rows = (before != after).any(dim=1).nonzero().view(-1).tolist()
        assert set(rows) <= {7}


def test_log_evidence(graph: Data, some_probs: Make) -> None:
    evidence = hop_evidence(graph, some_probs(graph, 3), 1)
    rows = torch.arange(50) % 2 == 0
    stacked = evidence.log(rows)
    assert stacked.shape == (25, 3, 2)
    for piece, distribution in enumerate(evidence.distributions):
        expected = np.log(distribution.numpy()[rows.numpy()] + 0.01)
        np.testing.assert_allclose(stacked[:, :, piece].numpy(), expected)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_neighbour_agreement(hops: int, graph: Data) -> None:
    detector = NeighbourAgreement(hops=hops).fit(graph)
    labels = onehot(graph)
    flagged = 0
    for node in range(50):
        given = int(graph.y[node])
        if given < 0:
            assert np.isnan(detector.label_quality_[node])
            continue
        others = labels.sum(axis=0) - labels[node]
        votes, seen = np.zeros(3), False
        for matrix in powers(row_normalised(adjacency(graph)), hops):
            walked = matrix[node] @ labels
            reached = walked.sum() > 1e-9
            seen |= bool(reached)
            votes += (walked / walked.sum() if reached else others / others.sum()) / hops
        assert detector.label_quality_[node] == pytest.approx(votes[given], abs=1e-9)
        expected = seen and bool(votes[given] < votes.max() - 1e-9)
        assert detector.is_label_issue_[node] == expected
        flagged += expected
        if expected:
            best = np.flatnonzero(votes > votes.max() - 1e-9)
            assert detector.suggested_label_[node] in best
    assert flagged > 2


def test_neighbour_agreement_by_hand(six_nodes: Data) -> None:
    """Node 2 has neighbours 0, 1 (left) and 3 (right); flip node 0 to see it flagged."""
    detector = NeighbourAgreement(hops=1).fit(six_nodes)
    np.testing.assert_allclose(detector.label_quality_, [1, 1, 2 / 3, 2 / 3, 1, 1])
    assert not detector.is_label_issue_.any()
    six_nodes.y[0] = 1
    detector = NeighbourAgreement(hops=1).fit(six_nodes)
    np.testing.assert_allclose(detector.label_quality_, [0, 1 / 2, 1 / 3, 2 / 3, 1, 1])
    np.testing.assert_array_equal(np.flatnonzero(detector.is_label_issue_), [0, 2])
    np.testing.assert_array_equal(detector.suggested_label_[[0, 2]], [0, 1])


def test_ties_between_votes_are_not_flagged() -> None:
    """Six neighbours, two of each class: sixths do not add up to exactly equal thirds."""
    y = torch.tensor([0, 0, 1, 2, 2, 1, 0])
    star = torch.stack([torch.zeros(6, dtype=torch.long), torch.arange(1, 7)])
    for label in range(3):
        y[0] = label
        graph = Data(x=torch.ones(7, 1), edge_index=star, y=y)
        assert not NeighbourAgreement(hops=1).fit(graph).is_label_issue_[0]
