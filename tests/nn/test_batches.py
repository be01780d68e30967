"""Mini-batches: the same objective, bounded memory, full batch where one batch holds all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import APPNP, GCN, LINKX, MLP, SGC, SIGN, NodeClassifier, batches
from graphclean.nn.batches import Batches
from graphclean.nn.prepared import Prepared
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError

Build = Callable[..., Any]

DECOUPLED = [MLP(hidden=8), SIGN(hidden=8, hops=2), SGC()]
SAMPLED = ["gcn", "sage", "gin", "gat"]


def short(model: Any, **params: Any) -> Any:
    fresh = type(model)(**model.get_params())
    return fresh.set_params(**({"epochs": 6, "random_state": 0, "val_fraction": 0.2} | params))


def test_batches_are_a_fair_partition_of_the_rows() -> None:
    deal = Batches(25, 8, seed=1)
    first, second = (list(deal.epoch()) for _ in range(2))
    assert [len(b) for b in first] == [7, 6, 6, 6]
    for epoch in (first, second):
        assert torch.equal(torch.cat(epoch).sort().values, torch.arange(25))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    again = list(Batches(25, 8, seed=1).epoch())
    assert torch.equal(torch.cat(again), torch.cat(first))
    assert list(Batches(25, 25, seed=1).epoch()) == [slice(None)]


@pytest.mark.parametrize("model", DECOUPLED, ids=lambda m: m.name)
def test_one_large_batch_is_full_batch(model: Any, sbm: Data, words: Data) -> None:
    data = words if model.name == "mlp" else sbm
    weight = torch.rand(90, generator=torch.Generator().manual_seed(0)) + 0.1
    for w in (None, weight):
        full = short(model).fit(data, sample_weight=w)
        batch = short(model, batch_size=1000).fit(data, sample_weight=w)
        assert torch.equal(full.predict_proba(data), batch.predict_proba(data))
        assert full.history_ == batch.history_


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_mini_batches_do_what_plain_torch_would(kind: str, sbm: Data, words: Data) -> None:
    """Against a loop over the same batches; light rows pull as little as they weigh."""
    data = sbm if kind == "dense" else words
    weight = torch.rand(90, generator=torch.Generator().manual_seed(0)) + 0.01
    model = MLP(
        num_layers=1, epochs=4, lr=0.1, batch_size=20, val_fraction=0.0, random_state=3, dropout=0
    )
    seen: list[Tensor] = []

    def loss(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        seen.append(index)
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    model.set_params(loss=loss).fit(data, sample_weight=weight)
    rows = seen[:20]
    assert [len(r) for r in rows] == [18] * 20
    assert torch.equal(torch.cat(rows[:5]).sort().values, torch.arange(90))
    start = MLP(num_layers=1, epochs=1, lr=1e-30, val_fraction=0.0, random_state=3).fit(data)
    linear = torch.nn.Linear(data.x.shape[1], 3)
    state = start.states_["last"]
    linear.load_state_dict({k: state[f"body.mlp.lins.0.{k}"] for k in ("weight", "bias")})
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.1, weight_decay=5e-4)
    for r in rows:
        optimizer.zero_grad()
        losses = torch.nn.functional.cross_entropy(linear(data.x[r]), data.y[r], reduction="none")
        ((losses * weight[r]).sum() / (len(r) * weight.mean())).backward()
        optimizer.step()
    expected = linear(data.x).softmax(dim=1).detach()
    assert torch.allclose(model.predict_proba(data), expected, atol=1e-5)


@pytest.mark.parametrize("model", [*DECOUPLED, GCN(hidden=8)], ids=lambda m: m.name)
def test_batches_are_seeded_and_learn(model: Any, sbm: Data, half: Tensor) -> None:
    runs = [
        short(model, batch_size=16, epochs=epochs, random_state=seed).fit(sbm, mask=half)
        for epochs, seed in ((30, 0), (2, 0), (2, 0), (2, 1))
    ]
    first, short_run, again, other = (run.predict_proba(sbm) for run in runs)
    assert torch.equal(short_run, again)
    assert not torch.equal(short_run, other)
    assert (first.argmax(dim=1) == sbm.y)[~half].float().mean() > 0.9


@pytest.mark.parametrize("model", DECOUPLED, ids=lambda m: m.name)
def test_no_step_reads_more_rows_than_its_own(
    model: Any, sbm: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BLOCK_ROWS", 25)
    read: list[int] = []
    rows = Prepared.rows

    def counted(self: Prepared, index: Tensor | slice) -> Prepared:
        part = rows(self, index)
        read.append(part.num_nodes)
        return part

    monkeypatch.setattr(Prepared, "rows", counted)
    fitted = short(model, batch_size=10).fit(sbm)
    fitted.predict_proba(sbm)
    assert max(read) == 25
    assert read[:9] == [9] * 8 + [18]


@pytest.mark.parametrize("model", DECOUPLED, ids=lambda m: m.name)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_blocks_of_rows_give_the_same_numbers(
    model: Any, kind: str, sbm: Data, words: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sbm if kind == "dense" else words
    fitted = short(model).fit(data)
    whole = fitted.predict_proba(data)
    monkeypatch.setattr(batches, "BLOCK_ROWS", 7)
    assert torch.allclose(fitted.predict_proba(data), whole, atol=1e-6)
    blocked = short(model).fit(data)
    assert torch.allclose(blocked.predict_proba(data), whole, atol=1e-5)


@pytest.mark.parametrize("model", [APPNP(), LINKX()], ids=lambda m: m.name)
def test_models_of_the_whole_graph_refuse_batches(model: Any, sbm: Data) -> None:
    with pytest.raises(InputError, match="choose SIGN") as caught:
        short(model, batch_size=10).fit(sbm)
    assert caught.value.argument == "batch_size"


def test_sgc_takes_batches_of_dense_features_only(words: Data) -> None:
    with pytest.raises(InputError, match="batch_size: 10"):
        short(SGC(), batch_size=10).fit(words)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_all_neighbours_give_the_full_batch_step(
    name: str, kind: str, fast: Build, sbm: Data, words: Data, half: Tensor
) -> None:
    data = sbm if kind == "dense" else words
    fixed = {"dropout": 0.0, "epochs": 3, "lr": 0.01} | ({"norm": None} if name == "gin" else {})
    full = fast(name, **fixed).fit(data, mask=half)
    sampled = fast(name, **fixed, batch_size=1000, fanout=-1).fit(data, mask=half)
    assert torch.allclose(full.predict_proba(data), sampled.predict_proba(data), atol=1e-5)
    assert full.history_["loss"] == pytest.approx(sampled.history_["loss"], rel=1e-4)
    exact = fast(name, **fixed, batch_size=1000).fit(data, mask=half)
    assert torch.equal(full.predict_proba(data), exact.predict_proba(data))


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_batch_of_all_neighbours_has_the_logits_of_the_whole_graph(
    name: str, kind: str, fast: Build, sbm: Data, words: Data
) -> None:
    data = sbm if kind == "dense" else words
    fixed = {"dropout": 0.0, "epochs": 1} | ({"norm": None} if name == "gin" else {})
    first: list[Tensor] = []

    def loss(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        first.append(logits.detach())
        first.append(index)
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    fast(name, **fixed, lr=1e-30, batch_size=30, loss=loss).fit(data)
    probs = fast(name, **fixed, lr=1e-30).fit(data).predict_proba(data)
    assert [len(index) for index in first[1::2]] == [30, 30, 30]
    for logits, index in zip(first[::2], first[1::2], strict=True):
        assert torch.allclose(logits.softmax(dim=1), probs[index], atol=1e-5)


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_neighbours_learn(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    model = fast(name, batch_size=20, fanout=(3, 2), epochs=20, lr=0.03)
    probs = model.fit(sbm, mask=half).predict_proba(sbm)
    assert (probs.argmax(dim=1) == sbm.y)[~half].float().mean() > 0.9
    first = model.set_params(epochs=2).fit(sbm, mask=half).predict_proba(sbm)
    assert torch.equal(first, model.fit(sbm, mask=half).predict_proba(sbm))
    whole = model.set_params(fanout=None).fit(sbm, mask=half).predict_proba(sbm)
    assert not torch.equal(first, whole)


@pytest.mark.parametrize("fanout", [0, -2, 1.5, (), (3, 0), (3,), (3, 2, 1), "all"])
def test_bad_fanout_is_refused(fanout: Any, sbm: Data) -> None:
    with pytest.raises(InputError) as caught:
        GCN(epochs=1, fanout=fanout).fit(sbm)
    assert caught.value.argument == "fanout"


@pytest.mark.parametrize("name", ["gcn", "sage", "gin"])
def test_first_sums_are_made_once_and_change_nothing(
    name: str, fast: Build, words: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words as sparse features, multiplied in every step, and as collected dense ones."""
    model = fast(name, epochs=5)
    every_step = model.fit(words).predict_proba(words)
    monkeypatch.setattr("graphclean.nn.features.SPARSE_BELOW", 0.0)
    prepared = model.prepare(words)
    assert torch.allclose(prepared.x.sums, prepared.adj @ words.x, atol=1e-5)
    once = model.fit(words, prepared=prepared).predict_proba(words, prepared=prepared)
    assert torch.allclose(once, every_step, atol=1e-5)
    dropped = fast(name, epochs=1, input_dropout=0.5)
    assert isinstance(dropped.prepare(words).x, Tensor)
    with pytest.raises(InputError, match="input_dropout"):
        dropped.fit(words, prepared=prepared)


@pytest.mark.parametrize("fanout", [None, 2])
def test_one_layer_on_collected_features_reads_rows_only(
    fanout: int | None, fast: Build, sbm: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fast("gcn", num_layers=1, epochs=5, batch_size=20, fanout=fanout)
    prepared = model.prepare(sbm)
    with monkeypatch.context() as patch:
        patch.setattr(Propagator, "__matmul__", None)
        model.fit(sbm, prepared=prepared)
    probs = model.predict_proba(sbm, prepared=prepared)
    weight, bias = (model.states_["last"][f"body.convs.0.{key}"] for key in ("lin.weight", "bias"))
    expected = (prepared.adj @ sbm.x @ weight.t() + bias).softmax(dim=1)
    assert torch.allclose(probs, expected, atol=1e-5)


def test_every_sampling_model_is_tested() -> None:
    takes = {n for n, c in NodeClassifier.registry.items() if "fanout" in c().get_params()}
    assert takes == set(SAMPLED)
