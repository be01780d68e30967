"""The family of transition estimators: what every estimate of T reads and gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.optimize import nnls
from sklearn.base import BaseEstimator
from torch import Tensor

from graphclean.data import check, num_classes
from graphclean.noise.confusion import check_probabilities
from graphclean.types import InputError, Registered

_TRUTH = ("y_clean", "noise_mask", "noise_transition", "noise_eligible", "noise_rate")
"""What only an evaluation may read."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What an estimator may look at, its classes numbered without gaps.

    Attributes:
        graph: Checked ``Data``; read its edges and features, and the labels from ``y``.
        y: Given labels ``[N]``, long, in [0, K), -1 = unlabelled.
        classes: Class id in the graph of each of the K classes ``[K]``, long.
        pred_probs: Out-of-sample probabilities ``[N, K]``, float64, rows sum to one; rows of
            unlabelled nodes are uniform. None for an estimator that reads none.
    """

    graph: Any
    y: Tensor
    classes: Tensor
    pred_probs: Tensor | None

    @property
    def labelled(self) -> tuple[np.ndarray, np.ndarray]:
        """Given labels ``[M]`` and probabilities ``[M, K]`` of the labelled nodes."""
        assert self.pred_probs is not None
        known = self.y >= 0
        return self.y[known].numpy(), self.pred_probs[known].numpy()

    @property
    def given_share(self) -> np.ndarray:
        """Share of every class among the given labels ``[K]``, float64."""
        counts = np.bincount(self.y[self.y >= 0].numpy(), minlength=len(self.classes))
        return np.asarray(counts / max(counts.sum(), 1), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an estimator found for K classes.

    Attributes:
        transition: ``T[i, j] = Pr(given = j | true = i)`` ``[K, K]``, float64.
        prior: ``Pr(true = i)`` ``[K]``, float64.
        standard_error: Of every entry of T ``[K, K]``, or None.
    """

    transition: np.ndarray
    prior: np.ndarray
    standard_error: np.ndarray | None = None


class TransitionEstimator(Registered, BaseEstimator, ABC, family="transition"):  # type: ignore[misc]
    r"""Estimates how labels go wrong; a subclass with a ``name`` registers itself.

    Attributes:
        transition_: ``T[i, j] = Pr(given = j | true = i)`` ``[C, C]``, float64, rows sum to one; a
            class that nobody carries has the row of the identity.
        class_prior_: ``Pr(true = i)`` of the labelled nodes ``[C]``, float64, sums to one.
        standard_error_: Standard error of every entry of T ``[C, C]``, or None; NaN in the rows of
            classes that nothing is known about.
        credibility_: :math:`1 - \|T - I\|_F / \sqrt{2C}`, in [0, 1]; 1 for labels without noise.
    """

    reads_probs: ClassVar[bool] = False
    """Whether ``fit`` needs out-of-sample probabilities; the others refuse them."""

    def fit(self, data: Any, pred_probs: Any = None) -> Self:
        """Estimate T from the given labels of ``data``.

        Args:
            data: PyG ``Data``; ``y`` holds the given labels, -1 for unlabelled nodes. It is checked
                and copied, never changed. ``y_clean`` and ``noise_mask`` are not read.
            pred_probs: Out-of-sample class probabilities ``[N, C]`` (or an ``OutOfFold``), for the
                estimators that read them.

        Raises:
            InputError: The graph, the probabilities or a parameter does not fit.
        """
        graph = check(data)
        for key in _TRUTH:
            if key in graph:
                del graph[key]
        total = num_classes(graph)
        probs = self._checked_probs(pred_probs, graph, total)
        self._check_params(graph)
        classes = self._classes(graph)
        found = self._estimate(_observed(graph, classes, probs, total))
        self._store(found, classes.numpy(), total)
        return self

    def _checked_probs(self, given: Any, graph: Any, total: int) -> Tensor | None:
        if not self.reads_probs:
            if given is not None:
                raise InputError(
                    "pred_probs", "given", f"{self.name} does not read probabilities: leave it out."
                )
            return None
        if given is None:
            raise InputError(
                "pred_probs",
                "missing",
                f"{self.name} reads out-of-sample class probabilities [N, C]: "
                "graphclean.nn.cross_fit makes them.",
            )
        given = getattr(given, "pred_probs", given)
        try:
            probs = torch.as_tensor(given).detach().cpu().double()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError("pred_probs", type(given).__name__, "Pass numbers [N, C].") from error
        check_probabilities(probs, graph.y, total)
        return probs

    def _check_params(self, graph: Any) -> None:
        """Raise InputError for a parameter outside its range."""

    def _classes(self, graph: Any) -> Tensor:
        """Return the classes that T is estimated for, sorted; the others keep their labels."""
        classes: Tensor = torch.unique(graph.y[graph.y >= 0])
        return classes

    @abstractmethod
    def _estimate(self, observed: Observed) -> Estimate:
        """Return T and the class prior of the observed classes."""

    def _store(self, found: Estimate, classes: np.ndarray, total: int) -> None:
        transition = spread(row_normalised(found.transition), classes, total)
        prior = np.zeros(total)
        prior[classes] = found.prior / found.prior.sum()
        self.transition_, self.class_prior_ = transition, prior
        self.standard_error_ = None
        if found.standard_error is not None:
            error = spread(found.standard_error, classes, total, absent=np.nan)
            error[np.isnan(error).any(axis=1)] = np.nan
            self.standard_error_ = error
        self.credibility_ = credibility(transition)


def spread(
    block: np.ndarray, classes: np.ndarray, total: int, absent: float | None = None
) -> np.ndarray:
    """Return ``block`` ``[K, K]`` of some classes as a matrix of all ``[C, C]``.

    Args:
        block: A matrix of the classes in ``classes``.
        classes: Their ids ``[K]``.
        total: C.
        absent: What the rows of the other classes hold; None for those of the identity.
    """
    full = np.zeros((total, total))
    others = np.setdiff1d(np.arange(total), classes)
    full[others] = np.eye(total)[others] if absent is None else absent
    full[np.ix_(classes, classes)] = block
    return full


def row_normalised(weights: np.ndarray) -> np.ndarray:
    """Return non-negative weights ``[K, K]`` with rows that sum to one; an empty row keeps i."""
    rows = np.clip(np.asarray(weights, dtype=np.float64), 0.0, None)
    total = rows.sum(axis=1, keepdims=True)
    return np.where(total > 0, rows / np.where(total > 0, total, 1.0), np.eye(len(rows)))


def credibility(transition: np.ndarray) -> float:
    r"""Return :math:`1 - \|T - I\|_F / \sqrt{2C}`, in [0, 1] (https://arxiv.org/abs/2311.11202)."""
    classes = len(transition)
    return float(1.0 - np.linalg.norm(transition - np.eye(classes)) / np.sqrt(2.0 * classes))


def true_prior(transition: np.ndarray, given_share: np.ndarray) -> np.ndarray:
    r"""Return the prior :math:`\pi \ge 0` with :math:`T^\top \pi` nearest to the given shares.

    Args:
        transition: T ``[K, K]``.
        given_share: Share of every class among the given labels ``[K]``.

    Returns:
        ``[K]``, float64, sums to one.
    """
    prior, _ = nnls(transition.T, given_share)
    return np.asarray(prior / prior.sum(), dtype=np.float64)


def _observed(graph: Any, classes: Tensor, probs: Tensor | None, total: int) -> Observed:
    number = torch.full((total + 1,), -1)  # the last entry is what label -1 looks up
    number[classes] = torch.arange(len(classes))
    y = number[graph.y]
    if probs is not None:
        rows = torch.nan_to_num(probs[:, classes]).masked_fill((y < 0).unsqueeze(1), 0.0)
        mass = rows.sum(dim=1, keepdim=True)
        probs = torch.where(mass > 0, rows / mass.clamp_min(1e-300), 1.0 / len(classes))
    return Observed(graph, y, classes, probs)
