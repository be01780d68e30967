"""Detectors that read given labels through the edges, those of the judged fold erased."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.vote import VoteDetector, Votes, shares
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.folds import plain_folds
from graphclean.nn.params import estimator
from graphclean.types import Seed, spawn_seeds


@estimator
class MaskedVoteDetector(VoteDetector):
    """Base of the detectors that spread given labels over the graph.

    The labelled nodes are dealt into folds without a look at their labels; the nodes of a fold are
    judged from the labels of the other folds alone. So a label reaches neither its own node nor any
    parameter that the method learns for that node: no walk, closed or not, can bring it back.

    Args:
        n_folds: Folds; with K folds a node sees (K - 1) / K of the labels around it.
        random_state: Seed of the folds and of the method.
        progress: Whether to show a progress bar over the folds.
    """

    reads_probs: ClassVar[bool] = False

    n_folds: int = 10
    random_state: Seed = 0
    progress: bool = False

    @abstractmethod
    def _weights(self, graph: Any, y: Tensor, seed: int) -> Tensor:
        """Return what speaks for every class of every node ``[N, C]``, >= 0, zero if nothing does.

        Args:
            graph: Checked ``Data``; its ``y`` must not be read.
            y: The labels that may be read ``[N]``, long; -1 for unlabelled nodes and the fold.
            seed: Seed for this fold.
        """

    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the votes of every node from the labels of the other folds."""
        del source
        fold_seed, *seeds = spawn_seeds(self.random_state, 1 + int(self.n_folds))
        fold = plain_folds(labelled_mask(graph), self.n_folds, fold_seed)
        weights = torch.zeros(len(graph.y), num_classes(graph), dtype=torch.float64)
        count = int(fold.max()) + 1
        for k in tqdm(range(count), disable=not self.progress, desc="folds"):
            judged = fold == k
            if k == 0:
                judged = judged | (fold < 0)  # no label of its own: any fold will do
            found = self._weights(graph, graph.y.masked_fill(fold == k, -1), seeds[k])
            weights[judged] = found.double()[judged]
        return shares(weights, graph.y)
