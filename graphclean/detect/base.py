"""The contract of every mislabel detector."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from graphclean.data import check, class_names, labelled_mask, node_ids
from graphclean.issues import LabelIssues, NoiseRate
from graphclean.nn.crossfit import OutOfFold
from graphclean.sparse import Propagator, local_homophily
from graphclean.types import InputError, Registered


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a detector concludes about the judged nodes; rows of other nodes are not read.

    Attributes:
        judged: Nodes that were judged ``[N]``, bool; a subset of the labelled ones.
        label_quality: ``[N]``, float64 in [0, 1], low = bad.
        is_label_issue: ``[N]``, bool.
        class_probs: Probability of every class being the true one ``[N, C]``, float64.
        pred_probs: What the classifier predicts ``[N, C]``, before the given label is considered.
        noise_rate: Estimated share of wrong labels among the judged nodes.
        transition: Estimated ``T[i, j] = Pr(given = j | true = i)`` ``[C, C]``, or None.
        evidence: Further per-node columns ``[N]`` by name.
        meta: Facts about the run for ``LabelIssues.meta``.
    """

    judged: Tensor
    label_quality: np.ndarray
    is_label_issue: np.ndarray
    class_probs: np.ndarray
    pred_probs: np.ndarray
    noise_rate: NoiseRate
    transition: np.ndarray | None = None
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


class Detector(Registered, BaseEstimator, ABC, family="detector"):  # type: ignore[misc]
    """Judges the given labels of a graph; a subclass with a ``name`` registers itself.

    Attributes:
        label_quality_: ``[N]``, float64 in [0, 1], low = bad; NaN where no label was judged.
        is_label_issue_: ``[N]``, bool.
        suggested_label_: Most probable true class ``[N]``, int64; for a flagged node never the
            given one; -1 where no label was judged.
        noise_rate_: Estimated share of wrong labels, with an interval.
        transition_: Estimated ``T[i, j] = Pr(given = j | true = i)`` ``[C, C]``, or None.
    """

    calibrated: ClassVar[bool] = False
    """Whether 1 - label_quality is a probability of being mislabelled rather than a rank."""

    reads_probs: ClassVar[bool] = True
    """Whether ``fit`` takes the user's own probabilities; the others read the graph alone."""

    reads_views: ClassVar[bool] = False
    """Whether ``fit`` takes a list of ``OutOfFold``: several learners on the same folds."""

    judges_in_sample: ClassVar[bool] = False
    """Whether the model that judges a node was trained on its given label, as the training
    dynamics of a method demand; every other detector keeps a node's label out of its evidence."""

    def fit(self, data: Any, pred_probs: Any = None) -> Self:
        """Judge every labelled node of ``data``.

        Args:
            data: PyG ``Data``; ``y`` holds the given labels, -1 for unlabelled nodes. It is
                checked and copied, never changed. ``y_clean`` and ``noise_mask`` are not read.
            pred_probs: Your own out-of-sample class probabilities ``[N, C]``, or an
                ``OutOfFold``, in place of the detector's classifier; for a detector that reads
                views also a list of ``OutOfFold`` on the same folds.

        Raises:
            InputError: The graph or the probabilities do not fit, or the detector reads none.
        """
        if pred_probs is not None and not self.reads_probs:
            raise InputError(
                "pred_probs", "given", f"{self.name} does not read probabilities: leave it out."
            )
        graph = check(data)
        for key in ("y_clean", "noise_mask", "noise_transition", "noise_eligible", "noise_rate"):
            if key in graph:
                del graph[key]
        index = _index(graph)
        verdict = self._judge(graph, self._checked(pred_probs, graph))
        judged = verdict.judged.numpy()
        self.label_quality_ = np.where(judged, verdict.label_quality, np.nan)
        self.is_label_issue_ = judged & verdict.is_label_issue
        suggestions = _suggest(graph.y.numpy(), verdict)
        self.suggested_label_ = np.where(judged, suggestions.label, -1)
        self.noise_rate_ = verdict.noise_rate
        self.transition_ = verdict.transition
        self._issues = self._collect(graph, index, verdict, suggestions)
        return self

    def find_label_issues(self) -> LabelIssues:
        """Return the judgement as ``LabelIssues``, one row per judged node."""
        check_is_fitted(self, "label_quality_")
        return self._issues

    def _checked(self, pred_probs: Any, graph: Any) -> Any:
        """Return the probabilities, or the list of views, checked."""
        if not is_views(pred_probs):
            return checked_probs(pred_probs, graph)
        if not self.reads_views and len(pred_probs) > 1:
            raise InputError(
                "pred_probs",
                f"a list of {len(pred_probs)} OutOfFold",
                f"{self.name} reads the predictions of one learner: pass one OutOfFold.",
            )
        views = [checked_probs(view, graph) for view in pred_probs]
        if any(not torch.equal(view.fold, pred_probs[0].fold) for view in pred_probs):
            raise InputError(
                "pred_probs", "a list on different folds", "Make them by cross_fit(folds=...)."
            )
        return views if self.reads_views else views[0]

    @abstractmethod
    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        """Judge the labelled nodes of a checked graph."""

    def _collect(
        self,
        graph: Any,
        index: pd.Index,
        verdict: Verdict,
        suggestions: _Suggestions,
    ) -> LabelIssues:
        names = class_names(graph)
        rows = np.flatnonzero(verdict.judged.numpy())
        named = np.asarray(names, dtype=object)
        quality = verdict.label_quality[rows]
        columns: dict[str, Any] = {
            "node": rows,
            "is_label_issue": verdict.is_label_issue[rows],
            "label_quality": quality,
            "mislabel_probability": 1.0 - quality,
            "given_label": named[graph.y.numpy()[rows]],
            "predicted_label": named[verdict.pred_probs[rows].argmax(axis=1)],
            "suggested_label": named[suggestions.label[rows]],
            "suggestion_confidence": suggestions.confidence[rows],
            "alternative_label": named[suggestions.alternative[rows]],
            "alternative_confidence": suggestions.alternative_confidence[rows],
            "given_confidence": suggestions.given_confidence[rows],
        }
        evidence = {**neighbour_columns(graph), **verdict.evidence}
        columns |= {name: values[rows] for name, values in evidence.items()}
        return LabelIssues(
            frame=pd.DataFrame(columns, index=index[rows]),
            class_names=tuple(names),
            noise_rate=verdict.noise_rate,
            transition=verdict.transition,
            meta=self._meta(graph) | verdict.meta,
        )

    def _meta(self, graph: Any) -> dict[str, Any]:
        params = self.get_params(deep=False)
        name = getattr(graph, "name", None)
        packages = ("graphclean", "torch", "torch-geometric", "scikit-learn", "cleanlab")
        return {
            "detector": self.name,
            "num_nodes": int(graph.num_nodes),
            "params": {k: _plain(v) for k, v in params.items() if k not in ("n_jobs", "progress")},
            "seed": params.get("random_state"),
            "dataset": None if name is None else str(name),
            "calibrated": self.calibrated,
            "notes": list(graph.check_notes),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }


def checked_probs(pred_probs: Any, graph: Any) -> Tensor | OutOfFold | None:
    """Return probabilities ``[N, C]`` as float64 rows summing to one, or raise InputError.

    An ``OutOfFold`` is checked and returned as it is.
    """
    if pred_probs is None:
        return None
    given = pred_probs.pred_probs if isinstance(pred_probs, OutOfFold) else pred_probs
    try:
        probs = given if isinstance(given, Tensor) else torch.tensor(np.array(given, dtype=float))
    except (TypeError, ValueError) as error:
        raise InputError("pred_probs", type(given).__name__, "Pass numbers [N, C].") from error
    probs = probs.detach().cpu().double()
    shape = (int(graph.num_nodes), len(class_names(graph)))
    if tuple(probs.shape) != shape:
        raise InputError(
            "pred_probs",
            f"shape {tuple(probs.shape)}",
            f"Pass one row per node and one column per class: {shape}.",
        )
    rows = probs[labelled_mask(graph)]
    sums = rows.sum(dim=1)
    if not bool(torch.isfinite(rows).all() and (rows >= 0).all() and (sums - 1).abs().max() < 1e-3):
        raise InputError(
            "pred_probs",
            "a labelled node's row is not a probability distribution",
            "Pass softmax probabilities: finite, non-negative, each row summing to one.",
        )
    if isinstance(pred_probs, OutOfFold):
        return pred_probs
    return torch.nan_to_num(probs) / torch.nan_to_num(probs).sum(dim=1, keepdim=True).clamp_min(
        1e-12
    )


def is_views(pred_probs: Any) -> bool:
    """Return whether these are several learners' ``OutOfFold`` rather than numbers."""
    return (
        isinstance(pred_probs, (list, tuple))
        and len(pred_probs) > 0
        and all(isinstance(view, OutOfFold) for view in pred_probs)
    )


def neighbour_columns(graph: Any) -> dict[str, np.ndarray]:
    """Return each node's degree and the share of its labelled neighbours that carry its label."""
    counted = Propagator.from_data(graph, norm="none", dtype=torch.float64)
    return {
        "degree": counted.adjacency.degree,
        "neighbour_agreement": local_homophily(counted, graph.y).numpy(),
    }


def _index(graph: Any) -> pd.Index:
    """Return the node ids as the index of the issues, or raise InputError."""
    ids = [i.item() if isinstance(i, Tensor) else i for i in node_ids(graph)]
    index = pd.Index(ids, name="node_id")
    if not index.is_unique or pd.api.types.infer_dtype(ids) not in ("integer", "string"):
        twice = index[index.duplicated()]
        raise InputError(
            "node_ids",
            f"{twice[0]!r} appears twice" if len(twice) else f"ids such as {ids[0]!r}",
            "Give every node an id of its own: all integers or all strings.",
        )
    return index


@dataclass(frozen=True, eq=False)
class _Suggestions:
    """What every node should be ``[N]``, with what setting other flags takes (see ``flagged``)."""

    label: np.ndarray
    confidence: np.ndarray
    alternative: np.ndarray
    alternative_confidence: np.ndarray
    given_confidence: np.ndarray


def _suggest(y: np.ndarray, verdict: Verdict) -> _Suggestions:
    probs, rows, given = verdict.class_probs, np.arange(len(y)), np.maximum(y, 0)
    others = probs.copy()
    others[rows, given] = -1.0
    alternative = others.argmax(axis=1)
    label = np.where(verdict.is_label_issue, alternative, probs.argmax(axis=1))

    def confidence(of: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(probs[rows, of], 0.0, 1.0))

    return _Suggestions(
        label, confidence(label), alternative, confidence(alternative), confidence(given)
    )


def _plain(value: Any) -> Any:
    """Return a parameter as JSON can hold it, the same in every run: no memory addresses."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, BaseEstimator):
        changed = {key: _plain(item) for key, item in value.get_params(deep=False).items()}
        return {"class": type(value).__name__, **changed}
    text = repr(value)
    if callable(value) or " at 0x" in text:
        return getattr(value, "__name__", type(value).__name__)
    return text
