"""k-hop neighbour agreement: the labels around a node, and nothing learned."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from graphclean.data import num_classes
from graphclean.detect.hop_evidence import label_hops
from graphclean.detect.vote import VoteDetector, Votes, class_prior_without
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.sparse import one_hot_labels


@estimator
class NeighbourAgreement(VoteDetector):
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

    reads_probs: ClassVar[bool] = False

    hops: int = 2

    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the mean over the hops of the label shares around every node."""
        del source
        check_params({"hops": self.hops})
        onehot = one_hot_labels(graph.y, num_classes(graph), torch.float64)
        prior = class_prior_without(graph.y, onehot.shape[1])
        hops = label_hops(graph, onehot, self.hops)
        seen = torch.stack([mass > 0 for _, mass in hops]).any(dim=0)
        share = torch.stack(
            [torch.where((mass > 0).unsqueeze(1), found, prior) for found, mass in hops]
        ).mean(dim=0)
        return Votes(share, seen)
