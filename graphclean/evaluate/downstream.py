"""What a repair is worth to a model: retrained on the repaired labels, scored on held-out ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.metrics import f1_score
from torch import Tensor
from torch_geometric.data import Data

from graphclean.denoise import ACTIONS, clean
from graphclean.detect.base_learner import resolve_classifier
from graphclean.evaluate.arrays import mask_array
from graphclean.evaluate.metrics import label_accuracy
from graphclean.evaluate.truth import true_labels
from graphclean.issues import LabelIssues
from graphclean.types import InputError, Seed, numpy_rng

_INPUTS = ("x", "edge_index", "edge_weight", "edge_attr", "node_frame")
_NAN = float("nan")


def downstream_accuracy(
    data: Any,
    repaired: Any,
    classifier: Any = None,
    *,
    test_mask: Any,
    train_mask: Any = None,
    random_state: Seed = 0,
) -> dict[str, float]:
    """Train a classifier on repaired labels and score it on held-out nodes.

    The classifier sees the features, the edges and the labels of its training rows: soft ones
    where ``repaired`` has ``y_soft``, else ``y``, weighed by ``sample_weight`` where it has that.
    No label of a test node, given, repaired or true, reaches it.

    Args:
        data: The graph before the repair, with ``y`` (given labels) and ``y_clean`` (true ones)
            ``[N]``, integers, -1 = unknown.
        repaired: The graph after it, as `clean` returns it; ``data`` itself for no repair.
        classifier: A registered name or anything with ``fit`` and ``predict_proba``; it is cloned.
            None: the default base learner.
        test_mask: Nodes to score on ``[N]``, bool.
        train_mask: Nodes to train on ``[N]``, bool; test nodes and those without a label do not
            count. None: ``repaired.train_mask`` if it is ``[N]``, else all.
        random_state: Seed of the classifier.

    Returns:
        ``train`` and ``test`` (numbers of nodes), ``train_label_accuracy`` (of the hard labels
        trained on, where the truth is known), and over the test nodes that have such a label
        ``accuracy_clean``, ``macro_f1_clean``, ``accuracy_given``, ``macro_f1_given``; the mean F1
        is over the classes that occur among labels or predictions. NaN without such a node.

    Raises:
        InputError: A mask or label does not fit, or no labelled node is left to train on.
    """
    truth, given = true_labels(data), _labels("data", data)
    size = len(given)
    repaired_y = _labels("repaired", repaired)
    for argument, found in (("y_clean", truth), ("repaired", repaired_y)):
        if len(found) != size:
            raise InputError(argument, f"{len(found)} labels", f"Pass {size}, as data.y has.")
    test = mask_array("test_mask", test_mask, size)
    train = _train_rows(repaired, train_mask, size) & ~test
    soft, weight = (_rows(repaired, key, size) for key in ("y_soft", "sample_weight"))
    target = torch.from_numpy(repaired_y) if soft is None else soft
    target[torch.from_numpy(~train)] = -1 if soft is None else 0.0
    usable = target >= 0 if soft is None else target.sum(dim=1) > 0
    if weight is not None:
        weight[torch.from_numpy(~train)] = 0.0
        usable = usable & (weight > 0)
    if not bool(usable.any()):
        raise InputError("train_mask", "no labelled node to train on", "Select at least one.")
    hard = torch.where(usable, target if soft is None else target.argmax(dim=1), -1)
    predicted = _predict(data, hard, target, usable, weight, classifier, random_state)
    return {
        "train": int(usable.sum()),
        "test": int(test.sum()),
        "train_label_accuracy": label_accuracy(hard.numpy(), truth),
        **_scores(predicted, truth, test, "clean"),
        **_scores(predicted, given, test, "given"),
    }


def compare_repairs(
    data: Any,
    issues: LabelIssues,
    actions: Sequence[str] = ACTIONS,
    classifier: Any = None,
    *,
    test_mask: Any,
    train_mask: Any = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> pd.DataFrame:
    """Compare the repairs of a graph by what a model learns from them.

    Beside the actions stand three references: training on the ``given`` labels, on the true ones
    (``oracle``), and on the given ones without as many ``random`` training nodes as ``drop``
    takes out, which is what dropping blindly costs.

    The classifier never sees a label of a test node, but issues may: where the detector was
    shown the given labels of test nodes, they have had a say in the repair of the training nodes.
    ``judged_test`` counts these nodes. For a strict separation find the issues on a copy of the
    graph with ``y = -1`` on them, and the count is 0.

    Args:
        data: The graph that the issues were found on, with ``y_clean`` ``[N]``; the ``y`` of nodes
            that were not judged may differ.
        issues: The label issues.
        actions: Actions of `clean`, with their default gates.
        classifier: As in `downstream_accuracy`.
        test_mask: Nodes to score on ``[N]``, bool.
        train_mask: Nodes to train on ``[N]``, bool. None: ``data.train_mask`` if it is ``[N]``,
            else all but the test nodes.
        seeds: One fit a seed, of the classifier and of the nodes removed at random.

    Returns:
        One row for each of ``"given"``, ``"oracle"``, ``"random"`` and the actions, by seed:
        ``repair``, ``seed``, ``judged_test`` and the scores of `downstream_accuracy`.

    Raises:
        InputError: As for `downstream_accuracy` and `clean`; no seed; an action twice.
    """
    chosen = [actions] if isinstance(actions, str) else list(actions)
    if len(set(chosen)) < len(chosen):
        raise InputError("actions", chosen, "Name each action once.")
    if not len(seeds):
        raise InputError("seeds", seeds, "Pass at least one seed.")
    test = mask_array("test_mask", test_mask, len(_labels("data", data)))
    train = _train_rows(data, train_mask, len(test)) & ~test
    judged_test = int(test[issues.frame["node"].to_numpy()].sum())
    dropped = clean(data, issues, "drop")
    repairs = {action: clean(data, issues, action) for action in chosen}
    rows = []
    for seed in seeds:
        candidates = {
            "given": _relabelled(data, torch.as_tensor(data.y)),
            "oracle": _relabelled(data, _true_where_labelled(data)),
            "random": _without_random(data, dropped, train, seed),
            **repairs,
        }
        for name, graph in candidates.items():
            scores = downstream_accuracy(
                data, graph, classifier, test_mask=test, train_mask=train, random_state=seed
            )
            rows.append({"repair": name, "seed": seed, "judged_test": judged_test, **scores})
    return pd.DataFrame(rows)


def _predict(
    data: Any,
    hard: Tensor,
    target: Tensor,
    usable: Tensor,
    weight: Tensor | None,
    classifier: Any,
    random_state: Seed,
) -> np.ndarray:
    # Only what a model may read, so that no other attribute brings in a label.
    view = Data(**{key: data[key] for key in _INPUTS if key in data}, num_nodes=len(hard))
    view.y = hard
    if getattr(data, "class_names", None) is not None:
        view.class_names = list(data.class_names)
    model = clone(resolve_classifier(classifier, view), safe=False)
    if hasattr(model, "get_params") and "random_state" in model.get_params(deep=False):
        model.set_params(random_state=random_state)
    options = {} if weight is None else {"sample_weight": weight}
    model.fit(view, y=target, mask=usable, **options)
    predicted: np.ndarray = torch.as_tensor(model.predict_proba(view)).argmax(dim=1).numpy()
    return predicted


def _scores(
    predicted: np.ndarray, labels: np.ndarray, test: np.ndarray, name: str
) -> dict[str, float]:
    rows = test & (labels >= 0)
    if not rows.any():
        return {f"accuracy_{name}": _NAN, f"macro_f1_{name}": _NAN}
    f1 = f1_score(labels[rows], predicted[rows], average="macro", zero_division=0.0)
    return {
        f"accuracy_{name}": float((labels[rows] == predicted[rows]).mean()),
        f"macro_f1_{name}": float(f1),
    }


def _train_rows(graph: Any, train_mask: Any, size: int) -> np.ndarray:
    if train_mask is None:
        own = getattr(graph, "train_mask", None)
        if own is None or torch.as_tensor(own).dim() != 1:
            return np.ones(size, dtype=bool)
        train_mask = own
    return mask_array("train_mask", train_mask, size)


def _labels(argument: str, graph: Any) -> np.ndarray:
    y = getattr(graph, "y", None)
    if y is None:
        raise InputError(argument, "a graph without y", "Set y (long [N], -1 = unlabelled).")
    labels: np.ndarray = torch.as_tensor(y).detach().cpu().view(-1).long().numpy().copy()
    return labels


def _rows(graph: Any, key: str, size: int) -> Tensor | None:
    """Return a copy of ``y_soft`` or ``sample_weight``, None where the graph has none."""
    values = getattr(graph, key, None)
    if values is None:
        return None
    found = torch.as_tensor(values).detach().cpu().clone()
    if found.dim() != (2 if key == "y_soft" else 1) or len(found) != size:
        raise InputError(key, f"shape {list(found.shape)}", f"Pass one row for each of {size}.")
    return found


def _relabelled(data: Any, y: Tensor) -> Any:
    graph = copy.copy(data)
    for key in ("y_soft", "sample_weight"):
        if key in graph:
            del graph[key]
    graph.y = y
    return graph


def _true_where_labelled(data: Any) -> Tensor:
    truth = torch.from_numpy(true_labels(data))
    return torch.where(torch.as_tensor(data.y).cpu().view(-1) >= 0, truth, -1)


def _without_random(data: Any, dropped: Any, train: np.ndarray, seed: int) -> Any:
    given, left = _labels("data", data), _labels("data", dropped)
    candidates = np.flatnonzero(train & (given >= 0))
    count = int((left[candidates] < 0).sum())
    y = given.copy()
    y[numpy_rng(seed).choice(candidates, count, replace=False)] = -1
    return _relabelled(data, torch.from_numpy(y))
