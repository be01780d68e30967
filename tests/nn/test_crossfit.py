from __future__ import annotations

from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import APPNP, GCN, SGC, SIGN, cross_fit, crossfit, stratified_folds
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError, spawn_seeds

SMALL = GCN(hidden=8, epochs=8, val_fraction=0.2)


class FeatureOnly:
    """A learner of the bare protocol: no parameters, no ``prepare``, NumPy probabilities."""

    def fit(
        self, data: Data, y: Tensor | None = None, mask: Any = None, sample_weight: Any = None
    ) -> FeatureOnly:
        assert y is not None
        self.seen = y.clone()
        self.graph_labels = data.y.clone()
        rows = (mask & (y >= 0)).numpy()
        self.model = LogisticRegression().fit(data.x.numpy()[rows], y.numpy()[rows])
        return self

    def predict_proba(self, data: Data) -> np.ndarray:
        return self.model.predict_proba(data.x.numpy())


def test_every_node_is_judged_by_models_blind_to_its_label(sbm: Data) -> None:
    sbm.y[::9] = -1
    out = cross_fit(SMALL, sbm, n_folds=3, n_repeats=2, random_state=5)
    assert out.pred_probs.shape == (90, 3)
    assert out.model_probs.shape == (2, 3, 90, 3)
    assert torch.allclose(out.pred_probs.sum(dim=1), torch.ones(90), atol=1e-5)
    assert not torch.equal(*out.fold)
    for node in range(90):
        rows = []
        for repeat in range(2):
            k = int(out.fold[repeat, node])
            models = out.model_probs[repeat, :, node]
            rows.append(models.mean(dim=0) if k < 0 else models[k])
            assert (k < 0) == (int(sbm.y[node]) < 0)
            assert torch.allclose(out.held_out(repeat)[node], rows[-1])
        assert torch.allclose(out.pred_probs[node], torch.stack(rows).mean(dim=0), atol=1e-6)


def test_model_of_a_fold_equals_a_fit_by_hand(sbm: Data) -> None:
    out = cross_fit(SMALL, sbm, n_folds=3, random_state=5)
    seeds = spawn_seeds(spawn_seeds(5, 1)[0], 4)
    assert torch.equal(
        out.fold[0], stratified_folds(sbm.y, torch.ones(90, dtype=torch.bool), 3, seeds[0])
    )
    model = GCN(hidden=8, epochs=8, val_fraction=0.2, random_state=seeds[2])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        probs = model.fit(sbm, mask=out.fold[0] != 1).predict_proba(sbm)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(out.model_probs[0, 1], probs)


@pytest.mark.parametrize("classifier", [SMALL, SGC(epochs=5), SIGN(epochs=5, hidden=8)])
def test_held_out_labels_change_nothing(sbm: Data, classifier: Any) -> None:
    folds = stratified_folds(sbm.y, sbm.y >= 0, 3, 0)
    clean = cross_fit(classifier, sbm, folds=folds)
    for k in range(3):
        poisoned = sbm.clone()
        poisoned.y[folds == k] = (poisoned.y[folds == k] + 1) % 3
        poisoned.y_clean = 2 - sbm.y
        dirty = cross_fit(classifier, poisoned, folds=folds)
        assert torch.equal(dirty.model_probs[0, k], clean.model_probs[0, k])
        assert not torch.equal(dirty.model_probs[0, (k + 1) % 3], clean.model_probs[0, (k + 1) % 3])


def test_any_number_of_processes_gives_the_same_bits(words: Data) -> None:
    serial = cross_fit(SMALL, words, n_folds=2, n_repeats=2, n_jobs=1)
    parallel = cross_fit(SMALL, words, n_folds=2, n_repeats=2, n_jobs=2)
    assert torch.equal(serial.model_probs, parallel.model_probs)
    assert torch.equal(serial.fold, parallel.fold)


def test_threads_of_the_session_do_not_matter(words: Data) -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(cross_fit(SMALL, words, n_folds=2).model_probs)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_learner_of_the_bare_protocol_sees_no_held_out_label(sbm: Data) -> None:
    seen: list[FeatureOnly] = []

    class Spy(FeatureOnly):
        def fit(self, *args: Any, **kwargs: Any) -> FeatureOnly:
            seen.append(self)
            return super().fit(*args, **kwargs)

    sbm.y_clean = sbm.y.clone()
    out = cross_fit(Spy(), sbm, n_folds=3)
    assert (out.pred_probs.argmax(dim=1) == sbm.y).float().mean() > 0.8
    for k, model in enumerate(seen):
        assert bool((model.seen[out.fold[0] == k] == -1).all())
        assert torch.equal(model.seen, model.graph_labels)
        assert torch.equal(model.seen[out.fold[0] != k], sbm.y[out.fold[0] != k])


def test_soft_labels_and_mask(sbm: Data, half: Tensor) -> None:
    soft = torch.eye(3)[sbm.y] * 0.8 + 0.2 / 3
    hard = cross_fit(SGC(epochs=40), sbm, mask=half, n_folds=3)
    mixed = cross_fit(SGC(epochs=40), sbm, y=soft, mask=half, n_folds=3)
    assert torch.equal(hard.fold, mixed.fold)
    assert torch.equal(hard.fold[0] >= 0, half)
    assert (mixed.pred_probs.argmax(dim=1) == sbm.y).float().mean() > 0.9
    assert mixed.pred_probs.max() < hard.pred_probs.max()


def test_class_smaller_than_the_folds_keeps_its_column(sbm: Data) -> None:
    sbm.y[sbm.y == 2] = 1
    sbm.y[-1] = 2
    out = cross_fit(SMALL, sbm, n_folds=3)
    assert out.pred_probs.shape == (90, 3)


@pytest.mark.parametrize("classifier", [SIGN(hidden=4, hops=3), SGC(hops=2), APPNP(), GCN()])
def test_preparation_is_shared_by_folds_repeats_and_seeds(
    sbm: Data, classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts the sparse products outside the epochs: all of them are the preparation's."""
    products = preparations = 0
    inside: list[bool] = []
    multiply, prepare, fold = Propagator.__matmul__, type(classifier).prepare, crossfit._fit_fold

    def counted(self: Propagator, x: Tensor) -> Tensor:
        nonlocal products
        products += not inside
        return multiply(self, x)

    def prepared(self: Any, data: Data) -> Any:
        nonlocal preparations
        preparations += 1
        return prepare(self, data)

    def fitted(*args: Any) -> Any:
        inside.append(True)
        result = fold(*args)
        inside.pop()
        return result

    monkeypatch.setattr(Propagator, "__matmul__", counted)
    monkeypatch.setattr(type(classifier), "prepare", prepared)
    monkeypatch.setattr(crossfit, "_fit_fold", fitted)
    counts = []
    for folds, repeats in ((2, 1), (3, 2)):
        products = preparations = 0
        cross_fit(classifier.set_params(epochs=1), sbm, n_folds=folds, n_repeats=repeats)
        counts.append((products, preparations))
    hops = {"sign": 3, "sgc": 2, "gcn": 1, "appnp": 0}[classifier.name]
    assert counts == [(hops, 1), (hops, 1)]


def test_classifiers_on_one_graph_share_its_operator(sbm: Data) -> None:
    gcn, appnp, other = GCN().prepare(sbm), APPNP().prepare(sbm), GCN().prepare(sbm.clone())
    assert gcn.adj is appnp.adj
    assert gcn.adj is not other.adj


def test_progress_and_events(sbm: Data, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[dict[str, Any]] = []
    cross_fit(SMALL, sbm, n_folds=2, n_repeats=2, progress=True, callbacks=[events.append])
    assert [(e["repeat"], e["fold"]) for e in events] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert "4/4" in capsys.readouterr().err


def test_user_objects_are_untouched(sbm: Data) -> None:
    kept = sbm.clone()
    params = SMALL.get_params()
    cross_fit(SMALL, sbm, n_folds=2)
    assert sorted(sbm.keys()) == sorted(kept.keys())
    assert torch.equal(sbm.y, kept.y)
    assert SMALL.get_params() == params
    assert not hasattr(SMALL, "module_")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_folds", 1),
        ("n_folds", "5"),
        ("n_repeats", 0),
        ("folds", torch.zeros(90, dtype=torch.long)),
        ("folds", torch.arange(90) % 2 * 2),
        ("folds", torch.arange(90) % 3 - 1),
        ("folds", torch.arange(10)),
        ("random_state", -1),
    ],
)
def test_bad_argument_is_named(sbm: Data, argument: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        cross_fit(SMALL, sbm, **{argument: value})
    assert caught.value.argument == argument


def test_wrong_shape_from_a_learner_is_reported(sbm: Data) -> None:
    class Narrow(FeatureOnly):
        def predict_proba(self, data: Data) -> np.ndarray:
            return super().predict_proba(data)[:, :2]

    with pytest.raises(InputError, match="one column per class"):
        cross_fit(Narrow(), sbm, n_folds=2)


def test_interrupted_fit_interrupts_the_run(sbm: Data) -> None:
    class Interrupted(FeatureOnly):
        stop_reason_ = "interrupt"

    with pytest.raises(KeyboardInterrupt):
        cross_fit(Interrupted(), sbm, n_folds=2)


def test_kept_models_are_those_that_predicted(sbm: Data) -> None:
    sbm.y[::9] = -1
    out = cross_fit(SMALL, sbm, n_folds=3, n_repeats=2, random_state=5, keep_models=True)
    plain = cross_fit(SMALL, sbm, n_folds=3, n_repeats=2, random_state=5)
    assert plain.models is None
    assert torch.equal(out.model_probs, plain.model_probs)
    assert out.models is not None
    for repeat in range(2):
        for k in range(3):
            found = out.models[repeat][k].predict_proba(sbm)
            torch.testing.assert_close(found, out.model_probs[repeat, k])


def test_every_fit_gets_weights_and_validation_rows(sbm: Data) -> None:
    seen: list[dict[str, Any]] = []

    class Recorder(FeatureOnly):
        def fit(self, data: Data, y: Any = None, mask: Any = None, **options: Any) -> Recorder:
            seen.append({"y": y.clone(), "graph": data.y.clone(), "mask": mask.clone()} | options)
            super().fit(data, y, mask)
            return self

    validation = torch.arange(90) % 5 == 4
    weight = torch.rand(90, generator=torch.Generator().manual_seed(0)) + 0.1
    weight[3] = 0.0
    out = cross_fit(Recorder(), sbm, n_folds=3, sample_weight=weight, val_mask=validation)
    fold = out.fold[0]
    assert torch.equal(fold < 0, validation | (weight == 0))
    for k, call in enumerate(seen):
        rows = (fold >= 0) & (fold != k)
        known = rows | validation
        assert torch.equal(call["mask"], rows)
        assert torch.equal(call["val_mask"], validation)
        assert torch.equal(call["sample_weight"][rows], weight[rows])
        for labels in (call["y"], call["graph"]):
            assert torch.equal(labels, torch.where(known, sbm.y, -1))
    seen.clear()
    cross_fit(Recorder(), sbm, n_folds=3)
    assert set(seen[0]) == {"y", "graph", "mask"}


def test_inputs_may_differ_from_fold_to_fold(sbm: Data) -> None:
    """A model of fold k is fitted on features times k + 1 and predicts from features times 10."""

    class Scaled(crossfit.FoldInputs):
        def of_fold(self, repeat: int, fold: int) -> tuple[Any, Any]:
            return sbm.x * (fold + 1 + repeat), sbm.x * 10

    class Reader(FeatureOnly):
        def fit(self, data: Data, y: Any = None, mask: Any = None, prepared: Any = None) -> Reader:  # type: ignore[override]
            self.read = prepared
            super().fit(Data(x=prepared, y=data.y), y, mask)
            return self

        def predict_proba(self, data: Data, prepared: Any = None) -> np.ndarray:  # type: ignore[override]
            assert torch.equal(prepared, sbm.x * 10)
            return super().predict_proba(Data(x=prepared))

    out = cross_fit(Reader(), sbm, n_folds=3, n_repeats=2, prepared=Scaled(), keep_models=True)
    assert out.models is not None
    for repeat in range(2):
        for k in range(3):
            assert torch.equal(out.models[repeat][k].read, sbm.x * (k + 1 + repeat))


def test_a_prepared_graph_is_not_prepared_again(sbm: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = cross_fit(SMALL, sbm, n_folds=3)
    ready = SMALL.prepare(sbm)
    monkeypatch.setattr(GCN, "prepare", None)
    assert torch.equal(
        cross_fit(SMALL, sbm, n_folds=3, prepared=ready).pred_probs, wanted.pred_probs
    )


class Nested:
    """A learner that cross-fits within its own fit."""

    n_jobs: int | None = None

    def fit(self, data: Data, y: Tensor, mask: Tensor) -> Nested:
        inner = SGC(epochs=2, random_state=0)
        self.inner = cross_fit(inner, data, y=y, mask=mask, n_folds=2, n_jobs=self.n_jobs)
        return self

    def predict_proba(self, data: Data) -> Tensor:
        return self.inner.pred_probs


def test_a_learner_may_cross_fit_within_its_fit(sbm: Data) -> None:
    threads = torch.get_num_threads()
    found = cross_fit(Nested(), sbm, n_folds=2, random_state=0)
    assert bool(torch.isfinite(found.pred_probs).all())
    assert torch.get_num_threads() == threads


def test_nested_parallel_work_does_not_wait_for_itself(sbm: Data) -> None:
    """In threads and on Dask, inner work used to queue behind the lock that its caller held."""
    learner = Nested()
    learner.n_jobs = 2
    wanted = cross_fit(Nested(), sbm, n_folds=2, random_state=0).pred_probs
    found: list[Tensor] = []

    def run() -> None:
        with parallel_config("threading"):
            found.append(cross_fit(learner, sbm, n_folds=2, random_state=0, n_jobs=2).pred_probs)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert found
    assert torch.equal(found[0], wanted)
