"""Scikit-learn's view of one graph: the samples are node ids, the graph is a parameter."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from graphclean.types import InputError, ProbabilisticClassifier


class NodeIdClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier of node ids, for everything that splits rows: scikit-learn, cleanlab.

    Splitting rows of X leaves the graph whole; the labels that ``fit`` gets are the only ones the
    model sees. ``cross_val_predict``, ``GridSearchCV`` (parameters ``classifier__hidden`` and the
    like) and cleanlab's ``CleanLearning`` run on it.

    Args:
        classifier: A ``NodeClassifier`` or anything with ``fit(data, y, mask)`` and
            ``predict_proba(data)``; cloned, never fitted itself.
        data: The graph; shared, not copied, by clones.

    Attributes:
        classes_: The labels that occurred in ``fit``, sorted.
        classifier_: The fitted classifier.

    Example:
        >>> import torch
        >>> from sklearn.model_selection import cross_val_predict
        >>> from torch_geometric.data import Data
        >>> from graphclean.nn import SGC, NodeIdClassifier
        >>> x = torch.eye(2).repeat(10, 1)
        >>> graph = Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long))
        >>> topic = ["cat", "dog"] * 10
        >>> model = NodeIdClassifier(SGC(random_state=0), graph)
        >>> [str(label) for label in cross_val_predict(model, range(20), topic)[:3]]
        ['cat', 'dog', 'cat']
    """

    def __init__(self, classifier: ProbabilisticClassifier, data: Any) -> None:
        self.classifier = classifier
        self.data = data

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on the nodes ``X``.

        Args:
            X: Node ids ``[n]`` or ``[n, 1]``, integers; a repeated id counts as often as it occurs.
            y: Labels ``[n]`` of any sortable kind.
            sample_weight: Weights ``[n]`` >= 0.

        Raises:
            InputError: An id is no node, lengths differ, or a repeated id has two labels.
        """
        ids = self._ids(X)
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        weights = np.ones(len(ids)) if sample_weight is None else np.asarray(sample_weight)
        if not len(ids) == len(codes) == len(weights):
            lengths = f"{len(ids)} ids, {len(codes)} labels, {len(weights)} weights"
            raise InputError("X", lengths, "Pass one label and one weight per id.")
        target = torch.full((self.data.num_nodes,), -1, dtype=torch.long)
        target[ids] = torch.as_tensor(codes.reshape(-1))
        if not np.array_equal(target[ids].numpy(), codes.reshape(-1)):
            raise InputError("y", "two labels for one id", "Give a repeated id one label.")
        total = np.zeros(len(target))
        np.add.at(total, ids, weights)
        sampled = sample_weight is not None or len(np.unique(ids)) < len(ids)
        self.classifier_ = clone(self.classifier, safe=False)
        self.classifier_.fit(
            self._graph(target),
            y=target,
            mask=target >= 0,
            sample_weight=torch.from_numpy(total).float() if sampled else None,
        )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities of the nodes ``X``: ``[n, len(classes_)]``."""
        check_is_fitted(self, "classifier_")
        unlabelled = torch.full((self.data.num_nodes,), -1, dtype=torch.long)
        probs = torch.as_tensor(self.classifier_.predict_proba(self._graph(unlabelled)))
        rows: np.ndarray = probs.numpy()[self._ids(X)]
        return rows

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of the nodes ``X``: ``[n]``."""
        labels: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def __sklearn_clone__(self) -> Self:
        return type(self)(clone(self.classifier, safe=False), self.data)

    def _graph(self, target: torch.Tensor) -> Any:
        view = copy.copy(self.data)
        view.y = target
        view.class_names = [str(label) for label in self.classes_]
        return view

    def _ids(self, X: Any) -> np.ndarray:
        ids = np.array(X)
        ids = ids.reshape(-1) if ids.ndim == 2 and ids.shape[1] == 1 else ids
        if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
            shown = f"{ids.dtype} of shape {ids.shape}"
            raise InputError("X", shown, "Pass integer node ids, [n] or [n, 1].")
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.data.num_nodes:
            raise InputError(
                "X",
                f"ids {ids.min()} to {ids.max()}",
                f"The nodes are 0 to {self.data.num_nodes - 1}.",
            )
        return ids
