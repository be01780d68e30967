"""The published steps fold by fold: what each detector is shown, and what no label may reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect import Detector, GraphCleaner
from graphclean.detect import paper_crossfit as module
from graphclean.detect.paper_crossfit import judge_paper_crossfit
from graphclean.detect.paper_mode import MislabelMLP, PaperResult
from graphclean.nn import SGC, OutOfFold, cross_fit, stratified_folds
from graphclean.noise.confident_joint import confident_joint, transition_from_joint
from graphclean.types import InputError

Make = Callable[..., Any]
HOPS = 2
SUSPECTS = (3, 20, 41)
HIDDEN = list(range(0, 60, 8))
SHORT = SGC(epochs=20, patience=None, val_fraction=0.0)


@dataclass
class Seen:
    """What passed through ``judge_paper_crossfit``."""

    distributions: list[Tensor] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    flipped: list[Tensor] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    judged: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Record the steps; the detector that is fitted says 1/4 + position / 8, position from 0."""
    record = Seen()

    class Stub:
        def __init__(self, random_state: int) -> None:
            del random_state

        def fit(self, data: Data, flipped: Tensor, rows: Tensor) -> None:
            record.shown.append(data.x)
            record.flipped.append(flipped.bool())
            record.rows.append(rows)

        def predict_proba(self, data: Data) -> Tensor:
            record.judged.append(data.x)
            chance = torch.full((len(data.x),), 0.25 + (len(record.judged) - 1) / 8)
            return torch.stack([1.0 - chance, chance], dim=1)

    gathered = module.gathered

    def spy(distributions: list[Tensor], labels: Tensor) -> Tensor:
        record.distributions = list(distributions)
        record.labels.append(labels)
        return gathered(distributions, labels)

    monkeypatch.setattr(module, "MislabelMLP", Stub)
    monkeypatch.setattr(module, "gathered", spy)
    return record


@pytest.fixture
def graph(planted: Make) -> Data:
    """Checked graph with unlabelled and isolated nodes."""
    data = planted(60, seed=6, degree=6.0)
    data.y[HIDDEN] = -1
    data.edge_index = data.edge_index[:, (data.edge_index < 57).all(dim=0)]
    return check(data)


@pytest.fixture
def folds(graph: Data) -> Tensor:
    return stratified_folds(graph.y, graph.y >= 0, 3, 0)


def relabelled(data: Data, node: int) -> Data:
    poisoned = data.clone()
    poisoned.y[node] = (data.y[node] + 1) % 3
    return poisoned


def judge(graph: Data, source: OutOfFold, **options: Any) -> PaperResult:
    settings = {"hops": HOPS, "draws": 1, "exclude_self": True, "seed": 0} | options
    return judge_paper_crossfit(graph, source, **settings)


def walks(graph: Data, hops: int) -> list[np.ndarray]:
    """Return the powers of the symmetric S with zeroed diagonals, dense."""
    dense = np.zeros((graph.num_nodes, graph.num_nodes))
    source, target = graph.edge_index.numpy()
    dense[target, source] = dense[source, target] = 1.0
    degree = dense.sum(axis=1)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    matrix = scale[:, None] * dense * scale[None, :]
    powers = [np.linalg.matrix_power(matrix, k) for k in range(1, hops + 1)]
    return [power - np.diag(np.diag(power)) for power in powers]


@pytest.mark.parametrize("hops", [1, 3])
def test_features_against_a_slow_loop(hops: int, graph: Data, folds: Tensor, seen: Seen) -> None:
    """Two repeats; propagated predictions come from the models of the node's own folds."""
    both = torch.stack([folds, stratified_folds(graph.y, graph.y >= 0, 3, 5)])
    source = cross_fit(SHORT, graph, folds=both)
    judge(graph, source, hops=hops)
    onehot = np.eye(4)[graph.y.numpy()][:, :3]  # -1 falls on the fourth column
    expected = np.zeros((60, 2 * hops + 1, 3))
    for node in range(60):
        expected[node, 0] = source.pred_probs[node]
        for hop, walk in enumerate(walks(graph, hops), start=1):
            for repeat in range(2):
                models = source.model_probs[repeat].double().numpy()
                fold = int(both[repeat, node])
                said = models[fold] if fold >= 0 else models.mean(axis=0)
                expected[node, hop] += walk[node] @ said / 2
            expected[node, hops + hop] = walk[node] @ onehot
    given, rows = graph.y.clamp_min(0).numpy(), np.arange(60)
    np.testing.assert_allclose(seen.judged[0], expected[rows, :, given], atol=1e-6)
    for shown, flipped, asked in zip(seen.shown, seen.flipped, seen.labels[1:], strict=True):
        assert torch.equal(asked != graph.y.clamp_min(0), flipped)
        np.testing.assert_allclose(shown, expected[rows, :, asked.numpy()], atol=1e-6)
    for judged in seen.judged[1:]:
        assert torch.equal(judged, seen.judged[0])


def test_every_labelled_node_is_judged_by_the_detector_of_the_other_folds(
    graph: Data, folds: Tensor, seen: Seen
) -> None:
    source = cross_fit(SHORT, graph, folds=folds)
    found = judge(graph, source)
    assert torch.equal(found.judged, graph.y >= 0)
    expected = torch.where(folds >= 0, 0.25 + folds / 8, 0.0)
    np.testing.assert_allclose(found.mislabel_score, expected)
    transitions = []
    for k, (rows, flipped) in enumerate(zip(seen.rows, seen.flipped, strict=True)):
        others = (folds >= 0) & (folds != k)
        assert torch.equal(rows, others)
        assert not (flipped & ~others).any()
        probs = source.pred_probs[others].double()
        probs = (probs / probs.sum(dim=1, keepdim=True)).numpy()
        joint = confident_joint(graph.y[others].numpy(), probs)
        transitions.append(transition_from_joint(joint))
        can_flip = torch.from_numpy(np.diag(transitions[-1]) < 1.0)[graph.y[others]]
        assert int(flipped.sum()) == int(can_flip.sum()) // 2 > 0
    np.testing.assert_allclose(found.transition, np.mean(transitions, axis=0))


def test_draws_are_averaged(graph: Data, folds: Tensor, seen: Seen) -> None:
    """Four detectors a fold, of four draws: the first fold's say 1/4, 3/8, 1/2 and 5/8."""
    found = judge(graph, cross_fit(SHORT, graph, folds=folds), draws=4)
    np.testing.assert_allclose(found.mislabel_score[folds == 0], 7 / 16)
    assert len(seen.flipped) == 12
    assert len({tuple(flipped.tolist()) for flipped in seen.flipped}) == 12


@pytest.mark.parametrize("node", SUSPECTS)
def test_own_label_moves_no_evidence(node: int, graph: Data, folds: Tensor, seen: Seen) -> None:
    """All fold models fitted anew, every distribution about the node stays as it was.

    T, the flips and the detector of the node's fold may move: the rows of the other folds, on which
    they are fitted, have the node as a neighbour and models that saw its label.
    """
    pieces = []
    for data in (graph, relabelled(graph, node)):
        judge(data, cross_fit(SHORT, data, folds=folds))
        pieces.append(seen.distributions)
    assert len(pieces[0]) == 2 * HOPS + 1
    for before, after in zip(*pieces, strict=True):
        torch.testing.assert_close(before[node], after[node], rtol=0, atol=1e-7)
        assert not torch.equal(before, after)


def test_labels_of_a_fold_do_not_shape_its_own_detector(
    graph: Data, folds: Tensor, seen: Seen
) -> None:
    """The predictions held fixed: rows, flips and T of a fold come from labels of the others."""
    source = cross_fit(SHORT, graph, folds=folds)
    poisoned = graph.clone()
    poisoned.y[folds == 1] = (graph.y[folds == 1] + 1) % 3
    for data in (graph, poisoned):
        judge(data, source)
    others = (folds >= 0) & (folds != 1)
    before, after = 1, 4  # of three detectors each time
    assert torch.equal(seen.rows[before], seen.rows[after])
    assert torch.equal(seen.flipped[before], seen.flipped[after])
    labels = seen.labels[1 + before][others], seen.labels[2 + after][others]
    assert torch.equal(*labels)
    shown = seen.shown[before][others], seen.shown[after][others]
    assert torch.equal(shown[0][:, : HOPS + 1], shown[1][:, : HOPS + 1])
    assert (shown[0] != shown[1])[:, HOPS + 1 :].any()  # labels that the others have around them


@pytest.mark.parametrize("node", SUSPECTS)
def test_closed_walks_would_leak(node: int, graph: Data, folds: Tensor, seen: Seen) -> None:
    labels = []
    for data in (graph, relabelled(graph, node)):
        judge(data, cross_fit(SHORT, data, folds=folds), exclude_self=False)
        labels.append(seen.distributions[-1][node])
    assert (labels[0] - labels[1]).abs().max() > 1e-2


def test_nodes_of_no_fold_are_judged_too(graph: Data, folds: Tensor, seen: Seen) -> None:
    """Labelled nodes that no model was trained on: all others make their detector."""
    part = folds.masked_fill(torch.arange(60) % 5 == 1, -1)
    source = cross_fit(SHORT, graph, mask=part >= 0, folds=part)
    found = judge(graph, source)
    outside = (part < 0) & (graph.y >= 0)
    assert outside.sum() > 5
    assert (found.mislabel_score[found.judged.numpy()] > 0.0).all()
    assert not (seen.rows[0] & outside).any()
    np.testing.assert_allclose(found.mislabel_score[outside.numpy()], 0.25)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the detectors take fewer, longer steps."""

    def shorter(random_state: int) -> MislabelMLP:
        return MislabelMLP(random_state=random_state, epochs=120, lr=1e-2)

    monkeypatch.setattr(module, "MislabelMLP", shorter)


def test_planted_flips_are_found_but_not_with_closed_walks(planted: Make, quick: None) -> None:
    data = planted(240, noise=0.1, seed=2, degree=6.0)
    source = cross_fit(SHORT, data, n_folds=2, random_state=0)
    wrong, f1 = data.noise_mask.numpy(), []
    for exclude_self in (True, False):
        detector = GraphCleaner(mode="paper", exclude_self=exclude_self).fit(data, source)
        score = 1.0 - detector.label_quality_
        np.testing.assert_array_equal(detector.is_label_issue_, score > 0.97)
        f1.append(f1_score(wrong, detector.is_label_issue_))
        if exclude_self:
            assert average_precision_score(wrong, score) > 0.6  # chance: 0.1
    assert f1[0] > 0.5
    assert f1[1] < 0.6 * f1[0]


def test_odd_graphs_are_judged(odd: Data, quick: None) -> None:
    """One class in a single fold, one in none: every labelled node still gets its score."""
    source = cross_fit(SHORT, odd, n_folds=3, random_state=0)
    detector: Detector = GraphCleaner(mode="paper").fit(odd, source)
    labelled = (odd.y >= 0).numpy()
    np.testing.assert_array_equal(np.isfinite(detector.label_quality_), labelled)
    np.testing.assert_allclose(detector.transition_.sum(axis=1), 1.0)
    again = GraphCleaner(mode="paper").fit(odd, source)
    np.testing.assert_array_equal(detector.label_quality_, again.label_quality_)


def test_a_matrix_has_no_folds(graph: Data, some_probs: Make) -> None:
    with pytest.raises(InputError) as caught:
        GraphCleaner(mode="paper").fit(graph, pred_probs=some_probs(graph, 3))
    assert caught.value.argument == "pred_probs"
    assert "matrix" in str(caught.value)
    assert "cross_fit" in caught.value.fix


def test_folds_must_be_of_this_graph(graph: Data) -> None:
    probs = torch.full((60, 3), 1 / 3)
    one = OutOfFold(probs, torch.zeros(1, 60, dtype=torch.long), probs.expand(1, 1, 60, 3))
    for mode in ("paper", "crossfit"):
        with pytest.raises(InputError, match="OutOfFold without folds"):
            GraphCleaner(mode=mode).fit(graph, pred_probs=one)
