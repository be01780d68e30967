"""The base learner of a detector: the user's, or the default for a graph of this size."""

from __future__ import annotations

from typing import Any

from graphclean.data import labelled_mask
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.mlp import MLP
from graphclean.nn.sign import SIGN
from graphclean.types import InputError, ProbabilisticClassifier

LARGE_NODES = 100_000
LARGE_EDGES = 2_000_000
"""Above either, counting an undirected edge twice, the defaults train in mini-batches."""

_BATCH = 4096
_STEPS = 1500
"""Gradient steps that a mini-batch learner gets, about, whatever the size of the graph."""


def is_large(graph: Any) -> bool:
    """Return whether full-batch training would take hours: the defaults then use mini-batches."""
    return int(graph.num_nodes) > LARGE_NODES or int(graph.edge_index.shape[1]) > LARGE_EDGES


def default_classifier(graph: Any = None) -> NodeClassifier:
    """Return the default base learner: SIGN, which propagates the features once.

    It reads features and structure apart, so it does not fail where neighbours differ (see
    ``docs/results/detection_default.md``), and trains in mini-batches on a large graph.

    Args:
        graph: The graph to be judged; None stands for one that is not large.
    """
    batches: dict[str, Any] = {"epochs": 100}
    if graph is not None and is_large(graph):
        batches = {"epochs": _epochs(graph), "batch_size": _BATCH}
    return SIGN(hops=2, val_fraction=0.0, patience=None, feature_norm="auto", **batches)


def feature_view_classifier(graph: Any) -> NodeClassifier:
    """Return the learner that reads features and no edges: an MLP."""
    settings: dict[str, Any] = {"epochs": 100}
    if is_large(graph):
        settings = {"epochs": min(_epochs(graph), 100), "batch_size": _BATCH}
    return MLP(val_fraction=0.0, patience=None, feature_norm="auto", **settings)


def _epochs(graph: Any) -> int:
    """Return the passes over the labelled nodes that make about ``_STEPS`` steps: 5 to 200."""
    per_epoch = -(-int(labelled_mask(graph).sum()) // _BATCH)
    return min(max(_STEPS // max(per_epoch, 1), 5), 200)


def resolve_classifier(classifier: Any, graph: Any) -> ProbabilisticClassifier:
    """Return the classifier for None (the default), a registered name or an instance.

    Raises:
        InputError: It is none of these.
    """
    if classifier is None:
        return default_classifier(graph)
    if isinstance(classifier, str):
        return NodeClassifier.create(classifier)
    if isinstance(classifier, ProbabilisticClassifier) and not isinstance(classifier, type):
        return classifier
    raise InputError(
        "classifier", repr(classifier), "Pass a registered name or a fit/predict_proba object."
    )
