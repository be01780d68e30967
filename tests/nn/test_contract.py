"""What every registered node classifier promises, whichever room it comes from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.base import clone
from torch import Tensor
from torch_geometric.data import Data

import graphclean.nn  # noqa: F401  (registers the backbones)
from graphclean.nn import NodeClassifier
from graphclean.types import InputError, ProbabilisticClassifier

Build = Callable[..., Any]

SEEDLESS = {"scikit_learn"}
"""Logistic regression, its default, draws no random number."""

ONE_CALL = {"hist_gradient_boosting", "scikit_learn"}
"""scikit-learn fits these in one call, which no callback can stop: one epoch, at its end."""

pytestmark = pytest.mark.parametrize("name", sorted(NodeClassifier.registry))


def probabilities(model: Any, data: Data, **fit: Any) -> Tensor:
    return model.fit(data, **fit).predict_proba(data)


def test_learns_a_small_graph(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    probs = probabilities(fast(name), sbm, mask=half)
    assert probs.shape == (90, 3)
    assert probs.dtype == torch.float32
    assert torch.allclose(probs.sum(dim=1), torch.ones(90), atol=1e-5)
    assert (probs.argmax(dim=1) == sbm.y)[~half].float().mean() > 0.9


def test_parameters_follow_scikit_learn(name: str, fast: Build) -> None:
    model = fast(name)
    assert isinstance(model, ProbabilisticClassifier)
    twin = clone(model)
    assert twin is not model
    assert twin.get_params() == model.get_params()
    assert model.set_params(random_state=7).get_params()["random_state"] == 7
    assert not [key for key in vars(model) if key.endswith("_")]


def test_same_seed_same_bits(name: str, fast: Build, words: Data, half: Tensor) -> None:
    first, again = (
        probabilities(fast(name, epochs=5, val_fraction=0.2), words, mask=half) for _ in range(2)
    )
    other = probabilities(fast(name, epochs=5, val_fraction=0.2, random_state=1), words, mask=half)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in SEEDLESS)


def test_global_random_state_is_neither_read_nor_changed(
    name: str, fast: Build, sbm: Data, half: Tensor
) -> None:
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(probabilities(fast(name, epochs=3), sbm, mask=half))
            assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)


def test_user_data_is_untouched(name: str, fast: Build, words: Data, half: Tensor) -> None:
    words.train_mask = half
    kept = words.clone()
    y, weight = words.y.clone(), torch.ones(90)
    model = fast(name, epochs=3, val_fraction=0.2)
    model.fit(words, y=y, mask=half, sample_weight=weight, val_mask=None)
    model.predict_proba(words)
    assert set(words.keys()) == set(kept.keys())
    assert all(torch.equal(words[key], kept[key]) for key in kept.keys())  # noqa: SIM118
    assert torch.equal(y, kept.y)
    assert bool((weight == 1).all())


def test_hard_labels_equal_one_hot(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    model = fast(name, epochs=20, val_fraction=0.2)
    hard = probabilities(model, sbm, mask=half)
    soft = probabilities(model, sbm, y=torch.eye(3)[sbm.y], mask=half)
    assert torch.allclose(hard, soft, atol=1e-5)


def test_weight_zero_equals_masked_out(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    model = fast(name, epochs=5, val_fraction=0.2)
    masked = probabilities(model, sbm, mask=half)
    weighted = probabilities(
        model, sbm, mask=torch.ones(90, dtype=torch.bool), sample_weight=half.float()
    )
    assert torch.allclose(masked, weighted, atol=1e-6)


def test_weights_matter(name: str, fast: Build, sbm: Data) -> None:
    y = sbm.y.clone()
    y[torch.arange(90) % 3 == 0] = 0
    weight = torch.where(torch.arange(90) % 3 == 0, 100.0, 0.01)
    model = fast(name)
    wrong = probabilities(model, sbm, y=y, sample_weight=weight).argmax(dim=1)
    right = probabilities(model, sbm, y=y, sample_weight=1 / weight).argmax(dim=1)
    assert (wrong == 0).float().mean() > 0.9
    assert (right == sbm.y).float().mean() > 0.9


def test_labels_outside_the_mask_are_not_read(
    name: str, fast: Build, sbm: Data, half: Tensor
) -> None:
    poisoned = sbm.clone()
    poisoned.y[~half] = 2 - poisoned.y[~half]
    model = fast(name, epochs=5, val_fraction=0.2)
    assert torch.equal(
        probabilities(model, sbm, mask=half), probabilities(model, poisoned, mask=half)
    )


def test_prepare_reads_no_label(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    model = fast(name, epochs=5)
    bare = Data(x=sbm.x, edge_index=sbm.edge_index)
    prepared = model.prepare(bare)
    shared = model.fit(sbm, mask=half, prepared=prepared).predict_proba(sbm, prepared=prepared)
    assert torch.equal(shared, probabilities(model, sbm, mask=half))


def test_absent_class_keeps_its_column(name: str, fast: Build, sbm: Data) -> None:
    probs = probabilities(fast(name), sbm, mask=sbm.y != 2)
    assert probs.shape == (90, 3)
    assert float(probs[:, 2].max()) < 0.5


def test_unlabelled_and_isolated_nodes(name: str, fast: Build, sbm: Data) -> None:
    keep = (sbm.edge_index >= 5).all(dim=0)
    sbm.edge_index = sbm.edge_index[:, keep]
    sbm.y[::4] = -1
    probs = probabilities(fast(name), sbm)
    assert bool(torch.isfinite(probs).all())
    empty = Data(x=sbm.x, edge_index=torch.empty(2, 0, dtype=torch.long), y=sbm.y)
    assert bool(torch.isfinite(probabilities(fast(name, epochs=2), empty)).all())


def test_renaming_classes_renames_columns(name: str, fast: Build, sbm: Data, half: Tensor) -> None:
    order = torch.tensor([2, 0, 1])
    renamed = sbm.clone()
    renamed.y = order[sbm.y]
    predicted = probabilities(fast(name), sbm, mask=half).argmax(dim=1)
    again = probabilities(fast(name), renamed, mask=half).argmax(dim=1)
    assert (order[predicted] == again).float().mean() > 0.9


def test_fitted_model_survives_pickling(name: str, fast: Build, sbm: Data) -> None:
    model = fast(name, epochs=2).fit(sbm)
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin.predict_proba(sbm), model.predict_proba(sbm))


def test_callback_sees_events_and_stops(name: str, fast: Build, sbm: Data) -> None:
    events: list[dict[str, Any]] = []

    def stop_at_three(event: dict[str, Any]) -> bool:
        events.append(event)
        return bool(event.get("epoch") == 3)

    fast(name).fit(sbm, callbacks=[stop_at_three])
    kinds = [event["event"] for event in events]
    assert kinds == ["start", *["epoch"] * (1 if name in ONE_CALL else 3), "end"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("y", torch.zeros(4, dtype=torch.long)),
        ("y", torch.full((90,), 0.5)),
        ("y", torch.full((90,), -2)),
        ("y", torch.ones(90, 3)),
        ("mask", torch.zeros(90, dtype=torch.bool)),
        ("mask", torch.arange(90)),
        ("sample_weight", torch.full((90,), -1.0)),
        ("val_mask", torch.zeros(4, dtype=torch.bool)),
    ],
)
def test_bad_argument_is_named(
    name: str, fast: Build, sbm: Data, argument: str, value: Tensor
) -> None:
    with pytest.raises(InputError) as caught:
        fast(name).fit(sbm, **{argument: value})
    assert caught.value.argument == argument


def test_wrong_graph_is_refused(name: str, fast: Build, sbm: Data) -> None:
    model = fast(name, epochs=2).fit(sbm)
    narrow = sbm.clone()
    narrow.x = sbm.x[:, :3]
    with pytest.raises(InputError):
        model.predict_proba(narrow)
    with pytest.raises(InputError):
        model.fit(sbm.subgraph(torch.arange(50)), prepared=model.prepare(sbm))
