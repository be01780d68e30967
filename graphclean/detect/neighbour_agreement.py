"""k-hop neighbour agreement: the labels around a node, and nothing learned."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.hop_evidence import label_hops
from graphclean.detect.probability import binomial_rate
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.sparse import one_hot_labels
from graphclean.types import InputError

_TIE = 1e-9
"""Votes that are closer than this differ by rounding only."""


@estimator
class NeighbourAgreement(Detector):
    r"""Share of the given labels within K hops that agree with the node's own.

    .. math::
        q_i = \frac{1}{K} \sum_{k=1}^{K}
        \frac{[(P^k - \mathrm{diag}\,P^k) Y]_{i, \tilde y_i}}
             {[(P^k - \mathrm{diag}\,P^k) Y \mathbf 1]_i}, \qquad P = D^{-1} A

    with the one-hot given labels Y of the labelled nodes: the node's own label takes no part.
    Flags nodes whose label is not the most frequent one around them; ties pass. A hop without a
    labelled node is replaced by the class shares of all other labelled nodes, so an isolated node
    ranks by how common its class is and is never flagged. Assumes homophily.

    Args:
        hops: K >= 1.
    """

    name: ClassVar[str] = "neighbour_agreement"

    hops: int = 2

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        check_params({"hops": self.hops})
        if pred_probs is not None:
            raise InputError(
                "pred_probs", "given", "neighbour_agreement reads labels only: leave it out."
            )
        judged = labelled_mask(graph)
        onehot = one_hot_labels(graph.y, num_classes(graph), torch.float64)
        others = onehot.sum(dim=0) - onehot
        prior = others / others.sum(dim=1, keepdim=True)
        hops = label_hops(graph, onehot, self.hops)
        seen = torch.stack([mass > 0 for _, mass in hops]).any(dim=0)
        votes = torch.stack(
            [torch.where((mass > 0).unsqueeze(1), share, prior) for share, mass in hops]
        ).mean(dim=0)
        given = graph.y.clamp_min(0)
        quality = votes.gather(1, given.unsqueeze(1)).squeeze(1)
        issue = (quality < votes.max(dim=1).values - _TIE) & seen & judged
        return Verdict(
            judged=judged,
            label_quality=quality.numpy().clip(0.0, 1.0),
            is_label_issue=issue.numpy(),
            class_probs=votes.numpy(),
            pred_probs=votes.numpy(),
            noise_rate=binomial_rate(float(issue.sum()), int(judged.sum())),
        )
