"""What ensembles over one base learner share: who it is, its folds, and the graph it knows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from torch import Tensor

from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.layers import known_graph
from graphclean.ensemble.row_weights import given_weights
from graphclean.ensemble.splits import FOLDS, make_folds
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.crossfit import OutOfFold, cross_fit
from graphclean.nn.params import check_integer
from graphclean.nn.supervision import Supervision
from graphclean.nn.train import Event
from graphclean.robust.base import RobustTrainer
from graphclean.sparse import Adjacency
from graphclean.types import InputError, spawn_seeds


def base_learner(given: NodeClassifier | str | None, default: NodeClassifier) -> NodeClassifier:
    """Return a fresh classifier for an instance, a registered name, or None.

    Raises:
        InputError: It is none of these.
    """
    if given is None:
        return default
    if isinstance(given, str):
        for family in (RobustTrainer, EnsembleClassifier):
            if given in family.registry:
                found: NodeClassifier = family.create(given)
                return found
        made: NodeClassifier = NodeClassifier.create(given)
        return made
    if not isinstance(given, NodeClassifier):
        raise InputError("classifier", repr(given), "Pass a NodeClassifier, a name or None.")
    copied: NodeClassifier = clone(given)
    return copied


def check_folds(n_folds: Any, folds: Any) -> None:
    """Raise InputError unless these are folds that `make_folds` can make."""
    check_integer("n_folds", n_folds, 2)
    if isinstance(folds, str) and folds not in FOLDS:
        raise InputError("folds", folds, f"Choose one of: {', '.join(map(repr, FOLDS))}.")


def training_folds(data: Any, labels: Supervision, folds: Any, n_folds: int, seed: int) -> Tensor:
    """Return the fold of every training row ``[N]``, long, -1 elsewhere."""
    members = torch.zeros(len(labels.target), dtype=torch.bool)
    members[labels.train_index] = True
    return make_folds(data, labels, members, folds, n_folds, 1, seed)[0]


def fit_out_of_fold(
    classifier: NodeClassifier,
    data: Any,
    labels: Supervision,
    fold: Tensor,
    *,
    seed: int,
    prepared: Any = None,
    n_jobs: int | None = 1,
    progress: bool = False,
    callbacks: Iterable[Callable[[Event], Any]] = (),
) -> OutOfFold:
    """Fit a classifier once a fold on the training rows, and keep the models.

    Args:
        classifier: Cloned for every fold.
        data: The graph.
        labels: Targets, weights, training rows and validation rows, which stop every fit early.
        fold: Fold of every training row ``[N]``, -1 elsewhere.
        seed: Seed of the fits.
        prepared: Result of ``classifier.prepare(data)``, or None.
        n_jobs: Processes.
        progress: Whether to show a bar over the fits.
        callbacks: Hear of every fit.
    """
    held = torch.zeros(len(labels.target), dtype=torch.bool)
    held[labels.val_index] = True
    return cross_fit(
        classifier,
        known_graph(data, labels, fold >= 0, labels.val_index),
        y=labels.target,
        mask=fold >= 0,
        folds=fold,
        random_state=spawn_seeds(seed, 1)[0],
        n_jobs=n_jobs,
        progress=progress,
        callbacks=callbacks,
        sample_weight=None if labels.weight is None else given_weights(labels),
        val_mask=held if bool(held.any()) else None,
        prepared=prepared,
        keep_models=True,
    )


def mean_probs(models: Iterable[NodeClassifier], data: Any, prepared: Any) -> Tensor:
    """Return the mean of what the models predict of a graph ``[N, C]``, float32."""
    found = [model.predict_proba(data, prepared=prepared) for model in models]
    return torch.stack(found).mean(dim=0)


def graph_key(data: Any) -> str:
    """Return a checksum of the edges, features and table of a graph, to know it again.

    What an ensemble worked out for the nodes of its fit, such as out-of-fold predictions, holds for
    that graph alone.
    """
    edges = Adjacency.of(data).matrix
    parts = [np.array([data.num_nodes]), edges.indptr, edges.indices, edges.data]
    x = getattr(data, "x", None)
    if x is not None:
        x = x.detach().cpu()
        if x.layout == torch.strided:
            parts.append(x.numpy())
        else:
            csr = x.to_sparse_csr()
            parts += [each.numpy() for each in (csr.crow_indices(), csr.col_indices())]
            parts.append(csr.values().numpy())
    frame = getattr(data, "node_frame", None)
    if frame is not None:  # Learners of tables read it, not x.
        parts.append(np.array([str(name) for name in frame.columns]))
        columns = (frame.iloc[:, at] for at in range(frame.shape[1]))
        parts += [pd.util.hash_pandas_object(each, index=False).to_numpy() for each in columns]
    total = hashlib.sha256()
    for part in parts:
        total.update(str((part.dtype, part.shape)).encode())
        total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()
