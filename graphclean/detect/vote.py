"""Detectors that ask which class everything but the node's own label speaks for."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.probability import OutOfFoldDetector, binomial_rate
from graphclean.nn.crossfit import OutOfFold
from graphclean.sparse import one_hot_labels

_TIE = 1e-9
"""Votes that are closer than this differ by rounding only."""


@dataclass(frozen=True, eq=False)
class Votes:
    """What speaks for every class of every node; a node's own given label has no part in it.

    Attributes:
        share: ``[N, C]``, float64, >= 0, rows sum to one.
        seen: Nodes that anything is known about ``[N]``, bool; the others are never flagged.
    """

    share: Tensor
    seen: Tensor


class VoteDetector(Detector):
    """Base of the detectors that judge a label by the share of the votes for its class.

    ``label_quality`` is the share of the given class. A node is flagged where another class gets
    strictly more, unless the subclass has a rule of its own.
    """

    @abstractmethod
    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the votes of a checked graph.

        Args:
            graph: Checked ``Data``.
            source: Out-of-fold probabilities, the user's own ``[N, C]``, or None for a detector
                that reads none.
        """

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        votes = self.votes(graph, self._source(graph, pred_probs))
        judged = labelled_mask(graph)
        share = votes.share.double()
        given = graph.y.clamp_min(0).unsqueeze(1)
        quality = share.gather(1, given).squeeze(1)
        issue = self._flags(graph.y, share, votes.seen & judged) & votes.seen & judged
        return Verdict(
            judged=judged,
            label_quality=quality.numpy().clip(0.0, 1.0),
            is_label_issue=issue.numpy(),
            class_probs=share.numpy(),
            pred_probs=share.numpy(),
            noise_rate=binomial_rate(float(issue.sum()), int(judged.sum())),
            transition=self._transition(),
        )

    def _source(
        self, graph: Any, pred_probs: Tensor | OutOfFold | None
    ) -> OutOfFold | Tensor | None:
        """Return the probabilities that the votes start from."""
        del graph
        return pred_probs

    def _flags(self, y: Tensor, share: Tensor, judged: Tensor) -> Tensor:
        """Return which labels are issues ``[N]``, bool; nodes outside ``judged`` do not count."""
        del judged
        given = share.gather(1, y.clamp_min(0).unsqueeze(1)).squeeze(1)
        return given < share.max(dim=1).values - _TIE

    def _transition(self) -> np.ndarray | None:
        """Return the estimated T ``[C, C]`` of a method that has one."""
        return None


class OutOfFoldVoteDetector(OutOfFoldDetector, VoteDetector):
    """Base of the vote detectors that start from out-of-fold probabilities."""

    def _source(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> OutOfFold | Tensor:
        return self._out_of_fold(graph) if pred_probs is None else pred_probs


def class_prior_without(y: Tensor, classes: int) -> Tensor:
    """Return the class shares of all other labelled nodes ``[N, C]``, float64.

    The neutral vote of a node that nothing is known about: its own label takes no part.
    """
    onehot = one_hot_labels(y, classes, torch.float64)
    others = onehot.sum(dim=0) - onehot
    total = others.sum(dim=1, keepdim=True)
    return torch.where(total > 0, others / total.clamp_min(1.0), 1.0 / classes)


def shares(weights: Tensor, y: Tensor) -> Votes:
    """Turn non-negative weights for every class ``[N, C]`` into votes.

    Nodes without weight get the class shares of all others and count as not seen.
    """
    weights = weights.double().clamp_min(0.0)
    total = weights.sum(dim=1, keepdim=True)
    seen = total.squeeze(1) > _TIE
    prior = class_prior_without(y, weights.shape[1])
    return Votes(torch.where(seen.unsqueeze(1), weights / total.clamp_min(_TIE), prior), seen)
