"""Correct and Smooth as a classifier: the denoiser on out-of-fold predictions, and a gate."""

from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from graphclean.denoise import CorrectAndSmooth
from graphclean.ensemble import PropagatedClassifier
from graphclean.ensemble.base_fits import graph_key
from graphclean.nn import SGC, cross_fit
from graphclean.types import InputError

FOLDS = torch.arange(90) % 3


def learner() -> SGC:
    return SGC(epochs=30, lr=0.1, val_fraction=0.0, patience=None)


def small(**params: Any) -> PropagatedClassifier:
    settings = {"classifier": learner(), "n_folds": 3, "val_fraction": 0.0, "random_state": 0}
    return PropagatedClassifier(**(settings | params))


def with_training_labels(data: Data) -> Data:
    view = copy.copy(data)
    view.y = torch.where(data.train_mask, data.y, -1)
    return view


def test_equals_the_denoiser_on_out_of_fold_probabilities(noisy: Data) -> None:
    model = small(folds=FOLDS, correction_alpha=0.6, steps=20).fit(noisy)
    reference = CorrectAndSmooth(correction_alpha=0.6, steps=20)
    reference.fit(with_training_labels(noisy), pred_probs=model.oof_)
    assert model.stage_ == "smooth"
    torch.testing.assert_close(model.predict_proba(noisy), reference.soft_labels_)
    assert not torch.equal(model.predict_proba(noisy), model.oof_)


def test_base_predictions_are_those_of_cross_fit(noisy: Data) -> None:
    """No draw is left in SGC but its start, which hardly matters after enough steps."""
    base = SGC(epochs=400, lr=0.1, val_fraction=0.0, patience=None, weight_decay=0.01)
    model = small(classifier=base, folds=FOLDS).fit(noisy)
    folds = torch.where(noisy.train_mask, FOLDS, -1)
    expected = cross_fit(base, noisy, mask=noisy.train_mask, folds=folds, random_state=9)
    torch.testing.assert_close(model.oof_, expected.pred_probs, rtol=0, atol=1e-2)
    assert len(model.models_) == 3


def test_own_label_is_not_in_own_out_of_fold_row(noisy: Data) -> None:
    first = small(folds=FOLDS).fit(noisy)
    row = int(noisy.train_mask.nonzero()[5])
    flipped = copy.copy(noisy)
    flipped.y = noisy.y.clone()
    flipped.y[row] = (noisy.y[row] + 1) % 3
    second = small(folds=FOLDS).fit(flipped)
    assert torch.equal(second.oof_[row], first.oof_[row])
    assert not torch.equal(second.oof_, first.oof_)
    # In what is spread over the graph it is, as it has to be.
    assert not torch.equal(second.predict_proba(noisy)[row], first.predict_proba(noisy)[row])


def test_agreement_is_the_relative_out_of_fold_probability(noisy: Data) -> None:
    model = small(trust="agreement").fit(noisy)
    rows = noisy.train_mask
    expected = model.oof_.gather(1, noisy.y.unsqueeze(1)).squeeze(1) / model.oof_.amax(dim=1)
    torch.testing.assert_close(model.trust_[rows].float(), expected[rows])
    assert bool((model.trust_[~rows] == 0).all())
    wrong = noisy.noise_mask & rows
    assert model.trust_[wrong].mean() < model.trust_[rows & ~wrong].mean() - 0.2
    reference = CorrectAndSmooth().fit(
        with_training_labels(noisy), pred_probs=model.oof_, trust=model.trust_
    )
    torch.testing.assert_close(model.predict_proba(noisy), reference.soft_labels_)


def test_trust_counts_weights_and_soft_targets(noisy: Data) -> None:
    weight = torch.where(torch.arange(90) % 2 == 0, 4.0, 1.0)
    soft = torch.full((90, 3), 0.1)
    soft[torch.arange(90), noisy.y] = 0.8
    model = small().fit(noisy, y=soft, sample_weight=weight)
    expected = torch.where(noisy.train_mask, 0.8 * weight / 4.0, 0.0)
    torch.testing.assert_close(model.trust_.float(), expected)


def test_validation_rows_say_how_far_to_go(planted: Any) -> None:
    """A good base learner among unlike neighbours is left alone, a blind one among like is not."""
    alike = planted(n=200, noise=0.0, seed=2)
    alike.x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    unlike = planted(n=200, noise=0.0, seed=2)
    unlike.edge_index = torch.randint(0, 200, (2, 800), generator=torch.Generator().manual_seed(1))
    unlike.x = torch.eye(3)[unlike.y] * 5.0
    base = {"classifier": "hist_gradient_boosting"}
    blind = small(**base).fit(alike, val_mask=alike.val_mask)
    assert blind.stage_ != "none"
    assert blind.val_accuracy_[blind.stage_] > blind.val_accuracy_["none"] + 0.1
    seeing = small(**base).fit(unlike, val_mask=unlike.val_mask)
    assert seeing.stage_ == "none"
    assert torch.equal(seeing.predict_proba(unlike), seeing.oof_)
    assert small(**base, gate=False).fit(unlike, val_mask=unlike.val_mask).stage_ == "smooth"
    for model, data in ((blind, alike), (seeing, unlike)):
        hits = (model.predict(data) == data.y)[data.val_mask].double().mean()
        assert float(hits) == pytest.approx(model.val_accuracy_[model.stage_])


def test_labels_of_validation_rows_are_not_spread(noisy: Data) -> None:
    settings = {"classifier": learner().set_params(select="last"), "gate": False}
    model = small(**settings).fit(noisy, val_mask=noisy.val_mask)
    poisoned = copy.copy(noisy)
    poisoned.y = torch.where(noisy.val_mask, (noisy.y + 1) % 3, noisy.y)
    again = small(**settings).fit(poisoned, val_mask=noisy.val_mask)
    assert torch.equal(again.trust_, model.trust_)
    # Only the base learner's choice of an epoch reads them, and this one takes the last.
    assert torch.equal(again.probs_, model.probs_)
    assert again.val_accuracy_ != model.val_accuracy_


def test_another_graph_has_no_known_labels(noisy: Data, planted: Any) -> None:
    model = small().fit(noisy)
    other = planted(n=60, seed=9)
    base = torch.stack([each.predict_proba(other) for each in model.models_]).mean(dim=0).double()
    matrix = torch.zeros(60, 60, dtype=torch.float64)
    matrix[other.edge_index[1], other.edge_index[0]] = 1.0
    scale = matrix.sum(dim=1).clamp_min(1e-30).rsqrt()
    operator = torch.where(matrix > 0, scale[:, None] * scale[None, :], 0.0)
    walked = base
    for _ in range(50):
        walked = 0.8 * operator @ walked + 0.2 * base
    expected = (walked / walked.sum(dim=1, keepdim=True)).float()
    torch.testing.assert_close(model.predict_proba(other), expected, rtol=0, atol=1e-5)


def test_graphs_are_told_apart(noisy: Data) -> None:
    key = graph_key(noisy)
    twin = noisy.clone()
    twin.edge_index = noisy.edge_index[:, torch.randperm(noisy.edge_index.shape[1])]
    twin.y = None
    assert graph_key(twin) == key
    twin.x = noisy.x + 1.0
    assert graph_key(twin) != key
    fewer = noisy.clone()
    fewer.edge_index = noisy.edge_index[:, 2:]
    assert graph_key(fewer) != key
    sparse = noisy.clone()
    sparse.x = noisy.x.to_sparse_csr()
    assert graph_key(sparse) == graph_key(sparse.clone()) != key
    tables = [noisy.clone() for _ in range(4)]
    for data, values in zip(tables, ([1.0, 2.0], [1.0, 2.0], [2.0, 4.0], [1.0, None]), strict=True):
        data.node_frame = pd.DataFrame({"size": values * 45, "kind": ["a", None] * 45})
    keys = [graph_key(data) for data in tables]
    assert keys[0] == keys[1]
    assert len({key, *keys}) == 4


@pytest.mark.parametrize(
    ("argument", "value"),
    [("classifier", "no such classifier"), ("classifier", 3), ("trust", "blind"), ("gate", 1),
     ("n_folds", 1), ("folds", "odd"), ("correction_alpha", 1.5), ("steps", 0), ("scale", -1.0)],
)  # fmt: skip
def test_bad_parameter_is_named(noisy: Data, argument: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        small(**{argument: value}).fit(noisy)
    assert caught.value.argument == argument
