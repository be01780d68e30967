"""Out-of-fold probabilities: every labelled node judged by models that never saw its label."""

from __future__ import annotations

import copy
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import RLock
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import LokyBackend, MultiprocessingBackend, get_active_backend
from sklearn.base import clone
from torch import Tensor
from tqdm.auto import tqdm

from graphclean.data.labels import class_names
from graphclean.nn.folds import stratified_folds
from graphclean.nn.shipping import shipped, unshipped
from graphclean.nn.supervision import Supervision, supervision
from graphclean.nn.train import Event
from graphclean.types import InputError, ProbabilisticClassifier, Seed, spawn_seeds

_LOCK = RLock()  # A learner may cross-fit within its own fit.


@dataclass(frozen=True, eq=False)
class OutOfFold:
    r"""Result of ``cross_fit`` with R repeats, K folds, N nodes and C classes.

    Attributes:
        pred_probs: Mean over the repeats ``[N, C]``, rows sum to one. A node of a fold is judged by
            the models that held its label out, any other node by all models.
        fold: The fold of every node in every repeat ``[R, N]``, long; -1 for nodes of no fold.
        model_probs: Prediction of every fold's model for every node ``[R, K, N, C]``. What is
            propagated to judge node i must come from the model of i's own fold: merged rows leak
            i's label back through its neighbours, whose models saw it.
        models: The fitted models, ``[R][K]``, where they were asked for, else None.
    """

    pred_probs: Tensor
    fold: Tensor
    model_probs: Tensor
    models: list[list[Any]] | None = None

    @classmethod
    def merged(
        cls, model_probs: Tensor, fold: Tensor, models: list[list[Any]] | None = None
    ) -> OutOfFold:
        """Return the result whose ``pred_probs`` these models give."""
        rows = [_merge(p, f) for p, f in zip(model_probs, fold, strict=True)]
        return cls(torch.stack(rows).mean(dim=0), fold, model_probs, models)

    def held_out(self, repeat: int = 0) -> Tensor:
        """Return the probabilities of one repeat, merged like ``pred_probs``: ``[N, C]``."""
        return _merge(self.model_probs[repeat], self.fold[repeat])


class FoldInputs(ABC):
    """What models read in place of ``prepare(data)`` where it differs from fold to fold."""

    @abstractmethod
    def of_fold(self, repeat: int, fold: int) -> tuple[Any, Any]:
        """Return what the model of a fold is fitted on, and what it predicts all nodes from."""


def cross_fit(
    classifier: ProbabilisticClassifier,
    data: Any,
    *,
    y: Any = None,
    mask: Any = None,
    n_folds: int = 5,
    n_repeats: int = 1,
    random_state: Seed = 0,
    n_jobs: int | None = 1,
    folds: Tensor | None = None,
    progress: bool = False,
    callbacks: Iterable[Callable[[Event], Any]] = (),
    sample_weight: Any = None,
    val_mask: Any = None,
    prepared: Any = None,
    keep_models: bool = False,
) -> OutOfFold:
    """Fit one model per fold on all nodes but the fold's labels, and predict all nodes with each.

    The graph and its features stay whole; only labels are held out. They are erased, not just
    masked, from what a model gets to see, so that neither early stopping nor any other step can
    read them. Every fit runs on one thread with its own seed: the result is bit-identical for any
    ``n_jobs`` and any joblib backend. ``classifier.prepare(data)``, where there is one, runs once.

    Args:
        classifier: A ``NodeClassifier`` or anything with ``fit(data, y, mask)`` and
            ``predict_proba(data)``; cloned for every fit, never changed.
        data: The graph.
        y: Hard labels ``[N]`` or soft ones ``[N, C]`` in place of ``data.y``. Folds of soft labels
            are stratified by their largest entry.
        mask: Nodes to fold ``[N]``, bool; all others are unlabelled to the models. None: every
            labelled node, whatever ``data.train_mask`` says.
        n_folds: Folds K of a repeat.
        n_repeats: Repeats R with fresh folds and seeds.
        random_state: Seed of folds and fits.
        n_jobs: Processes; -1 for all cores. ``joblib.parallel_config`` chooses the backend.
            Processes on this machine share large arrays through one file under
            ``JOBLIB_TEMP_FOLDER`` (default: the folder for temporary files), which is removed in
            the end; other backends get a copy for every task.
        folds: Given folds ``[N]`` or ``[R, N]``, long, -1 for none, instead of stratified ones;
            K and R follow from them.
        progress: Whether to show a progress bar over the fits.
        callbacks: Called in this process with ``{"event": "fold", "repeat", "fold", "seconds"}``
            after every fit, in order; what they return is not used.
        sample_weight: Weights ``[N]`` >= 0, which every fit gets; 0 takes a row out of the folds.
        val_mask: Rows ``[N]``, bool, in no fold: every fit gets their labels as its ``val_mask``.
        prepared: Result of ``classifier.prepare(data)``, to share it, or `FoldInputs`.
        keep_models: Whether the result holds the fitted models.

    Raises:
        InputError: An argument does not fit, or a model returns probabilities of another shape.
        KeyboardInterrupt: A fit was interrupted.
    """
    rows = mask if mask is not None else _all_nodes(data)
    labels = supervision(data, y, rows, sample_weight, val_mask)
    hard = labels.target if labels.target.dim() == 1 else labels.target.argmax(dim=1)
    members = torch.zeros(len(hard), dtype=torch.bool)
    members[labels.train_index] = True
    if folds is None:
        for argument, value in (("n_folds", n_folds), ("n_repeats", n_repeats)):
            if not isinstance(value, int) or value < 1:
                raise InputError(argument, value, "Pass an integer >= 1.")
        seeds = [spawn_seeds(s, 1 + n_folds) for s in spawn_seeds(random_state, n_repeats)]
        fold = torch.stack([stratified_folds(hard, members, n_folds, s[0]) for s in seeds])
    else:
        fold = _given_folds(folds, members)
        n_folds = int(fold.max()) + 1
        seeds = [spawn_seeds(s, 1 + n_folds) for s in spawn_seeds(random_state, len(fold))]
    tasks = [(repeat, k) for repeat in range(len(fold)) for k in range(n_folds)]
    if prepared is None and hasattr(classifier, "prepare"):
        prepared = classifier.prepare(data)
    content = (_unlabelled(data, labels.num_classes), labels, prepared)
    models: list[list[Any]] = [[None] * n_folds for _ in fold]
    probs = torch.empty(len(fold), n_folds, len(hard), labels.num_classes)
    bar = tqdm(total=len(tasks), disable=not progress, desc="folds")
    with shipped(content, n_jobs) as shared, bar:
        calls = (
            delayed(_fit_fold)(classifier, shared, fold[r], (r, k), seeds[r][1 + k], keep_models)
            for r, k in tasks
        )
        with _closing(Parallel(n_jobs=n_jobs, return_as="generator")(calls)) as results:
            for (repeat, k), (predicted, model, seconds) in zip(tasks, results, strict=True):
                probs[repeat, k] = _checked(predicted, probs.shape[2:])
                models[repeat][k] = model
                bar.update()
                for callback in callbacks:
                    callback({"event": "fold", "repeat": repeat, "fold": k, "seconds": seconds})
    return OutOfFold.merged(probs, fold, models if keep_models else None)


@contextmanager
def _closing(results: Any) -> Iterator[Any]:
    """Cancel what is still running when an error or Ctrl-C ends the block early."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning)
            results.close()


def _merge(model_probs: Tensor, fold: Tensor) -> Tensor:
    merged = model_probs.mean(dim=0)
    inside = (fold >= 0).nonzero().view(-1)
    merged[inside] = model_probs[fold[inside], inside]
    return merged


def _all_nodes(data: Any) -> Tensor:
    return torch.ones(int(data.num_nodes), dtype=torch.bool)


def _given_folds(folds: Tensor, members: Tensor) -> Tensor:
    fold = torch.as_tensor(folds).long()
    fold = fold.view(1, -1) if fold.dim() == 1 else fold
    if fold.dim() != 2 or fold.shape[1] != len(members):
        raise InputError("folds", tuple(fold.shape), f"Pass folds [{len(members)}] or [R, N].")
    if bool(((fold >= 0) != members).any()):
        raise InputError(
            "folds", "do not match the labelled nodes", "Give exactly these a fold, others -1."
        )
    for row in fold:
        if len(row[members].unique()) != int(fold.max()) + 1 or int(fold.max()) < 1:
            raise InputError(
                "folds", "fewer than two folds, or an empty one", "Number them 0..K-1."
            )
    return fold


def _unlabelled(data: Any, num_classes: int) -> Any:
    """Return a shallow copy of the graph that knows its classes but not one label."""
    view = copy.copy(data)
    names = class_names(data)
    view.class_names = names if len(names) == num_classes else list(map(str, range(num_classes)))
    for key in ("y", "y_clean", "noise_mask"):
        if key in view:
            del view[key]
    return view


def _fit_fold(
    classifier: Any, shared: Any, fold: Tensor, place: tuple[int, int], seed: int, keep: bool
) -> tuple[Tensor, Any, float]:
    start = time.perf_counter()
    data, labels, prepared = unshipped(shared)
    model = _seeded_clone(classifier, seed)
    mask = (fold >= 0) & (fold != place[1])
    options, known = _options(labels, len(fold)), mask.clone()
    known[labels.val_index] = True
    y = labels.target.clone()
    y[~known] = -1 if y.dim() == 1 else 0.0
    view = copy.copy(data)
    view.y = y if y.dim() == 1 else y.argmax(dim=1).masked_fill(~known, -1)
    varied = isinstance(prepared, FoldInputs)
    inputs = prepared.of_fold(*place) if varied else (prepared, prepared)
    fitting, predicting = ({} if each is None else {"prepared": each} for each in inputs)
    with one_thread():
        model.fit(view, y=y, mask=mask, **options, **fitting)
        if getattr(model, "stop_reason_", None) == "interrupt":
            raise KeyboardInterrupt
        probs = model.predict_proba(view, **predicting)
    return probs, model if keep else None, time.perf_counter() - start


def _options(labels: Supervision, nodes: int) -> dict[str, Tensor]:
    """Return weights and validation rows as arguments of ``fit``, where there are any."""
    options = {}
    if labels.weight is not None:
        options["sample_weight"] = torch.zeros(nodes)
        options["sample_weight"][labels.train_index] = labels.weight
    if len(labels.val_index):
        options["val_mask"] = torch.zeros(nodes, dtype=torch.bool)
        options["val_mask"][labels.val_index] = True
    return options


def _seeded_clone(classifier: Any, seed: int) -> Any:
    model = clone(classifier, safe=False)
    if hasattr(model, "get_params"):
        seeded = [key for key in model.get_params() if key.split("__")[-1] == "random_state"]
        model.set_params(**dict.fromkeys(seeded, seed))
    return model


def _checked(predicted: Any, shape: torch.Size) -> Tensor:
    probs = torch.as_tensor(predicted).float()
    if probs.shape != shape:
        raise InputError(
            "classifier",
            f"predict_proba returned shape {tuple(probs.shape)}",
            f"Return one row per node and one column per class: {tuple(shape)}.",
        )
    return probs


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread; the lock keeps a threading backend from mixing up the setting.

    Parallel work inside stays in this thread if it would go to others of this process or to Dask:
    those may be waiting for the lock.
    """
    backend, _ = get_active_backend()
    apart = isinstance(backend, LokyBackend | MultiprocessingBackend)
    with _LOCK, nullcontext() if apart else parallel_config("sequential", n_jobs=1):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
