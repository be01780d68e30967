"""The stack: what may reach what, and what is done when it fools itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

import graphclean as gc
from graphclean.ensemble import GraphStackingClassifier, final, propagate_folds
from graphclean.ensemble.checks import Optimism
from graphclean.ensemble.combine import LOG_FLOOR
from graphclean.nn import GCN, MLP, SGC
from graphclean.nn.tabular import HistGradientBoosting, ScikitLearnClassifier
from graphclean.sparse import Propagator
from graphclean.types import InputError

Make = Callable[..., Any]


@pytest.fixture
def stack(build: Make) -> Make:
    return lambda **params: build("graph_stacking", **params)


def fitted(model: GraphStackingClassifier, data: Data, **fit: Any) -> GraphStackingClassifier:
    return model.fit(data, **({"val_mask": data.val_mask} | fit))


@pytest.mark.parametrize("consistency", ["fold", "none", "oof"])
@pytest.mark.parametrize("folds", ["random", "given"])
def test_inputs_of_a_row_do_not_depend_on_its_label(
    consistency: str, folds: str, stack: Make, noisy: Data
) -> None:
    """One label flipped, everything fitted anew: bit-identical, but for the published recipe."""
    given: Any = torch.arange(90) % 3 if folds == "given" else folds
    model = stack(consistency=consistency, folds=given, n_repeats=2 if folds == "random" else 1)
    # Without validation rows the held-out share is drawn, and must not depend on the label either.
    before = model.cross_fit_members(noisy)
    rows = (before.fold[0] >= 0).nonzero().view(-1)
    degree = torch.bincount(noisy.edge_index[0], minlength=90)
    node = int(rows[degree[rows].argmax()])
    noisy.y[node] = (noisy.y[node] + 1) % 3
    after = model.cross_fit_members(noisy)
    assert torch.equal(before.fold, after.fold)
    pairs = list(zip(model.layer_inputs(before), model.layer_inputs(after), strict=True))
    assert len(pairs) == len(before.fold)
    for first, second in pairs:
        assert torch.equal(first[node], second[node]) == (consistency != "oof")
        assert not torch.equal(first, second)


def test_inputs_are_the_logarithms_of_what_is_propagated(stack: Make, noisy: Data) -> None:
    model = stack(alpha=0.8, hops=2)
    members = model.cross_fit_members(noisy, val_mask=noisy.val_mask)
    propagator = Propagator.from_data(noisy, norm="row", direction="both")
    wanted = [
        propagate_folds(each, propagator, alpha=0.8, hops=2).flatten(1)
        for each in members.layer.results.values()
    ]
    found = model.layer_inputs(members)[0]
    torch.testing.assert_close(found, torch.cat(wanted, dim=1).clamp_min(LOG_FLOOR).log())


def test_every_labelled_row_is_predicted_exactly_once_a_repeat(stack: Make, noisy: Data) -> None:
    model = fitted(stack(n_repeats=2), noisy)
    fold = model.fold_id_
    assert fold.shape == (2, 90)
    for repeat in fold:
        assert torch.equal(repeat >= 0, noisy.train_mask)
    for name, probs in model.oof_pred_probs_.items():
        assert bool(torch.isfinite(probs).all())
        every = model.store_.model_probs[name]
        assert every.shape == (2, 3, 90, 3)
        for node in range(90):
            rows = [
                every[r, :, node].mean(dim=0)
                if fold[r, node] < 0
                else every[r, fold[r, node], node]
                for r in range(2)
            ]
            torch.testing.assert_close(probs[node], torch.stack(rows).mean(dim=0))


@pytest.mark.parametrize("meta", ["greedy", "logistic", "boosting", "mean"])
@pytest.mark.parametrize("consistency", ["fold", "none"])
def test_rows_of_no_fold_get_the_mean_of_the_pipelines(
    meta: str, consistency: str, stack: Make, noisy: Data
) -> None:
    model = fitted(stack(meta=meta, consistency=consistency, n_layers=3), noisy)
    outside = ~noisy.train_mask
    torch.testing.assert_close(model.predict_proba(noisy)[outside], model.stack_oof_[outside])


def test_a_pipeline_is_what_its_parts_say(stack: Make, noisy: Data) -> None:
    """Fold 1, computed from the fitted models by hand."""
    model = fitted(stack(propagate_features=True), noisy)
    propagator = Propagator.from_data(noisy, norm="row", direction="both")
    below = [models[0][1].predict_proba(noisy) for models in model.models_[0].values()]
    columns = []
    for probs in below:
        steps = [probs]
        for _ in range(3):
            steps.append(0.9 * (propagator @ steps[-1]) + 0.1 * probs)
        alone = torch.from_numpy(propagator.left == 0).unsqueeze(1)
        columns += [torch.where(alone, probs, step) for step in steps]
    z = torch.cat(columns, dim=1).clamp_min(LOG_FLOOR).log()
    logistic = model.models_[1]["logistic"][0][1]
    x = logistic.encoder_
    scaled = (z.double().numpy() - x.centre) / x.scale
    wanted = logistic.model_.predict_proba(scaled)
    found = model.store_.model_probs["layer2/logistic"][0, 1]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    trees = model.models_[1]["trees"][0][1]
    named = [name for name in trees.numeric_names_ if "(hop " in name]
    assert len(named) == 3 * 8


def test_weights_and_scores_name_every_learner(stack: Make, noisy: Data) -> None:
    model = fitted(stack(), noisy)
    names = ["sgc", "rows", "layer2/logistic", "layer2/trees"]
    assert list(model.weights_) == names == model.store_.names()
    assert model.store_.names(1) == names[:2]
    assert sum(model.weights_.values()) == pytest.approx(1.0)
    frame = model.scores_
    assert frame["learner"].tolist() == ["sgc", "rows", "logistic", "trees", "mean", "stack"]
    assert frame["layer"].tolist() == [1, 1, 2, 2, 1, 2]
    assert (frame["seconds"] > 0).all()
    last = frame.iloc[-1]
    right = model.stack_oof_.argmax(dim=1) == noisy.y
    assert last["oof_accuracy"] == pytest.approx(float(right[noisy.train_mask].double().mean()))
    held = float(right[noisy.val_mask].double().mean())
    assert last["held_out_accuracy"] == pytest.approx(held)
    assert model.optimism_gap_ == pytest.approx(last["oof_accuracy"] - held)


def test_the_store_feeds_the_detectors(stack: Make, planted: Make) -> None:
    data = planted(n=300, seed=2)
    store = fitted(stack(), data).store_
    mean = (store.learners["sgc"] + store.learners["rows"]) / 2
    torch.testing.assert_close(store.pred_probs("mean"), mean)
    assert torch.equal(store.pred_probs("stack"), store.stack)
    assert torch.equal(store.pred_probs("layer2/trees"), store.learners["layer2/trees"])
    issues = gc.find_label_issues(data, "confident_learning", pred_probs=store.pred_probs("mean"))
    worst = issues.top(40)["node"].to_numpy().copy()
    assert data.noise_mask[worst].float().mean() > 0.7
    apart = store.disagreement()
    assert bool((apart >= 0).all())
    same = (store.learners["sgc"] - store.learners["rows"]).abs().sum(dim=1)
    assert apart[same.argmax()] > apart[same.argmin()]
    with pytest.raises(InputError, match="layer2/trees"):
        store.pred_probs("gcn")


def test_stacks_share_their_members(stack: Make, noisy: Data) -> None:
    first = stack(n_layers=1)
    members = first.cross_fit_members(noisy, val_mask=noisy.val_mask)
    for params in (
        {"meta": "logistic"},
        {"consistency": "oof"},
        {"weighting": None, "drop_flagged": False},
    ):
        shared = fitted(stack(**params), noisy, prepared=members)
        alone = fitted(stack(**params), noisy)
        assert torch.equal(shared.stack_oof_, alone.stack_oof_)
        found = shared.predict_proba(noisy, prepared=members)
        assert torch.equal(found, alone.predict_proba(noisy))


def test_members_of_other_labels_are_refused(stack: Make, noisy: Data) -> None:
    members = stack().cross_fit_members(noisy, val_mask=noisy.val_mask)
    changed = noisy.clone()
    changed.y[int(noisy.train_mask.nonzero()[0])] = (changed.y[noisy.train_mask][0] + 1) % 3
    weight = torch.linspace(0.5, 1.5, 90)
    for data, fit in (
        (changed, {}),
        (noisy, {"val_mask": None}),
        (noisy, {"sample_weight": weight}),
    ):
        with pytest.raises(InputError, match="prepared"):
            fitted(stack(), data, prepared=members, **fit)
    with pytest.raises(InputError, match="prepared"):
        fitted(stack(estimators=["sgc"]), noisy, prepared=members)


@pytest.mark.parametrize("fallback", [True, False])
def test_a_stack_that_fools_itself_warns_and_falls_back(
    fallback: bool, stack: Make, noisy: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final, "optimism", lambda *pairs: Optimism(0.2, 0.01, True))
    with pytest.warns(UserWarning, match=r"0\.200 more accurate out of fold"):
        model = fitted(stack(fallback=fallback, meta="mean"), noisy)
    assert model.overfits_
    assert model.optimism_gap_ == 0.2
    outside = ~noisy.train_mask
    same = torch.allclose(model.predict_proba(noisy)[outside], model.store_.pred_probs()[outside])
    assert same == fallback
    assert (model.weights_["layer2/trees"] == model.weights_["layer2/logistic"] == 0) == fallback
    assert torch.allclose(model.stack_oof_, model.store_.pred_probs()) == fallback


def test_labels_come_back_through_neighbours_unless_folds_are_consistent(stack: Make) -> None:
    """Pairs of twins in different folds, and labels that are mere chance.

    A network that learns by heart predicts for a node the label of its twin, which has the same
    features, and one step brings that prediction of the twin's, made from the node's label, home.
    """
    generator = torch.Generator().manual_seed(0)
    node = torch.arange(300)
    data = Data(
        x=torch.randn(150, 64, generator=generator)[node // 2],
        edge_index=torch.stack([node, node ^ 1]),
        y=torch.randint(0, 3, (300,), generator=generator),
    )
    mlp = MLP(hidden=32, epochs=60, lr=0.05, dropout=0.0, val_fraction=0.0, patience=None)
    model = stack(estimators=[mlp], folds=node % 2, hops=1, alpha=1.0, holdout=0.0)
    members = model.cross_fit_members(data)
    right = {}
    for consistency in ("oof", "fold"):
        columns = model.set_params(consistency=consistency).layer_inputs(members)[0]
        right[consistency] = float((columns[:, 3:].argmax(dim=1) == data.y).float().mean())
    assert right["oof"] > 0.95
    assert right["fold"] < 0.45


def test_stackers_that_collect_from_neighbours_are_refused(stack: Make, noisy: Data) -> None:
    for bad in (("gnn", GCN()), "gcn", ("mlp", MLP()), GCN()):
        with pytest.raises(InputError, match="label back") as caught:
            stack(stackers=[bad]).fit(noisy)
        assert caught.value.argument == "stackers"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("estimators", []),
        ("estimators", "gcn"),
        ("estimators", ["gcn", GCN()]),
        ("estimators", [3]),
        ("estimators", [("mean", GCN())]),
        ("estimators", [("layer2/logistic", GCN())]),
        ("stackers", [("stack", HistGradientBoosting())]),
        ("stackers", []),
        ("stackers", ["logistic", ("logistic", HistGradientBoosting())]),
        ("n_layers", 0),
        ("n_folds", 1),
        ("n_repeats", 0),
        ("folds", "blocks"),
        ("folds", torch.zeros(90, dtype=torch.long)),
        ("folds", torch.arange(90) % 3 * 2),
        ("folds", torch.full((90,), -1)),
        ("folds", torch.arange(9) % 3),
        ("alpha", 1.5),
        ("hops", 0),
        ("propagate_features", "yes"),
        ("consistency", "all"),
        ("meta", "median"),
        ("weighting", "loss"),
        ("selection_loss", "hinge"),
        ("drop_flagged", 1),
        ("holdout", 0.7),
        ("fallback", None),
        ("progress", 2),
    ],
)
def test_bad_parameter_is_named(parameter: str, value: Any, stack: Make, noisy: Data) -> None:
    with pytest.raises(InputError) as caught:
        stack(**{parameter: value}).fit(noisy)
    assert caught.value.argument == parameter


def test_options_of_another_combination_are_refused(stack: Make, noisy: Data) -> None:
    with pytest.raises(InputError, match="selection_loss"):
        stack(meta="mean", selection_loss="gce").fit(noisy)
    with pytest.raises(InputError, match="drop_flagged"):
        stack(meta="mean", drop_flagged=True).fit(noisy)
    with pytest.raises(InputError, match="lr"):
        stack(estimators=[SGC(lr=-1.0)]).fit(noisy)


def test_one_labelled_row_is_too_few(stack: Make, noisy: Data) -> None:
    with pytest.raises(InputError, match="two or more"):
        stack().fit(noisy, mask=torch.arange(90) == 3)


def test_noise_aware_options_change_the_fit(stack: Make, noisy: Data) -> None:
    members = stack().cross_fit_members(noisy, val_mask=noisy.val_mask)
    unaware: dict[str, Any] = {"weighting": None, "drop_flagged": False}
    plain = fitted(stack(**unaware), noisy, prepared=members)
    weighted = fitted(stack(drop_flagged=False), noisy, prepared=members)
    assert not torch.equal(
        plain.oof_pred_probs_["layer2/trees"], weighted.oof_pred_probs_["layer2/trees"]
    )
    for params in (
        {"selection_loss": "forward"},
        {"selection_loss": "gce"},
        {"drop_flagged": None},
    ):
        other = fitted(stack(**{**unaware, **params}), noisy, prepared=members)
        assert other.weights_ != plain.weights_


def test_held_out_rows_train_nothing_without_a_validation_mask(stack: Make, noisy: Data) -> None:
    model = stack(holdout=0.2).fit(noisy, mask=noisy.train_mask)
    used = (model.fold_id_[0] >= 0).sum()
    assert int(used) == int(noisy.train_mask.sum()) - round(0.2 * int(noisy.train_mask.sum()))
    assert not np.isnan(model.optimism_gap_)
    every = stack(holdout=0.0).fit(noisy, mask=noisy.train_mask)
    assert torch.equal(every.fold_id_[0] >= 0, noisy.train_mask)
    assert np.isnan(every.optimism_gap_)
    assert not every.overfits_


def test_members_by_name_and_the_defaults(noisy: Data) -> None:
    model = GraphStackingClassifier(estimators=["mlp", ("a trainer", "clnode"), SGC()])
    assert list(model.prepare(noisy).members) == ["mlp", "a trainer", "sgc"]
    default = GraphStackingClassifier().prepare(noisy)
    assert list(default.members) == ["boosting", "mlp", "gcn", "sage", "sign"]
    # The trees of both layers read one table.
    assert [default.members["boosting"]] == list(default.tables.values())


def test_callbacks_hear_of_every_fit_and_bars_are_shown_where_asked_for(
    stack: Make, noisy: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[dict[str, Any]] = []
    fitted(stack(), noisy, callbacks=[events.append])
    quiet = capsys.readouterr()
    assert quiet.out + quiet.err == ""
    assert [(e["layer"], e["learner"], e["fold"]) for e in events] == [
        (layer, learner, fold)
        for layer, learners in ((1, ("sgc", "rows")), (2, ("logistic", "trees")))
        for learner in learners
        for fold in range(3)
    ]
    fitted(stack(progress=True), noisy)
    shown = capsys.readouterr().err
    assert "layer 1" in shown
    assert "layer 2" in shown


def test_interrupted_fit_leaves_no_half_a_model(stack: Make, noisy: Data) -> None:
    def interrupt(event: Any) -> None:
        if event["layer"] == 2:
            raise KeyboardInterrupt

    model = stack()
    with pytest.raises(KeyboardInterrupt):
        fitted(model, noisy, callbacks=[interrupt])
    assert not [key for key in vars(model) if key.endswith("_")]


def test_validation_labels_are_read_as_given(stack: Make, noisy: Data) -> None:
    """They stop members; a stack whose members do not stop early has no use for them."""
    changed: Data = copy.copy(noisy)
    changed.y = torch.where(noisy.val_mask, (noisy.y + 1) % 3, noisy.y)
    first, second = (fitted(stack(), each) for each in (noisy, changed))
    assert not torch.equal(first.stack_oof_, second.stack_oof_)
    rows = [("rows", ScikitLearnClassifier(neighbours=(), structure=False))]
    pair = [fitted(stack(estimators=rows, fallback=False), each) for each in (noisy, changed)]
    assert torch.equal(pair[0].stack_oof_, pair[1].stack_oof_)
    assert pair[0].optimism_gap_ != pair[1].optimism_gap_


def test_more_layers_read_the_layer_below(stack: Make, noisy: Data) -> None:
    model = fitted(stack(n_layers=3), noisy)
    assert list(model.models_[2]) == ["logistic", "trees"]
    third: Tensor = model.models_[2]["logistic"][0][0].numeric_names_
    assert {name.split(":")[0] for name in third} == {"logistic", "trees"}
