"""Detectors that read nothing but out-of-sample class probabilities."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.base_learner import is_large, resolve_classifier
from graphclean.issues import NoiseRate
from graphclean.nn.crossfit import OutOfFold, cross_fit
from graphclean.nn.params import estimator
from graphclean.stages import stage
from graphclean.types import InputError, Seed

Z90 = 1.6448536269514722
"""Normal quantile of a two-sided 90 % interval."""


@estimator
class OutOfFoldDetector(Detector):
    """Base of the detectors that start from out-of-fold probabilities.

    Args:
        classifier: Base learner: a ``NodeClassifier`` or its registered name; None for the default.
        n_folds: Folds of the out-of-fold probabilities.
        n_repeats: Repeats of the folds, averaged.
        random_state: Seed of folds and fits.
        n_jobs: Processes for the folds; -1 for all cores. It does not change the result.
        progress: Whether to show a progress bar over the folds.
    """

    classifier: Any = None
    n_folds: int = 5
    n_repeats: int = 1
    random_state: Seed = 0
    n_jobs: int | None = 1
    progress: bool = False

    def _out_of_fold(self, graph: Any) -> OutOfFold:
        classifier = resolve_classifier(self.classifier, graph)
        if self.classifier is None and is_large(graph):
            graph.check_notes.append(
                f"large graph: the base learner is {type(classifier).__name__} in mini-batches "
                "(name a classifier to choose another)"
            )
        with stage("Out-of-fold predictions"):
            return cross_fit(
                classifier,
                graph,
                n_folds=self._folds_of(graph),
                n_repeats=self.n_repeats,
                random_state=self.random_state,
                n_jobs=self.n_jobs,
                progress=self.progress,
            )

    def _folds_of(self, graph: Any) -> int:
        """Return ``n_folds``, or the number of labelled nodes where these are fewer."""
        if not isinstance(self.n_folds, Integral) or self.n_folds < 2:
            raise InputError("n_folds", self.n_folds, "Pass an integer >= 2.")
        return min(int(self.n_folds), int(labelled_mask(graph).sum()))


class ProbabilityDetector(OutOfFoldDetector):
    """Base of the detectors that read nothing but the probabilities of the labelled rows."""

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        source = self._out_of_fold(graph) if pred_probs is None else pred_probs
        probs = source.pred_probs if isinstance(source, OutOfFold) else source
        judged = labelled_mask(graph)
        y, rows = graph.y[judged].numpy(), probs[judged].double().numpy()
        rows = rows / rows.sum(axis=1, keepdims=True)
        quality, issue, expected, transition = self._score(y, rows)
        full = torch.full(probs.shape, 1.0 / probs.shape[1], dtype=torch.float64).numpy()
        full[judged.numpy()] = rows
        return Verdict(
            judged=judged,
            label_quality=_spread(quality, judged, 1.0),
            is_label_issue=_spread(issue, judged, False),
            class_probs=full,
            pred_probs=full,
            noise_rate=binomial_rate(expected, len(y)),
            transition=transition,
            meta={"transition_mixes_confusion": transition is not None},
        )

    @abstractmethod
    def _score(
        self, y: np.ndarray, probs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        """Return quality, issue mask, expected number of issues and T for the labelled rows."""


def binomial_rate(wrong: float, total: int) -> NoiseRate:
    """Return the rate ``wrong / total`` with its 90 % Wilson interval (Wilson 1927)."""
    z = Z90
    share = min(max(wrong / total, 0.0), 1.0)
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return NoiseRate(share, min(low, share), max(high, share), 0.90)


def _spread(values: np.ndarray, judged: Tensor, fill: Any) -> np.ndarray:
    full = np.full(len(judged), fill, dtype=values.dtype)
    full[judged.numpy()] = values
    return full
