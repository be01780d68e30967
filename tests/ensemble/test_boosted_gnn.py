"""BGNN: the trees' targets are gradients, their inputs out of fold, no tree raises the loss."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.ensemble import BoostedGNN, boosted_gnn
from graphclean.ensemble.boosted_gnn import EndToEnd, InputReader
from graphclean.nn import GCN, Prepared, cross_fit
from graphclean.nn.supervision import supervision
from graphclean.sparse import Propagator
from graphclean.types import InputError

FOLDS = torch.arange(90) % 3


def small(**params: Any) -> BoostedGNN:
    settings = {
        "rounds": 6,
        "steps": 5,
        "hidden": 8,
        "max_iter": 5,
        "min_samples_leaf": 3,
        "n_folds": 3,
        "val_fraction": 0.0,
        "random_state": 0,
    }
    return BoostedGNN(**(settings | params))


@pytest.fixture
def loss(noisy: Data) -> EndToEnd:
    """A GCN in double precision on the graph, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = GCN(hidden=8)._network(Prepared(torch.empty(90, 11)), 3).double().eval()
    options = {"norm": "sym", "self_loops": True, "dtype": torch.float64}
    reader = InputReader(network, Propagator.from_data(noisy, **options), noisy.x.double())
    labels = supervision(noisy, None, noisy.train_mask, None, noisy.val_mask)
    return EndToEnd(reader, labels)


def test_residual_is_minus_the_numerical_gradient(loss: EndToEnd, noisy: Data) -> None:
    scores = torch.rand(90, 3, generator=torch.Generator().manual_seed(1)).double()
    found = loss.residual(scores)
    for node, column in ((0, 0), (17, 2), (50, 1)):
        moved = torch.zeros_like(scores)
        moved[node, column] = 1e-5
        with torch.no_grad():
            slope = float(loss(scores + moved) - loss(scores - moved)) / 2e-5
        assert float(found[node, column]) == pytest.approx(-slope, abs=1e-8)
    assert float(found[noisy.test_mask].abs().max()) > 1e-6


def test_step_is_the_best_halving(loss: EndToEnd) -> None:
    scores = torch.rand(90, 3, generator=torch.Generator().manual_seed(1)).double()
    along = loss.residual(scores)
    size = float(along.abs().max())
    steps = [0.0, *(0.2 / size / 2**trial for trial in range(8))]
    with torch.no_grad():
        losses = [float(loss(scores + step * along)) for step in steps]
    assert loss.best_step(scores, along, 0.2) == steps[int(np.argmin(losses))] > 0.0
    assert loss.best_step(scores, torch.zeros_like(along), 0.2) == 0.0
    # Uphill everywhere: nothing is better than a step.
    assert loss.best_step(scores, -along, 1e-3) == 0.0


def test_trees_are_fitted_to_the_gradients_of_all_nodes(
    noisy: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    residuals: list[Tensor] = []
    fit_tree, residual = boosted_gnn.fit_tree, EndToEnd.residual

    def spy_tree(x: np.ndarray, target: np.ndarray, **options: Any) -> Any:
        seen.append((x, target))
        return fit_tree(x, target, **options)

    def spy_residual(self: EndToEnd, scores: Tensor) -> Tensor:
        found = residual(self, scores)
        inputs = scores.clone().requires_grad_()
        assert not self.reader.network.training
        self(inputs).backward()
        assert inputs.grad is not None
        torch.testing.assert_close(found, -inputs.grad)
        residuals.append(found)
        return found

    monkeypatch.setattr(boosted_gnn, "fit_tree", spy_tree)
    monkeypatch.setattr(EndToEnd, "residual", spy_residual)
    small().fit(noisy)
    assert len(seen) == 6
    for (x, target), expected in zip(seen, residuals, strict=True):
        assert len(x) == 90
        np.testing.assert_array_equal(target, expected.numpy())


def test_inputs_of_training_rows_are_out_of_fold(noisy: Data) -> None:
    """Flipping a label leaves its own row of F as it was, to the bit, and moves others."""
    first = small(folds=FOLDS).fit(noisy).oof_
    row = int(noisy.train_mask.nonzero()[7])
    flipped = copy.copy(noisy)
    flipped.y = noisy.y.clone()
    flipped.y[row] = (noisy.y[row] + 1) % 3
    second = small(folds=FOLDS).fit(flipped).oof_
    assert torch.equal(second[row], first[row])
    assert not torch.equal(second, first)


def test_start_is_what_cross_fit_gives(noisy: Data) -> None:
    model = small(folds=FOLDS).fit(noisy)
    again = cross_fit(
        model._base(),
        noisy,
        mask=noisy.train_mask,
        folds=torch.where(noisy.train_mask, FOLDS, -1),
        random_state=5,
        keep_models=True,
    )
    # Other seeds, but the same rows: a model of a fold never saw a label of its fold.
    correlation = np.corrcoef(again.pred_probs.flatten(), model.oof_.flatten())[0, 1]
    assert correlation > 0.9


def test_known_graph_keeps_its_inputs_and_others_get_the_mean(noisy: Data) -> None:
    model = small().fit(noisy)
    same = model.predict_proba(noisy)
    assert torch.equal(model.predict_proba(noisy.clone()), same)
    model.graph_key_ = "another"
    unknown = model.predict_proba(noisy)
    assert not torch.equal(unknown, same)
    mean = torch.stack([each.predict_proba(noisy) for each in model.models_]).mean(dim=0)
    model.graph_key_, model.oof_ = boosted_gnn.graph_key(noisy), mean
    assert torch.equal(model.predict_proba(noisy), unknown)


def test_best_round_is_kept_with_its_network_and_trees(noisy: Data) -> None:
    model = small(rounds=30, patience=4, lr=0.05).fit(noisy, val_mask=noisy.val_mask)
    losses = model.history_["val_loss"]
    assert model.best_round_ == int(np.argmin(losses)) + 1
    assert len(model.trees_.trees) <= model.best_round_
    held = noisy.val_mask
    chosen = model.predict_proba(noisy)[held, noisy.y[held]].log()
    assert float(-chosen.mean()) == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.parametrize("backbone", ["appnp", "gat", "gcn"])
def test_every_backbone_learns(noisy: Data, backbone: str) -> None:
    model = small(backbone=backbone, rounds=8, steps=10, hidden=16, lr=0.05, dropout=0.0)
    found = model.fit(noisy).predict(noisy)
    assert (found == noisy.y_clean)[noisy.test_mask].float().mean() > 0.6


@pytest.mark.parametrize(
    ("argument", "value"),
    [("backbone", "sgc"), ("steps", 0), ("tree_step", 0.0), ("max_iter", 0), ("n_folds", 1),
     ("folds", "odd"), ("dropout", 1.0), ("hidden", 0)],
)  # fmt: skip
def test_bad_parameter_is_named(noisy: Data, argument: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        small(**{argument: value}).fit(noisy)
    assert caught.value.argument == argument
