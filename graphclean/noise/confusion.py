"""Confusion-driven label noise: labels go wrong where a classifier finds the classes alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cleanlab.count import compute_confident_joint
from torch import Tensor

from graphclean.noise._out_of_fold import (
    classifier_probabilities,
    propagated_logistic_probabilities,
)
from graphclean.noise._sampling import flip_by_class
from graphclean.noise.base import FixedRateNoise
from graphclean.types import InputError, ProbabilisticClassifier


class ConfusionNoise(FixedRateNoise):
    """A label flips to the classes that out-of-sample predictions confuse with it.

    The flip distribution of class i is the off-diagonal part of ``Pr(given = j | true = i)``,
    estimated by the calibrated confident joint and renormalised; this is GraphCleaner's mislabel
    matrix. A class that is never confidently confused falls back to the mean probability that its
    nodes give to the other classes.

    Li, Xiong, Hooi, "GraphCleaner: Detecting Mislabelled Samples in Popular Graph Learning
    Benchmarks", ICML 2023. Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", JAIR 2021.

    Args:
        rate: Share of nodes to flip in every class, in [0, 1].
        pred_probs: Out-of-sample class probabilities ``[N, C]`` (rows of unlabelled nodes are not
            read), or None.
        classifier: Without ``pred_probs``: a classifier whose copies are fitted in five folds. With
            neither, logistic regression on features propagated up to two hops, in five folds.

    Raises:
        InputError: If both are given; on sampling, if the probabilities do not fit the graph.
    """

    name = "confusion"

    def __init__(
        self,
        rate: float = 0.1,
        pred_probs: Any = None,
        classifier: ProbabilisticClassifier | None = None,
    ) -> None:
        super().__init__(rate)
        if pred_probs is not None and classifier is not None:
            raise InputError("classifier", classifier, "Pass either pred_probs or a classifier.")
        self.pred_probs = pred_probs
        self.classifier = classifier

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if self.pred_probs is not None:
            probabilities = torch.as_tensor(self.pred_probs).detach().cpu().double()
        elif self.classifier is not None:
            probabilities = classifier_probabilities(data, y, self.classifier, generator)
        else:
            probabilities = propagated_logistic_probabilities(data, y, num_classes, generator)
        check_probabilities(probabilities, y, num_classes)
        labelled = y >= 0
        distribution = flip_distribution(y[labelled], probabilities[labelled])
        return flip_by_class(y, nodes, self.rate * distribution, generator)


def flip_distribution(y: Tensor, pred_probs: Tensor) -> Tensor:
    """Return where the wrong labels of each class go, by the confident joint.

    ``R[i, j] = J[j, i] / sum_{k != i} J[k, i]``, ``J[given, true]`` the calibrated confident joint.
    A class without off-diagonal mass takes the mean of ``pred_probs`` over its nodes (over all if
    it has none) without its own column; if that is zero too, all other classes are alike.

    Args:
        y: Given labels ``[M]``, long, in [0, C).
        pred_probs: Out-of-sample probabilities ``[M, C]``, float64.

    Returns:
        Float64 ``[C, C]``, zero diagonal, rows sum to one.
    """
    joint = compute_confident_joint(y.numpy(), pred_probs.numpy())
    rows = torch.from_numpy(np.ascontiguousarray(joint.T)).double()
    rows.fill_diagonal_(0.0)
    for source in torch.nonzero(rows.sum(dim=1) == 0).flatten().tolist():
        members = y == source
        rows[source] = pred_probs[members if bool(members.any()) else slice(None)].mean(dim=0)
        rows[source, source] = 0.0
        if float(rows[source].sum()) == 0.0:
            rows[source] = 1.0
            rows[source, source] = 0.0
    return rows / rows.sum(dim=1, keepdim=True)


def check_probabilities(probabilities: Tensor, y: Tensor, num_classes: int) -> None:
    """Raise InputError unless the labelled rows of ``[N, C]`` are distributions over classes."""
    expected = (len(y), num_classes)
    if tuple(probabilities.shape) != expected:
        raise InputError(
            "pred_probs",
            f"shape {list(probabilities.shape)}",
            f"Pass one row per node and one column per class: {list(expected)}.",
        )
    rows = probabilities[y >= 0]
    if not bool(torch.isfinite(rows).all()) or bool((rows < 0).any()):
        raise InputError("pred_probs", "a negative or non-finite entry", "Pass probabilities.")
    if bool(((rows.sum(dim=1) - 1.0).abs() > 1e-3).any()):
        raise InputError("pred_probs", "a row that does not sum to one", "Normalise the rows.")
