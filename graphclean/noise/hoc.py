"""HOC: T from the agreement of a label with those of two near nodes."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar, Literal

import numpy as np
import torch

from graphclean.noise.estimator import Estimate, Observed, TransitionEstimator
from graphclean.noise.neighbour_triples import checked_triples, graph_triples, knn_triples
from graphclean.types import InputError, Seed

STEPS = 1501
LEARNING_RATE = 0.1


def hoc_transition(
    counts1: np.ndarray, counts2: np.ndarray, counts3: np.ndarray, *, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return T and the class prior whose consensus counts are nearest to the observed ones.

    Points and their two nearest neighbours are taken to share the true class, so that

    .. math::
        c_1[a] = \sum_i \pi_i T_{ia}, \quad
        c_2[a, b] = \sum_i \pi_i T_{ia} T_{ib}, \quad
        c_3[a, b, c] = \sum_i \pi_i T_{ia} T_{ib} T_{ic}

    The sum of the three Frobenius norms of the differences is minimised with Adam (learning rate
    .1) over a row-softmax T that begins at ``softmax(5I - 1)`` and a softmax prior; the best step
    is kept. Float64, no randomness. Paper: Zhu et al., "Clusterability as an Alternative to Anchor
    Points When Learning with Noisy Labels", https://arxiv.org/abs/2102.05291.

    Args:
        counts1: Given labels ``[C]``, >= 0; counts or shares.
        counts2: Labels of a point and its nearest neighbour ``[C, C]``.
        counts3: Labels of a point and its two nearest neighbours ``[C, C, C]``.
        steps: Steps of Adam, >= 1.

    Returns:
        T ``[C, C]``, rows sum to one, and the prior of the true classes ``[C]``; float64.

    Raises:
        InputError: The shapes do not fit, the counts are negative or all zero, or ``steps`` is no
            positive integer.
    """
    if not isinstance(steps, Integral) or steps < 1:
        raise InputError("steps", steps, "Pass an integer >= 1.")
    shares = _checked(counts1, counts2, counts3)
    classes = len(shares[0])
    raw = (5.0 * torch.eye(classes, dtype=torch.float64) - 1.0).requires_grad_()
    raw_prior = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([raw, raw_prior], lr=LEARNING_RATE)
    best = float("inf")
    kept = (raw.detach(), raw_prior.detach())
    for _ in range(int(steps)):
        optimiser.zero_grad()
        rows, prior = raw.softmax(dim=1), raw_prior.softmax(dim=0)
        one = prior.unsqueeze(1) * rows
        two = one.t() @ rows
        three = (one.t() @ (rows.unsqueeze(2) * rows.unsqueeze(1)).flatten(1)).view(shares[2].shape)
        gaps = (one.sum(dim=0) - shares[0], two - shares[1], three - shares[2])
        loss = torch.stack([torch.linalg.vector_norm(gap) for gap in gaps]).sum()
        if float(loss.detach()) < best:
            best = float(loss.detach())
            kept = (raw.detach().clone(), raw_prior.detach().clone())
        loss.backward()
        optimiser.step()
    return kept[0].softmax(dim=1).numpy(), kept[1].softmax(dim=0).numpy()


class HOC(TransitionEstimator):
    r"""T from the agreement of every label with those of two near nodes (Zhu et al., 2021).

    The consensus counts of ``hoc_transition``, with the near nodes found in one of two ways:

    * ``"knn"``: the two nearest labelled nodes by the cosine of label-free propagated features,
      over ``rounds`` random subsets of 90 % of the labelled nodes, 35,000 at most, as published.
    * ``"graph"``: two distinct labelled neighbours; the counts are the expectation over all such
      pairs. The method charges every edge between classes to noise, so use this view on graphs of
      high homophily only; ``NeighbourLatentClass`` is free of that bias.

    Paper: https://arxiv.org/abs/2102.05291.

    Args:
        views: ``"knn"`` or ``"graph"``.
        rounds: Random subsets of the view ``"knn"``, >= 1.
        components: Dimensions that the propagated features are reduced to, >= 1.
        steps: Steps of the optimiser, >= 1.
        random_state: Seed of the subsets and the reduction.

    Raises:
        InputError: On fit: a parameter is out of range, or no node has two labelled neighbours.
    """

    name: ClassVar[str] = "hoc"

    def __init__(
        self,
        *,
        views: Literal["knn", "graph"] = "knn",
        rounds: int = 50,
        components: int = 64,
        steps: int = STEPS,
        random_state: Seed = 0,
    ) -> None:
        self.views: Literal["knn", "graph"] = views
        self.rounds = rounds
        self.components = components
        self.steps = steps
        self.random_state = random_state

    def _estimate(self, observed: Observed) -> Estimate:
        if self.views not in ("knn", "graph"):
            raise InputError("views", self.views, "Choose 'knn' or 'graph'.")
        if self.views == "graph":
            triples = graph_triples(observed.graph, observed.y, len(observed.classes))
        else:
            triples = knn_triples(
                observed.graph,
                observed.y,
                len(observed.classes),
                rounds=self.rounds,
                components=self.components,
                seed=self.random_state,
            )
        checked_triples(triples)
        one, two = triples.sum(axis=(1, 2)), triples.sum(axis=2)
        return Estimate(*hoc_transition(one, two, triples, steps=self.steps))


def _checked(*counts: np.ndarray) -> list[torch.Tensor]:
    """Return the counts as shares that sum to one, or raise InputError."""
    classes = len(np.asarray(counts[0]))
    shares = []
    for order, given in enumerate(counts, start=1):
        array = np.asarray(given, dtype=np.float64)
        argument = f"counts{order}"
        if array.shape != (classes,) * order:
            raise InputError(argument, f"shape {array.shape}", f"Pass {(classes,) * order}.")
        total = array.sum()
        if not np.isfinite(total) or (array < 0).any() or total <= 0:
            raise InputError(argument, "negative, not finite or all zero", "Pass counts.")
        shares.append(torch.from_numpy(array / total))
    return shares
