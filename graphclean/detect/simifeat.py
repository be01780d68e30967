"""SimiFeat: many rounds of a vote among the most similar nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from tqdm.auto import tqdm

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.base import Verdict
from graphclean.detect.embedding import (
    check_neighbours,
    nearest,
    neighbour_votes,
    node_embedding,
    pair_cosines,
)
from graphclean.detect.probability import binomial_rate
from graphclean.detect.vote import VoteDetector, Votes, shares
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.noise.hoc import hoc_transition
from graphclean.sparse import Adjacency, one_hot_labels, to_torch_csr
from graphclean.types import InputError, Seed, numpy_rng

SUBSAMPLE = 0.9
"""Share of the labelled nodes that vote in a round."""

_TIE = 1e-9
"""Votes that are closer than this differ by rounding only."""


@dataclass(frozen=True, eq=False)
class _Neighbourhood:
    """Who may vote on every node, all rounds alike.

    Attributes:
        index: The nearest labelled nodes ``[N, K]``, long, more than vote in a round.
        cosine: Their cosines ``[N, K]``, float64.
        weight: The weight of their votes ``[N, K]``: 0 for those who vote through an edge.
        edges: The weights of the graph's neighbours ``[N, N]``, sparse CSR; None if these do not
            vote.
    """

    index: Tensor
    cosine: Tensor
    weight: Tensor
    edges: Tensor | None


@dataclass(frozen=True, eq=False)
class _Poll:
    """What all rounds together said.

    Attributes:
        votes: Mean normalised vote.
        frequency: Share of the rounds that every class won ``[N, C]``, float64.
        flagged: Share of the rounds that flagged the given label ``[N]``, float64.
    """

    votes: Votes
    frequency: Tensor
    flagged: Tensor


@estimator
class SimiFeat(VoteDetector):
    r"""Mean similarity-weighted vote of the nearest nodes over many random subsets.

    .. math::
        q_i \propto \sum_{j \in N_i} \max(0, \cos(f_i, f_j))\, e_{\tilde y_j}, \qquad
        \lVert q_i \rVert_2 = 1

    In every round 90 % of the labelled nodes vote; :math:`N_i` are the k of them that are nearest
    in ``node_embedding``, united with those that share an edge with i. A round flags a label

    * ``method="vote"``: where another class gets strictly more than :math:`\tilde y_i`;
    * ``method="rank"``: among the share :math:`1 - \Pr(y = c \mid \tilde y = c)` of every given
      class c with the largest :math:`-\log q_i(\tilde y_i)`. That share follows by Bayes from T and
      the class prior, which HOC estimates from the labels of every node and its two nearest.

    An issue is what more than half of the rounds flag; the class that won most rounds is suggested.
    The quality is the share of the given class in the mean of q over the rounds, the same for both
    methods. The paper counts the node's own label as one of its k neighbours; here it has no vote.

    Paper: Zhu et al., "Detecting Corrupted Labels Without Training a Model to Predict", ICML 2022,
    https://arxiv.org/abs/2110.06283.

    Args:
        method: ``"vote"`` or ``"rank"``.
        k: Nearest nodes that vote, >= 1.
        rounds: Random subsets, >= 1; an odd number leaves no tie.
        graph_edges: Whether neighbours in the graph vote too.
        hops: Hops over which the features are propagated for the embedding.
        random_state: Seed of the subsets.
        progress: Whether to show a progress bar over the rounds.
    """

    name: ClassVar[str] = "simifeat"

    reads_probs: ClassVar[bool] = False

    method: Literal["vote", "rank"] = "vote"
    k: int = 10
    rounds: int = 21
    graph_edges: bool = True
    hops: int = 2
    random_state: Seed = 0
    progress: bool = False

    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the mean vote of the rounds."""
        del source
        return self._poll(graph, self._neighbourhood(graph), None).votes

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        del pred_probs
        near = self._neighbourhood(graph)
        transition, clean_share = None, None
        if self.method == "rank":
            transition, clean_share = _clean_share(graph, near)
        poll = self._poll(graph, near, clean_share)
        judged = labelled_mask(graph)
        issue = (poll.flagged > 0.5) & poll.votes.seen & judged
        share = poll.votes.share
        quality = share.gather(1, graph.y.clamp_min(0).unsqueeze(1)).squeeze(1)
        # One round more, so that the mean vote decides between classes that won equally often.
        rounds = int(self.rounds)
        class_probs = (rounds * poll.frequency + share) / (rounds + 1)
        return Verdict(
            judged=judged,
            label_quality=quality.numpy().clip(0.0, 1.0),
            is_label_issue=issue.numpy(),
            class_probs=class_probs.numpy(),
            pred_probs=share.numpy(),
            noise_rate=binomial_rate(float(issue.sum()), int(judged.sum())),
            transition=transition,
        )

    def _neighbourhood(self, graph: Any) -> _Neighbourhood:
        if self.method not in ("vote", "rank"):
            raise InputError("method", self.method, "Choose 'vote' or 'rank'.")
        if not isinstance(self.rounds, int) or isinstance(self.rounds, bool) or self.rounds < 1:
            raise InputError("rounds", self.rounds, "Pass an integer >= 1.")
        if not isinstance(self.graph_edges, bool):
            raise InputError("graph_edges", self.graph_edges, "Pass True or False.")
        check_params({"hops": self.hops})
        # More than k, for some of them will not be drawn.
        wide = 2 * check_neighbours(self.k) + 5
        embedding = node_embedding(graph, hops=self.hops)
        index, cosine = nearest(embedding, wide, labelled_mask(graph))
        weight = cosine.clamp_min(0.0)
        if not self.graph_edges:
            return _Neighbourhood(index, cosine, weight, None)
        adjacency = Adjacency.of(graph)
        weight = torch.where(_are_edges(adjacency, index), 0.0, weight)
        return _Neighbourhood(index, cosine, weight, _edge_weights(adjacency, embedding))

    def _poll(self, graph: Any, near: _Neighbourhood, clean_share: np.ndarray | None) -> _Poll:
        y, classes = graph.y, num_classes(graph)
        labelled = labelled_mask(graph).nonzero().view(-1)
        onehot = one_hot_labels(y, classes, torch.float64)
        total, won = torch.zeros_like(onehot), torch.zeros_like(onehot)
        flagged, held = torch.zeros_like(onehot[:, 0]), torch.zeros_like(onehot[:, 0])
        rng = numpy_rng(self.random_state)
        for _ in tqdm(range(self.rounds), disable=not self.progress, desc="rounds"):
            drawn = rng.permutation(len(labelled))[: max(round(SUBSAMPLE * len(labelled)), 1)]
            voter = torch.zeros(len(y), dtype=torch.bool)
            voter[labelled[torch.from_numpy(drawn)]] = True
            asked = voter[near.index]
            asked &= asked.cumsum(dim=1) <= self.k
            q = neighbour_votes(near.index, torch.where(asked, near.weight, 0.0), y, classes)
            if near.edges is not None:
                q += near.edges @ (onehot * voter.unsqueeze(1))
            length = q.norm(dim=1, keepdim=True)
            seen = length.squeeze(1) > _TIE
            q = torch.where(seen.unsqueeze(1), q / length.clamp_min(_TIE), 0.0)
            last = _outvoted(y, q) if clean_share is None else _last(y, q, seen, clean_share)
            total += q
            won[seen, q[seen].argmax(dim=1)] += 1.0
            flagged += last & seen
            held += seen
        votes = shares(total, y)
        held = held.clamp_min(1.0)
        frequency = torch.where(votes.seen.unsqueeze(1), won / held.unsqueeze(1), votes.share)
        return _Poll(votes, frequency, flagged / held)


def _outvoted(y: Tensor, q: Tensor) -> Tensor:
    """Return the nodes of which another class gets strictly more ``[N]``, bool."""
    given = q.gather(1, y.clamp_min(0).unsqueeze(1)).squeeze(1)
    return given < q.max(dim=1).values - _TIE


def _last(y: Tensor, q: Tensor, seen: Tensor, clean_share: np.ndarray) -> Tensor:
    """Return the share of every given class that is not clean, worst votes first ``[N]``, bool.

    Where votes for the given class are equal, often zero, the stronger rival decides.
    """
    given = q.gather(1, y.clamp_min(0).unsqueeze(1)).squeeze(1).numpy()
    rows = np.flatnonzero((seen & (y >= 0)).numpy())
    label = y.numpy()[rows]
    order = rows[np.lexsort((-q.max(dim=1).values.numpy()[rows], given[rows], label))]
    counts = np.bincount(label, minlength=len(clean_share))
    place = np.arange(len(order)) - (np.cumsum(counts) - counts)[y.numpy()[order]]
    wrong = np.rint((1.0 - clean_share) * counts).astype(int)
    flagged = torch.zeros(len(y), dtype=torch.bool)
    flagged[torch.from_numpy(order[place < wrong[y.numpy()[order]]])] = True
    return flagged


def _clean_share(graph: Any, near: _Neighbourhood) -> tuple[np.ndarray, np.ndarray]:
    r"""Return T ``[C, C]`` and :math:`\Pr(y = c \mid \tilde y = c)` ``[C]`` by HOC."""
    y, classes = graph.y, num_classes(graph)
    counts = np.zeros((classes, classes, classes))
    if near.index.shape[1] > 1:
        rows = ((y >= 0) & (near.cosine[:, 1] > 0)).nonzero().view(-1)
        triple = torch.stack([y[rows], *y[near.index[rows, :2]].unbind(1)]).numpy()
        np.add.at(counts, tuple(triple), 1.0)
    if not counts.any():
        return np.eye(classes), np.ones(classes)
    transition, prior = hoc_transition(counts.sum(axis=(1, 2)), counts.sum(axis=2), counts)
    given = prior @ transition
    agreed = prior * np.diag(transition)
    return transition, np.divide(agreed, given, out=np.ones(classes), where=given > 0)


def _edge_weights(adjacency: Adjacency, embedding: Tensor) -> Tensor:
    """Return the edges with ``max(0, cos)`` as weights, ``torch.sparse_csr`` ``[N, N]``."""
    matrix = adjacency.matrix
    pair = (torch.repeat_interleave(torch.from_numpy(adjacency.degree)), _long(matrix.indices))
    weight = pair_cosines(embedding, *pair).clamp_min(0.0).numpy()
    weighted = sp.csr_array((weight, matrix.indices, matrix.indptr), shape=matrix.shape)
    return to_torch_csr(weighted, torch.float64)


def _are_edges(adjacency: Adjacency, index: Tensor) -> Tensor:
    """Return which of the pairs (i, index[i]) are edges ``[N, K]``, bool."""
    nodes = adjacency.num_nodes
    row = torch.repeat_interleave(torch.from_numpy(adjacency.degree))
    edges = row * nodes + _long(adjacency.matrix.indices)
    return torch.isin(torch.arange(nodes).unsqueeze(1) * nodes + index, edges)


def _long(indices: np.ndarray) -> Tensor:
    return torch.from_numpy(indices).long()
