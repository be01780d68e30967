"""Neighbours as views with an emission of their own: T without charging heterophily to noise."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np

from graphclean.data import num_classes
from graphclean.noise.estimator import Estimate, Observed, TransitionEstimator, spread
from graphclean.noise.neighbour_triples import checked_triples, graph_triples
from graphclean.types import InputError

_GUARD = 1e-12
_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class LatentClasses:
    """Parameters of the latent class model for K classes, float64.

    Attributes:
        transition: ``T[i, a] = Pr(given = a | true = i)`` ``[K, K]``.
        emission: ``M[i, b] = Pr(a neighbour's given label = b | true = i)`` ``[K, K]``.
        prior: ``Pr(true = i)`` ``[K]``.
        n_iter: Iterations until the likelihood stood still.
    """

    transition: np.ndarray
    emission: np.ndarray
    prior: np.ndarray
    n_iter: int


def latent_classes(triples: np.ndarray, max_iter: int = 500) -> LatentClasses:
    r"""Fit the three-view latent class model by expectation maximisation.

    .. math::
        R[i \mid a, b, c] \propto \pi_i\, T_{ia} M_{ib} M_{ic}

    The node's own label a and those of two neighbours b and c are independent given the node's true
    class i; the neighbours have their own emission M, so an edge between classes is no noise. The
    M-step counts. It begins at :math:`T = .8 I + .2 / K`, which ties the latent classes to the
    labels, and at :math:`M = .9 B + .1 / K` with the shares B of the labels around every label, so
    that neighbours of other classes find their place too; it ends when the mean log-likelihood
    gains less than 1e-10. Three views identify T (Liu et al., https://arxiv.org/abs/2202.02016),
    unless all classes have alike neighbours. A class without a node in the first view gets the rows
    of the identity and the prior 0.

    Args:
        triples: Counts of (own, neighbour, neighbour) ``[K, K, K]``, >= 0.
        max_iter: Most iterations, >= 1.

    Raises:
        InputError: ``max_iter`` is no positive integer.
    """
    if not isinstance(max_iter, Integral) or max_iter < 1:
        raise InputError("max_iter", max_iter, "Pass an integer >= 1.")
    labels = len(triples)
    latent = np.flatnonzero(triples.sum(axis=(1, 2)) > 0)
    views = np.nonzero(triples)
    weight = triples[views] / max(triples.sum(), _GUARD)
    identity = np.eye(labels)
    transition = 0.8 * identity[latent] + 0.2 / labels
    emission = 0.9 * _shares(triples.sum(axis=2)[latent]) + 0.1 / labels
    prior = np.full(len(latent), 1.0 / max(len(latent), 1))
    before, steps = -np.inf, 0
    for _ in range(max_iter if len(latent) else 0):
        own, first, second = (
            matrix.T[view]
            for matrix, view in zip((transition, emission, emission), views, strict=True)
        )
        joint = prior * own * first * second + _GUARD
        likelihood = joint.sum(axis=1)
        expected = joint * (weight / likelihood)[:, None]
        prior = expected.sum(axis=0)
        own, first, second = (_summed(view, expected, labels) for view in views)
        transition, emission = _shares(own), _shares(first + second)
        steps += 1
        now = float(weight @ np.log(likelihood))
        if now - before < _TOLERANCE:
            break
        before = now
    rows = identity.copy(), identity.copy(), np.zeros(labels)
    for full, found in zip(rows, (transition, emission, prior), strict=True):
        full[latent] = found
    return LatentClasses(*rows, steps)


class NeighbourLatentClass(TransitionEstimator):
    r"""T from a label and those of two neighbours, which emit labels in a way of their own.

    The latent class model of ``latent_classes`` on the expected labels of two distinct labelled
    neighbours. Unlike ``HOC`` it does not take neighbours to share the class: heterophily goes to
    the neighbours' emission M, noise to T. Neighbours are taken to be independent given the class;
    communities within a class break that. Nodes with fewer than two labelled neighbours do not
    count; a class without any keeps its labels.

    Args:
        max_iter: Most iterations of the expectation maximisation, >= 1.

    Attributes:
        neighbour_emission_: ``M[i, j] = Pr(a neighbour's given label = j | true = i)`` ``[C, C]``,
            float64, rows sum to one; the identity row for a class that nobody carries.
        n_iter_: Iterations done.

    Raises:
        InputError: On fit: ``max_iter`` is no positive integer, or no labelled node has two
            labelled neighbours.
    """

    name: ClassVar[str] = "neighbour_lca"

    def __init__(self, *, max_iter: int = 500) -> None:
        self.max_iter = max_iter

    def _estimate(self, observed: Observed) -> Estimate:
        classes, total = observed.classes.numpy(), num_classes(observed.graph)
        triples = checked_triples(graph_triples(observed.graph, observed.y, len(classes)))
        found = latent_classes(triples, self.max_iter)
        self.neighbour_emission_ = spread(found.emission, classes, total)
        self.n_iter_ = found.n_iter
        return Estimate(found.transition, found.prior)


def _summed(view: np.ndarray, expected: np.ndarray, labels: int) -> np.ndarray:
    """Return expected counts ``[true, label]`` of the labels ``[U]`` of a view."""
    counts = [expected[view == label].sum(axis=0) for label in range(labels)]
    return np.stack(counts, axis=1)


def _shares(counts: np.ndarray) -> np.ndarray:
    rows: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return rows
