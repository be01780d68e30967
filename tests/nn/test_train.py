from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import APPNP, GAT, GCN, LINKX, MLP, SGC, SIGN
from graphclean.types import InputError


def small(**params: Any) -> GCN:
    return GCN(hidden=8, random_state=0, **params)


def test_learns_what_torch_would_learn(sbm: Data, half: Tensor) -> None:
    """The loop against six lines of plain torch on a linear model without dropout."""
    weight = torch.rand(90, generator=torch.Generator().manual_seed(0)) + 0.1
    model = SGC(hops=2, epochs=15, lr=0.1, weight_decay=1e-2, val_fraction=0.0, random_state=3)
    model.fit(sbm, mask=half, sample_weight=weight)
    start = SGC(hops=2, epochs=1, lr=1e-30, val_fraction=0.0, random_state=3).fit(sbm, mask=half)
    linear = torch.nn.Linear(8, 3)
    linear.load_state_dict(
        {key: start.states_["last"][f"body.lin.{key}"] for key in ("weight", "bias")}
    )
    x = model.prepare(sbm).x
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.1, weight_decay=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        losses = torch.nn.functional.cross_entropy(linear(x)[half], sbm.y[half], reduction="none")
        ((losses * weight[half]).sum() / weight[half].sum()).backward()
        optimizer.step()
    expected = linear(x).softmax(dim=1).detach()
    assert torch.allclose(model.predict_proba(sbm), expected, atol=1e-5)


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_best_epoch_is_the_earliest_best_of_the_history(
    sbm: Data, half: Tensor, monitor: str
) -> None:
    model = small(epochs=40, patience=None, monitor=monitor, lr=0.05)
    model.fit(sbm, mask=half, val_mask=~half)
    values = model.history_[monitor]
    best = min(values) if monitor == "val_loss" else max(values)
    assert model.best_epoch_ == values.index(best) + 1
    assert len(values) == len(model.history_["loss"]) == 40
    shorter = GCN(
        hidden=8, random_state=0, epochs=model.best_epoch_, patience=None, lr=0.05, select="last"
    ).fit(sbm, mask=half, val_mask=~half)
    assert torch.equal(model.predict_proba(sbm, epoch="best"), shorter.predict_proba(sbm))


def test_best_and_last_come_from_one_fit(sbm: Data, half: Tensor) -> None:
    noisy = torch.where(torch.arange(90) % 5 == 0, (sbm.y + 1) % 3, sbm.y)
    model = small(epochs=60, patience=None, lr=0.05)
    model.fit(sbm, y=noisy, mask=half, val_mask=~half)
    best, last = (model.predict_proba(sbm, epoch=epoch) for epoch in ("best", "last"))
    assert model.best_epoch_ < 60
    assert not torch.equal(best, last)
    assert torch.equal(model.predict_proba(sbm), best)
    assert torch.equal(model.set_params(select="last").predict_proba(sbm), last)
    rows = ~half
    losses = model.history_["val_loss"]
    for probs, loss in ((best, min(losses)), (last, losses[-1])):
        assert -probs[rows, noisy[rows]].log().mean() == pytest.approx(loss, rel=1e-4)


def test_patience_stops_the_training(sbm: Data, half: Tensor) -> None:
    noisy = torch.where(torch.arange(90) % 3 == 0, (sbm.y + 1) % 3, sbm.y)
    model = small(epochs=300, patience=4, lr=0.05)
    model.fit(sbm, y=noisy, mask=half, val_mask=~half)
    assert model.stop_reason_ == "patience"
    assert len(model.history_["loss"]) == model.best_epoch_ + 4


def test_early_stopping_reads_only_the_given_validation_labels(sbm: Data, half: Tensor) -> None:
    validation = torch.arange(90) % 4 == 1
    poisoned = sbm.clone()
    poisoned.y[~half & ~validation] = 0
    poisoned.val_mask = ~half
    model = small(epochs=30)
    same = [
        model.fit(data, mask=half, val_mask=validation).predict_proba(data)
        for data in (sbm, poisoned)
    ]
    assert torch.equal(*same)
    shifted = sbm.clone()
    shifted.y[validation] = (shifted.y[validation] + 1) % 3
    other = GCN(hidden=8, random_state=0, epochs=30).fit(shifted, mask=half, val_mask=validation)
    assert not torch.equal(other.predict_proba(sbm), same[0])
    assert torch.equal(
        other.predict_proba(sbm, epoch="last"),
        GCN(hidden=8, random_state=0, epochs=len(other.history_["loss"]), val_fraction=0)
        .fit(sbm, mask=half)
        .predict_proba(sbm),
    )


def test_validation_rows_do_not_train(sbm: Data) -> None:
    events: list[dict[str, Any]] = []
    GCN(epochs=1, val_fraction=0.2, random_state=0).fit(sbm, callbacks=[events.append])
    assert (events[0]["n_train"], events[0]["n_val"]) == (72, 18)
    everyone = torch.ones(90, dtype=torch.bool)
    GCN(epochs=1).fit(sbm, mask=everyone, val_mask=sbm.y == 0, callbacks=[events.append])
    assert (events[3]["n_train"], events[3]["n_val"]) == (60, 30)


def test_train_mask_is_the_default_if_it_is_one_split(sbm: Data, half: Tensor) -> None:
    counts: list[int] = []

    def count(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            counts.append(event["n_train"])

    model = GCN(epochs=1, val_fraction=0, random_state=0)
    sbm.train_mask = half
    model.fit(sbm, callbacks=[count])
    sbm.train_mask = half[:, None].repeat(1, 2)
    model.fit(sbm, callbacks=[count])
    sbm.y[:10] = -1
    model.fit(sbm, callbacks=[count])
    assert counts == [45, 90, 80]


def test_custom_loss_sees_rows_and_their_ids(sbm: Data, half: Tensor) -> None:
    seen: list[tuple[torch.Size, Tensor, Tensor]] = []

    def loss(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        seen.append((logits.shape, target, index))
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    model = GCN(epochs=5, val_fraction=0, random_state=0, loss=loss)
    plain = GCN(epochs=5, val_fraction=0, random_state=0)
    assert torch.equal(
        model.fit(sbm, mask=half).predict_proba(sbm), plain.fit(sbm, mask=half).predict_proba(sbm)
    )
    shape, target, index = seen[0]
    assert shape == (45, 3)
    assert torch.equal(index, half.nonzero().view(-1))
    assert torch.equal(target, sbm.y[half])
    with pytest.raises(InputError, match="loss"):
        GCN(loss=lambda logits, target, index: logits.mean()).fit(sbm)


def test_interrupt_leaves_a_usable_model(sbm: Data) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event.get("epoch") == 4 and event["event"] == "epoch":
            raise KeyboardInterrupt

    model = GCN(random_state=0, epochs=30).fit(sbm, callbacks=[interrupt])
    assert model.stop_reason_ == "interrupt"
    assert len(model.history_["loss"]) == 4
    assert bool(torch.isfinite(model.predict_proba(sbm)).all())


def test_divergence_is_reported(sbm: Data) -> None:
    sbm.x[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"scale data\.x"):
        GCN().fit(sbm)


def test_progress_bar_goes_to_stderr(sbm: Data, capsys: pytest.CaptureFixture[str]) -> None:
    GCN(epochs=2, progress=True).fit(sbm)
    captured = capsys.readouterr()
    assert "epochs" in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("params"),
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"data_parallel": 1},
        {"epochs": True},
        {"hidden": 1.5},
        {"lr": 0},
        {"lr": "fast"},
        {"weight_decay": -1.0},
        {"dropout": 1.0},
        {"input_dropout": -0.1},
        {"patience": 0},
        {"val_fraction": 0.6},
        {"monitor": "test_accuracy"},
        {"select": "first"},
        {"norm": "instance_norm"},
        {"loss": "ce"},
        {"device": "abacus"},
        {"random_state": -1},
    ],
)
def test_bad_parameter_is_named_in_fit(sbm: Data, params: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        GCN(**params).fit(sbm)
    assert caught.value.argument == next(iter(params))


@pytest.mark.parametrize(
    "model", [SIGN(hops="2"), SGC(hops=0), APPNP(alpha=0.0), GAT(hidden=6, heads=4), SIGN(svd=0)]
)
def test_bad_parameter_is_named_before_the_graph_is_prepared(sbm: Data, model: Any) -> None:
    with pytest.raises(InputError) as caught:
        model.fit(sbm)
    assert caught.value.argument in model.get_params()


def test_unknown_epoch_is_refused(sbm: Data) -> None:
    with pytest.raises(InputError, match="epoch"):
        GCN(epochs=1).fit(sbm).predict_proba(sbm, epoch="first")


def test_input_dropout_acts_in_training_only(words: Data) -> None:
    models = [MLP(epochs=3, dropout=0.0, input_dropout=p, random_state=0) for p in (0.0, 0.5)]
    plain, dropped = (model.fit(words).predict_proba(words) for model in models)
    assert not torch.equal(plain, dropped)
    assert torch.equal(models[1].predict_proba(words), dropped)


def test_graph_bound_models_refuse_other_graphs(sbm: Data, words: Data) -> None:
    smaller = sbm.subgraph(torch.arange(50))
    with pytest.raises(InputError, match="own graph"):
        LINKX(epochs=1).fit(sbm).predict_proba(smaller)
    wide = words.clone()
    wide.x = words.x.repeat(1, 3)
    model = SIGN(epochs=1, svd=5, random_state=0).fit(wide)
    assert model.prepare(wide).num_features == 5 * 4
    assert model.predict_proba(wide).shape == (90, 3)
    with pytest.raises(InputError, match="svd=None"):
        model.predict_proba(wide.subgraph(torch.arange(50)))
    free = SIGN(epochs=1, svd=None).fit(wide)
    assert free.predict_proba(wide.subgraph(torch.arange(50))).shape == (50, 3)


def test_reduced_features_keep_the_geometry(sbm: Data) -> None:
    """Features of rank 8 in 600 columns: eight directions keep every inner product."""
    directions = torch.randn(8, 600, generator=torch.Generator().manual_seed(0))
    sbm.x = sbm.x @ directions
    reduced = SIGN(svd=8, hops=1).prepare(sbm).x[:, :8]
    assert torch.allclose(reduced @ reduced.t(), sbm.x @ sbm.x.t(), rtol=1e-3, atol=0.1)


def test_graphcleaners_published_base_model(sbm: Data, half: Tensor) -> None:
    model = GCN(
        num_layers=3,
        hidden=256,
        lr=1e-3,
        weight_decay=5e-4,
        epochs=200,
        patience=None,
        monitor="val_accuracy",
        random_state=0,
    )
    model.set_params(epochs=3).fit(sbm, mask=half, val_mask=~half)
    shapes = [conv.lin.weight.shape for conv in model.module_.body.convs]
    assert shapes == [(256, 8), (256, 256), (3, 256)]
