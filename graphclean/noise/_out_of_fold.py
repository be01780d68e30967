"""Out-of-fold class probabilities for confusion-driven noise, light enough to need no GNN.

The general engine lives in ``graphclean.nn``, above this room; noise needs only rough confusions.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from graphclean.noise._graph import feature_matrix, undirected_adjacency
from graphclean.types import InputError, ProbabilisticClassifier

FOLDS = 5
COMPONENTS = 64


def classifier_probabilities(
    data: Any, y: Tensor, classifier: ProbabilisticClassifier, generator: torch.Generator
) -> Tensor:
    """Return out-of-fold probabilities of ``classifier`` ``[N, C]``; a copy is fitted per fold."""

    def predict(train: Tensor) -> Tensor:
        mask = torch.zeros(len(y), dtype=torch.bool)
        mask[train] = True
        model = copy.deepcopy(classifier)
        model.fit(data, mask=mask.to(data.y.device))
        return model.predict_proba(data).detach().cpu().double()

    return _out_of_fold(y, predict, generator)


def propagated_logistic_probabilities(
    data: Any, y: Tensor, num_classes: int, generator: torch.Generator
) -> Tensor:
    """Return out-of-fold probabilities ``[N, C]`` of logistic regression on ``[Z, SZ, S^2 Z]``.

    ``Z`` is x, reduced to 64 singular components if it is wider; ``S = D^-1/2 A D^-1/2``. Labels
    take no part in the features.
    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    features = StandardScaler().fit_transform(_propagated_features(data, seed))
    labels = y.numpy()

    def predict(train: Tensor) -> Tensor:
        probabilities = np.zeros((len(labels), num_classes))
        present = np.unique(labels[train])
        if len(present) == 1:
            probabilities[:, present] = 1.0
            return torch.from_numpy(probabilities)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=200, tol=1e-3).fit(features[train], labels[train])
        probabilities[:, present] = model.predict_proba(features)
        return torch.from_numpy(probabilities)

    return _out_of_fold(y, predict, generator)


def _out_of_fold(
    y: Tensor, predict: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Tensor:
    fold = _stratified_folds(y, generator)
    result: Tensor | None = None
    for index in range(int(fold.max()) + 1):
        held_out = fold == index
        train = torch.nonzero((fold >= 0) & ~held_out).flatten()
        probabilities = predict(train)
        if result is None:
            result = torch.zeros_like(probabilities)
        result[held_out] = probabilities[held_out]
    assert result is not None
    return result


def _stratified_folds(y: Tensor, generator: torch.Generator) -> Tensor:
    """Deal the nodes of each class out to the folds in turn; -1 where unlabelled."""
    shuffled = torch.nonzero(y >= 0).flatten()
    if len(shuffled) < 2:
        raise InputError(
            "data.y", "fewer than two labels", "Pass pred_probs to estimate confusions."
        )
    shuffled = shuffled[torch.randperm(len(shuffled), generator=generator)]
    by_class = shuffled[torch.argsort(y[shuffled], stable=True)]
    fold = torch.full_like(y, -1)
    fold[by_class] = torch.arange(len(by_class)) % FOLDS
    return fold


def _propagated_features(data: Any, seed: int) -> Any:
    if getattr(data, "x", None) is None:
        raise InputError(
            "data.x", "missing", "Add node features, or pass pred_probs or a classifier."
        )
    x = feature_matrix(data.x)
    if x.shape[1] > COMPONENTS:
        left, singular, _ = randomized_svd(x, min(COMPONENTS, x.shape[0]), random_state=seed)
        x = left * singular
    elif sp.issparse(x):
        x = x.toarray()
    adjacency = undirected_adjacency(data)
    scale = sp.diags_array(1.0 / np.sqrt(np.maximum(adjacency.sum(axis=1), 1.0)))
    smooth = scale @ adjacency @ scale
    once = smooth @ x
    return np.hstack([x, once, smooth @ once])
