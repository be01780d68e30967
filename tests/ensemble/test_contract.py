"""What every registered ensemble promises."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from joblib import parallel_config
from sklearn.base import clone
from torch import Tensor
from torch_geometric.data import Data

from graphclean.ensemble import EnsembleClassifier
from graphclean.nn import NodeClassifier, load_model, save_model
from graphclean.types import InputError

Make = Callable[..., Any]

NAMES = sorted(
    n for n, c in EnsembleClassifier.registry.items() if c.__module__.split(".")[0] == "graphclean"
)
every = pytest.mark.parametrize("name", NAMES)

NOT_EQUIVARIANT: dict[str, str] = {}
"""Ensembles whose fit on renumbered nodes is another draw even with given folds, and why."""

FOLDS = torch.arange(90) // 3 % 3
"""Folds that every ensemble takes that takes any."""


def probabilities(model: Any, data: Data, **fit: Any) -> Tensor:
    fit.setdefault("val_mask", data.val_mask if "val_mask" in data else None)
    found: Tensor = model.fit(data, **fit).predict_proba(data)
    return found


def check_probabilities(found: Tensor, nodes: int, classes: int) -> None:
    assert found.shape == (nodes, classes)
    assert found.dtype == torch.float32
    assert found.device.type == "cpu"
    assert bool(torch.isfinite(found).all())
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(nodes))


@every
def test_learns_through_wrong_labels(name: str, build: Make, planted: Make) -> None:
    data = planted(n=300, seed=1)
    model = build(name, epochs=40, rounds=30)
    assert isinstance(model, NodeClassifier)
    found = probabilities(model, data)
    check_probabilities(found, 300, 3)
    assert torch.equal(model.predict(data), found.argmax(dim=1))
    assert (found.argmax(dim=1) == data.y_clean)[data.test_mask].float().mean() > 0.8


@every
def test_parameters_follow_scikit_learn(name: str, build: Make) -> None:
    model = build(name)
    twin = clone(model)
    assert twin is not model
    assert {k: repr(v) for k, v in twin.get_params().items()} == {
        k: repr(v) for k, v in model.get_params().items()
    }
    assert twin.set_params(random_state=7).get_params()["random_state"] == 7
    assert model.random_state == 0
    assert not [key for key in vars(model) if key.endswith("_")]
    EnsembleClassifier.registry[name]()  # Every parameter has a default.


@every
def test_same_seed_same_bits(name: str, build: Make, noisy: Data) -> None:
    first, again = (probabilities(build(name), noisy) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, probabilities(build(name, random_state=1), noisy))


@every
def test_jobs_do_not_change_a_bit(name: str, build: Make, noisy: Data) -> None:
    if "n_jobs" not in build(name).get_params():
        pytest.skip("it runs in one process")
    alone = probabilities(build(name), noisy)
    with parallel_config(backend="threading"):
        assert torch.equal(probabilities(build(name, n_jobs=2), noisy), alone)


@every
def test_a_fit_leaves_parameters_data_and_random_state(name: str, build: Make, noisy: Data) -> None:
    kept, held = copy.deepcopy(noisy), noisy.to_dict()
    model = build(name)
    params = {key: repr(value) for key, value in model.get_params().items()}
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(probabilities(model, noisy, sample_weight=torch.ones(90)))
            assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)
    assert {key: repr(value) for key, value in model.get_params().items()} == params
    assert sorted(noisy.keys()) == sorted(kept.keys())
    for key, value in kept.to_dict().items():
        assert noisy[key] is held[key]
        assert torch.equal(noisy[key], value) if isinstance(value, Tensor) else noisy[key] == value


@every
def test_no_label_outside_training_and_validation_is_read(
    name: str, build: Make, noisy: Data
) -> None:
    """Nor the truth, nor the mask of the test rows."""
    others = ~(noisy.train_mask | noisy.val_mask)
    generator = torch.Generator().manual_seed(3)
    poisoned = copy.copy(noisy)
    poisoned.y = torch.where(others, torch.randint(-1, 3, (90,), generator=generator), noisy.y)
    poisoned.y_clean = torch.randint(0, 3, (90,), generator=generator)
    for key in ("noise_mask", "test_mask"):
        poisoned[key] = torch.rand(90, generator=generator) < 0.5
    assert not torch.equal(poisoned.y, noisy.y)
    bare = Data(x=noisy.x, edge_index=noisy.edge_index, val_mask=noisy.val_mask)
    first = probabilities(build(name), poisoned)
    second = probabilities(
        build(name), bare, y=torch.where(others, -1, noisy.y), mask=noisy.train_mask
    )
    assert torch.equal(first, second)
    # With those of the training rows it is another matter.
    poisoned.y = torch.where(noisy.train_mask, (noisy.y + 1) % 3, noisy.y)
    assert not torch.equal(first, probabilities(build(name), poisoned))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_EQUIVARIANT])
def test_renumbered_nodes_get_the_same_probabilities(name: str, build: Make, noisy: Data) -> None:
    """With given folds: draws are by position."""
    order = torch.randperm(90, generator=torch.Generator().manual_seed(4))
    moved = copy.copy(noisy)
    for key in ("x", "y", "y_clean", "noise_mask", "train_mask", "val_mask", "test_mask"):
        moved[key] = noisy[key][order]
    moved.edge_index = order.argsort()[noisy.edge_index]
    fixed = {"dropout": 0.0, "max_features": 1.0}
    first = probabilities(build(name, folds=FOLDS, **fixed), noisy)
    second = probabilities(build(name, folds=FOLDS[order], **fixed), moved)
    torch.testing.assert_close(second, first[order], rtol=0, atol=2e-3)


@every
def test_one_hot_targets_are_hard_ones(name: str, build: Make, noisy: Data) -> None:
    hard = probabilities(build(name), noisy)
    soft = probabilities(build(name), noisy, y=torch.eye(3)[noisy.y])
    torch.testing.assert_close(soft, hard, rtol=0, atol=1e-3)
    spread = torch.eye(3)[noisy.y] * 0.7 + 0.1
    check_probabilities(probabilities(build(name), noisy, y=spread), 90, 3)


@every
def test_weight_zero_takes_a_row_out(name: str, build: Make, noisy: Data) -> None:
    masked = probabilities(build(name), noisy, mask=noisy.train_mask)
    weighted = probabilities(
        build(name), noisy, mask=~noisy.val_mask, sample_weight=noisy.train_mask.float()
    )
    torch.testing.assert_close(weighted, masked, rtol=0, atol=1e-4)


@every
def test_weights_weigh(name: str, build: Make, noisy: Data) -> None:
    weight = torch.where(noisy.noise_mask, 0.01, 1.0)
    plain = probabilities(build(name), noisy)
    assert not torch.equal(plain, probabilities(build(name), noisy, sample_weight=weight))


@every
def test_class_without_training_rows_keeps_its_column(name: str, build: Make, noisy: Data) -> None:
    known = noisy.y != 2
    probs = probabilities(
        build(name), noisy, mask=noisy.train_mask & known, val_mask=noisy.val_mask & known
    )
    check_probabilities(probs, 90, 3)
    assert float(probs[:, 2].mean()) < 0.34


@every
def test_class_missing_from_folds_keeps_its_column(name: str, build: Make, noisy: Data) -> None:
    rows = (noisy.train_mask & (noisy.y == 2)).nonzero().view(-1)[1:]
    noisy.y[rows] = -1
    check_probabilities(probabilities(build(name), noisy), 90, 3)


@every
def test_isolated_and_unlabelled_nodes_are_predicted(name: str, build: Make, noisy: Data) -> None:
    noisy.edge_index = noisy.edge_index[:, (noisy.edge_index >= 12).all(dim=0)]
    noisy.y[::5] = -1
    check_probabilities(probabilities(build(name), noisy), 90, 3)
    noisy.edge_index = torch.empty(2, 0, dtype=torch.long)
    check_probabilities(probabilities(build(name), noisy), 90, 3)


@every
def test_eight_nodes_are_enough(name: str, build: Make) -> None:
    ring = torch.arange(8)
    data = Data(
        x=torch.eye(8),
        edge_index=torch.stack([torch.cat([ring, ring.roll(1)]), torch.cat([ring.roll(1), ring])]),
        y=torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]),
    )
    check_probabilities(probabilities(build(name, n_folds=5), data), 8, 2)


@every
def test_prepared_graph_gives_the_same(name: str, build: Make, noisy: Data) -> None:
    model = build(name)
    prepared = model.prepare(Data(x=noisy.x, edge_index=noisy.edge_index))
    shared = model.fit(noisy, val_mask=noisy.val_mask, prepared=prepared)
    found = shared.predict_proba(noisy, prepared=prepared)
    assert torch.equal(found, probabilities(build(name), noisy))
    again = pickle.loads(pickle.dumps(shared))
    assert torch.equal(again.predict_proba(noisy), found)


@every
def test_the_loaded_predicts_the_same_bits(
    name: str, build: Make, noisy: Data, planted: Make, tmp_path: Path
) -> None:
    model = build(name).fit(noisy, val_mask=noisy.val_mask)
    loaded = load_model(save_model(model, tmp_path / "model"))
    assert type(loaded) is type(model)
    assert loaded.class_names_ == noisy.class_names
    assert torch.equal(loaded.predict_proba(noisy), model.predict_proba(noisy))
    other = planted(n=60, seed=5)
    found = loaded.predict_proba(other)
    check_probabilities(found, 60, 3)
    assert torch.equal(found, model.predict_proba(other))
    again = save_model(loaded, tmp_path / "again")
    for file in ("model.json", "model.safetensors"):
        assert (again / file).read_bytes() == (tmp_path / "model" / file).read_bytes()


@every
def test_unknown_seed_is_named(name: str, build: Make, noisy: Data) -> None:
    with pytest.raises(InputError) as caught:
        build(name, random_state=-1).fit(noisy)
    assert caught.value.argument == "random_state"


@every
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("y", torch.zeros(4, dtype=torch.long)),
        ("mask", torch.zeros(90, dtype=torch.bool)),
        ("sample_weight", torch.full((90,), -1.0)),
        ("val_mask", torch.zeros(4, dtype=torch.bool)),
    ],
)
def test_bad_argument_is_named(
    name: str, argument: str, value: Tensor, build: Make, noisy: Data
) -> None:
    with pytest.raises(InputError) as caught:
        build(name).fit(noisy, **{argument: value})
    assert caught.value.argument == argument


_MEMORY = """
import json, resource, runpy, sys
import torch
from torch_geometric.data import Data

build = runpy.run_path(sys.argv[1])["build_ensemble"]
nodes, classes = 20_000, 4
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
role = torch.rand(nodes, generator=generator)
data = Data(
    x=torch.randn(nodes, 8, generator=generator),
    edge_index=torch.randint(0, nodes, (2, 40_000), generator=generator),
    y=torch.randint(0, classes, (nodes,), generator=generator),
    train_mask=role < 0.1,
)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start, found = peak(), {}
for name in json.loads(sys.argv[2]):
    build(name, epochs=2, rounds=2).fit(data, val_mask=role > 0.9).predict_proba(data)
    found[name] = peak() - start
print(json.dumps(found))
"""


def test_no_ensemble_holds_an_array_of_n_by_n() -> None:
    """All pairs in one byte each take 381 MiB; hops x models x classes of all nodes take 20."""
    helpers = Path(__file__).with_name("conftest.py")
    run = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(helpers), json.dumps(NAMES)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    beyond = {name: peak for name, peak in json.loads(run.stdout).items() if peak > 350}
    assert not beyond, f"peaks of all up to this one, in MiB: {beyond}"
