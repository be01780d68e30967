"""Label dependency: which labels occur next to which, learned from the graph itself."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graphclean.data import num_classes
from graphclean.detect.fit_rows import FIT_ROWS, fit_rows
from graphclean.detect.hop_evidence import label_hops
from graphclean.detect.masked import MaskedVoteDetector
from graphclean.nn.params import check_params, estimator
from graphclean.sparse import Adjacency, one_hot_labels

_PSEUDO_NEIGHBOURS = 3.0
"""Neighbours of average labels that are added to every neighbourhood: thin ones say little."""

_FLOOR = 0.01
"""Keeps the logarithm of a class that no neighbour carries finite."""


@estimator
class LabelDependency(MaskedVoteDetector):
    r"""Probability of the given label given the labels around the node, as learned on other nodes.

    .. math::
        q_i = p_\phi(\tilde y_i \mid \tilde y_{N_1(i)}, \dots, \tilde y_{N_K(i)})

    The label-dependency model :math:`p_\phi` of GMNN (Qu, Bengio & Tang, *GMNN: Graph Markov Neural
    Networks*, ICML 2019), fitted to the given labels alone. What the share of agreeing neighbours
    takes for granted, that like links to like, is learned here: on a heterophilous graph the
    model finds which classes go together. GMNN's :math:`p_\phi` is a graph network in a variational
    EM with a second one on the features; ours is a multinomial logistic regression on

    - the log-ratio of every class's smoothed label share at hop k to its share of all labels,
    - the log of its share at hop k times the degree, and the log-degree,

    for hops 1..K, standardised. The features of a node exclude its own label, walks that return to
    it included, and all labels of the fold that is judged; the model is fitted on the other folds.
    A node is flagged where another class is more probable. Nodes without a label within K hops, and
    all where fewer than two classes are left to learn from, get the class shares and no flag.

    Args:
        hops: K >= 1; beyond 2 the closed walks take time on dense graphs.
        l2: Penalty on the squared weights, relative to a summed log-loss; > 0.
        n_folds: Folds; with K folds a node sees (K - 1) / K of the labels around it.
        random_state: Seed of the folds and, beyond 100,000 labels, of the rows to learn from.
        progress: Whether to show a progress bar over the folds.
    """

    name: ClassVar[str] = "label_dependency"

    hops: int = 2
    l2: float = 10.0

    def _weights(self, graph: Any, y: Tensor, seed: int) -> Tensor:
        check_params({"hops": self.hops, "l2": self.l2})
        classes = num_classes(graph)
        features, seen = label_features(graph, y, classes, self.hops)
        weights = torch.zeros(len(y), classes, dtype=torch.float64)
        fitted = seen & (y >= 0)
        if int(torch.bincount(y[fitted]).count_nonzero()) < 2:
            return weights
        spread, centre = torch.std_mean(features[fitted], dim=0, correction=0)
        rows = features.sub_(centre).div_(spread.clamp_min(1e-6)).numpy()
        learned = fit_rows(fitted.numpy(), seed, FIT_ROWS)
        model = LogisticRegression(C=1.0 / self.l2, solver="newton-cg", tol=1e-8, max_iter=200)
        model.fit(rows[learned], y.numpy()[learned])
        found = torch.from_numpy(model.predict_proba(rows))
        weights[:, torch.from_numpy(model.classes_)] = found
        return weights * seen.unsqueeze(1)


def label_features(graph: Any, y: Tensor, classes: int, hops: int) -> tuple[Tensor, Tensor]:
    """Return what the labels around every node look like, without the node's own label.

    Args:
        graph: Checked ``Data``; its ``y`` is not read.
        y: Labels ``[N]``, long, -1 where hidden.
        classes: C.
        hops: K >= 1.

    Returns:
        Features ``[N, 2 K C + 1]``, float64, and the nodes with a label within K hops ``[N]``.
    """
    onehot = one_hot_labels(y, classes, torch.float64)
    prior = onehot.sum(dim=0) / onehot.sum().clamp_min(1.0)
    degree = torch.from_numpy(Adjacency.of(graph).degree).double().unsqueeze(1)
    columns, seen = [degree.log1p()], torch.zeros(len(y), dtype=torch.bool)
    for share, mass in label_hops(graph, onehot, hops):
        count = share.clamp_min(0.0) * degree
        smoothed = count + _PSEUDO_NEIGHBOURS * prior
        ratio = smoothed / smoothed.sum(dim=1, keepdim=True) / prior.clamp_min(1e-12)
        columns += [(ratio + _FLOOR).log(), count.log1p()]
        seen |= mass > 0
    return torch.cat(columns, dim=1), seen
