"""Two-pass kNN agreement: neighbours relabel each other before they are asked."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.base import Verdict
from graphclean.detect.embedding import (
    check_neighbours,
    nearest,
    neighbour_votes,
    node_embedding,
)
from graphclean.detect.masked import MaskedVoteDetector
from graphclean.detect.vote import Votes
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator

_NEARER = 1e-3
"""What a cosine of 1 adds to a neighbour's one vote, so that ties go to the nearer side."""


@estimator
class KnnAgreement(MaskedVoteDetector):
    r"""Share of the nearest nodes that agree, after these were corrected by their own neighbours.

    .. math::
        q^{(1)}_i(c) = \frac{1}{k} \sum_{j \in N_k(i)} 1[\tilde y_j = c], \quad
        \hat y_j = \arg\max_c q^{(1)}_j(c), \quad
        q^{(2)}_i(c) = \frac{1}{k} \sum_{j \in N_k(i)} 1[\hat y_j = c]

    with the k nearest labelled nodes by the cosine of ``node_embedding``. Nodes whose label is not
    the argmax of :math:`q^{(2)}` are flagged; ties go to the class of the nearer neighbours. The
    quality is :math:`q^{(2)}_i(\tilde y_i)`. Neighbours of cosine <= 0 have no vote.

    A neighbour's :math:`\hat y_j` is voted for by its own neighbours, the judged node among them:
    so both passes run once per fold, without the labels of the fold that is judged.

    The evidence column ``in_clean_set`` is the paper's class-balanced selection: of every class at
    most the median number (over the classes) of agreeing nodes, those of the lowest
    :math:`-\log q^{(2)}_i(\tilde y_i)`.

    Paper: Ortego et al., "Multi-Objective Interpolation Training for Robustness to Label Noise",
    CVPR 2021, https://arxiv.org/abs/2012.04462. There the embedding is learned with a contrastive
    loss on the corrected labels; here it is label-free.

    Args:
        k: Neighbours that vote, >= 1.
        hops: Hops over which the features are propagated for the embedding.
        n_folds: Folds; with K folds a node sees (K - 1) / K of the labels.
        random_state: Seed of the folds.
        progress: Whether to show a progress bar over the folds.
    """

    name: ClassVar[str] = "knn_agreement"

    k: int = 10
    hops: int = 2

    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the second pass of every node, from the labels of the other folds."""
        check_params({"hops": self.hops})
        # More than k, for some of them will be masked with their fold.
        wide = 3 * check_neighbours(self.k) + 10
        view = copy.copy(graph)
        view.nearest = nearest(node_embedding(graph, hops=self.hops), wide, labelled_mask(graph))
        return super().votes(view, source)

    def _weights(self, graph: Any, y: Tensor, seed: int) -> Tensor:
        del seed
        index, cosine = graph.nearest
        usable = (y[index] >= 0) & (cosine > 0)
        usable &= usable.cumsum(dim=1) <= self.k
        weight = torch.where(usable, 1.0 + _NEARER * cosine, 0.0)
        classes = num_classes(graph)
        first = neighbour_votes(index, weight, y, classes)
        corrected = torch.where(first.sum(dim=1) > 0, first.argmax(dim=1), -1)
        return neighbour_votes(index, weight, corrected, classes)

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        verdict = super()._judge(graph, pred_probs)
        agrees = (verdict.judged & ~torch.from_numpy(verdict.is_label_issue)).numpy()
        selected = clean_set(graph.y.numpy(), agrees, verdict.label_quality)
        return replace(verdict, evidence={**verdict.evidence, "in_clean_set": selected})


def clean_set(y: np.ndarray, agrees: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Return the class-balanced selection among the agreeing nodes ``[N]``, bool.

    Args:
        y: Given labels ``[N]``; -1 = unlabelled.
        agrees: Labelled nodes whose label is confirmed ``[N]``, bool.
        quality: ``[N]``; the best of every class are kept.
    """
    rows = np.flatnonzero(agrees)
    counts = np.bincount(y[rows], minlength=int(y.max()) + 1)
    limit = int(np.median(counts[np.unique(y[y >= 0])]))
    order = rows[np.lexsort((rows, -quality[rows], y[rows]))]
    starts = np.cumsum(counts) - counts
    kept = order[np.arange(len(order)) - starts[y[order]] < limit]
    selected = np.zeros(len(y), dtype=bool)
    selected[kept] = True
    return selected
