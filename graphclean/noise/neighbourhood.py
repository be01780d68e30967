"""Neighbourhood-dependent label noise: wrong labels come from the neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.noise._graph import undirected_adjacency
from graphclean.noise._sampling import draw_classes, weighted_sample
from graphclean.noise.base import FixedRateNoise
from graphclean.types import InputError

SELECTIONS = ("uniform", "low_homophily", "high_degree", "low_degree")


class NeighbourhoodNoise(FixedRateNoise):
    """A flipped node takes the label of one of its neighbours, as a confused annotator would.

    The new label is drawn in proportion to its count among the neighbours' labels other than the
    node's own. Where no neighbour disagrees, labels are counted over two-step walks; where none of
    those disagrees either, all other classes are alike. Edges count as undirected and unweighted.

    Exactly ``round(rate * eligible)`` nodes flip, drawn without replacement in proportion to

    - ``"uniform"``: 1;
    - ``"low_homophily"``: ``1 - h_v``, the share of labelled neighbours with another label (nodes
      without labelled neighbours get the mean of the others);
    - ``"high_degree"``: ``d_v``;
    - ``"low_degree"``: ``1 / (1 + d_v)``.

    Nodes of zero weight flip only when all others have.

    Args:
        rate: Share of nodes to flip, in [0, 1].
        select: Which nodes flip more easily.

    Raises:
        InputError: If ``select`` is unknown.
    """

    name = "neighbourhood"

    def __init__(self, rate: float = 0.1, select: str = "uniform") -> None:
        super().__init__(rate)
        if select not in SELECTIONS:
            raise InputError("select", select, f"Choose one of: {', '.join(SELECTIONS)}.")
        self.select = select

    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        adjacency = undirected_adjacency(data)
        labels = _one_hot(y.numpy(), num_classes)
        weights = torch.from_numpy(self._weights(adjacency, labels, nodes.numpy()))
        chosen = nodes[weighted_sample(weights, self._flip_count(nodes), generator)]
        votes = torch.from_numpy(_disagreeing_votes(adjacency, labels, y.numpy(), chosen.numpy()))
        return chosen, draw_classes(votes, generator)

    def _weights(self, adjacency: sp.csr_array, labels: sp.csr_array, nodes: Any) -> Any:
        if self.select == "uniform":
            return np.ones(len(nodes))
        if self.select == "low_homophily":
            return _disagreement(adjacency[nodes] @ labels, labels[nodes])
        degree = adjacency.sum(axis=1)[nodes]
        return degree if self.select == "high_degree" else 1.0 / (1.0 + degree)


def _one_hot(y: Any, num_classes: int) -> sp.csr_array:
    labelled = np.flatnonzero(y >= 0)
    ones = np.ones(len(labelled))
    return sp.csr_array((ones, (labelled, y[labelled])), shape=(len(y), num_classes))


def _disagreement(votes: sp.csr_array, own: sp.csr_array) -> Any:
    total = votes.sum(axis=1)
    known = total > 0
    share = np.ones(len(total))
    share[known] = 1.0 - votes.multiply(own).sum(axis=1)[known] / total[known]
    if known.any():
        share[~known] = share[known].mean()
    return share


def _disagreeing_votes(adjacency: sp.csr_array, labels: sp.csr_array, y: Any, nodes: Any) -> Any:
    own = (np.arange(len(nodes)), y[nodes])
    votes = (adjacency[nodes] @ labels).toarray()
    votes[own] = 0.0
    unanimous = votes.sum(axis=1) == 0
    votes[unanimous] = (adjacency[nodes[unanimous]] @ (adjacency @ labels)).toarray()
    votes[own] = 0.0
    votes[votes.sum(axis=1) == 0] = 1.0
    votes[own] = 0.0
    return votes
