"""What the neighbourhood says about a node's class, hop by hop, without the node's own label."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphclean.data import num_classes
from graphclean.nn.crossfit import OutOfFold
from graphclean.sparse import HopOperator, Propagator, one_hot_labels
from graphclean.sparse.solvers import personalised_pagerank

_PSEUDO_NEIGHBOURS = 1.0
_COLUMNS = 64
"""Columns of class probabilities that are propagated at once: as many as run at full speed."""


@dataclass(frozen=True, eq=False)
class HopEvidence:
    """Class distributions about every node, none of which has seen the node's own label.

    Attributes:
        names: ``p0``, then for every hop k ``pk`` (predictions) and ``lk`` (given labels).
        distributions: One ``[N, C]`` float64 per name, rows sum to one.
        degree: Number of neighbours ``[N]``, float64.
    """

    names: tuple[str, ...]
    distributions: tuple[Tensor, ...]
    degree: Tensor

    def with_views(self, **views: Tensor) -> HopEvidence:
        """Return the evidence with further distributions ``[N, C]`` by name."""
        return HopEvidence(
            (*self.names, *views), (*self.distributions, *views.values()), self.degree
        )

    def log(self, rows: Tensor, floor: float = 0.01) -> Tensor:
        """Return ``log(distribution + floor)`` of some rows, stacked ``[n, C, M]``.

        Args:
            rows: Mask ``[N]`` or indices ``[n]`` of nodes.
            floor: What keeps the logarithm of a class that nothing speaks for finite.
        """
        return torch.stack([(d[rows] + floor).log() for d in self.distributions], dim=-1)

    def log_at(self, rows: Tensor, labels: Tensor, floor: float = 0.01) -> Tensor:
        """Return ``log(rows)`` at one class of every row: labels ``[n]`` to ``[n, M]``."""
        picked = [d[rows, labels] for d in self.distributions]
        return (torch.stack(picked, dim=-1) + floor).log()


def hop_evidence(
    graph: Any, source: Tensor | OutOfFold, hops: int, *, exclude_self: bool = True
) -> HopEvidence:
    r"""Collect the evidence of GraphCleaner's features as class distributions.

    With row-normalised :math:`P = D^{-1} A`, :math:`M_k = P^k - \mathrm{diag}(P^k)`, fold models
    :math:`\hat p^{(f)}` and one-hot given labels Y, node i of fold f gets

    .. math::
        \hat p^{(f)}_i, \quad [M_k \hat p^{(f)}]_i, \quad [M_k Y]_i, \qquad k = 1..K

    each normalised to sum to one. The predictions that are propagated to judge i come from the
    model of i's own fold: no model in its evidence has seen its label. A neighbourhood of d
    neighbours weighs d / (d + 1) against the node's own prediction, so thin neighbourhoods say
    little and isolated nodes fall back to their prediction. From user probabilities ``[N, C]``,
    whose models are unknown, nothing is propagated but the labels.

    Args:
        graph: Checked ``Data``.
        source: Out-of-fold probabilities, or user probabilities ``[N, C]``.
        hops: K >= 1.
        exclude_self: False leaves the closed walks in (the ablation that shows the leak).
    """
    propagator = Propagator.from_data(graph, norm="row", dtype=torch.float64)
    operator = HopOperator(propagator, hops, exclude_self=exclude_self, diagonal="exact")
    degree = torch.from_numpy(propagator.adjacency.degree).double()
    trust = (degree / (degree + _PSEUDO_NEIGHBOURS)).unsqueeze(1)
    onehot = one_hot_labels(graph.y, num_classes(graph), torch.float64)

    own = (source.pred_probs if isinstance(source, OutOfFold) else source).double()
    names, found = ["p0"], [own]
    predictions = None
    if isinstance(source, OutOfFold):
        predictions = of_own_fold(source, operator.powers, hops)
    for hop, labels in enumerate(operator.powers(onehot), start=1):
        if predictions is not None:
            names.append(f"p{hop}")
            found.append(_blend(predictions[hop - 1], own, trust))
        names.append(f"l{hop}")
        found.append(_blend(labels, own, trust))
    return HopEvidence(tuple(names), tuple(found), degree)


def spread_predictions(
    graph: Any, source: OutOfFold, *, alpha: float = 0.1, steps: int = 10
) -> Tensor:
    r"""Smooth predictions over the whole neighbourhood by personalised PageRank ``[N, C]``.

    The propagation of APPNP (Gasteiger et al., https://arxiv.org/abs/1810.05997) after the fact:
    :math:`Z \leftarrow (1 - \alpha) \hat S Z + \alpha \hat P` with self-loops in
    :math:`\hat S`. Node i takes the smoothed predictions of its own fold's model, which saw the
    label of no node of the fold, so walks may return.

    Args:
        graph: Checked ``Data``.
        source: Out-of-fold probabilities.
        alpha: Teleport probability.
        steps: Steps.
    """
    operator = Propagator.from_data(graph, norm="sym", self_loops=True)

    def smooth(columns: Tensor) -> list[Tensor]:
        walked = personalised_pagerank(operator, columns, alpha=alpha, steps=steps, tol=None)
        return [walked.values]

    found = of_own_fold(source, smooth, 1)[0]
    return found / found.sum(dim=1, keepdim=True).clamp_min(1e-12)


def label_hops(graph: Any, onehot: Tensor, hops: int) -> list[tuple[Tensor, Tensor]]:
    """Return for k = 1..K the label shares at hop k ``[N, C]`` and their walk mass ``[N]``."""
    propagator = Propagator.from_data(graph, norm="row", dtype=torch.float64)
    operator = HopOperator(propagator, hops, diagonal="exact")
    result = []
    for labels in operator.powers(onehot):
        mass = labels.sum(dim=1)
        mass = torch.where(mass > 1e-9, mass, 0.0)
        result.append((labels / mass.clamp_min(1e-9).unsqueeze(1), mass))
    return result


def of_own_fold(
    source: OutOfFold, walk: Callable[[Tensor], Iterable[Tensor]], hops: int
) -> list[Tensor]:
    """Walk the predictions of every fold's model; return those of a node's own fold ``[N, C]``.

    Nodes of no fold take the mean over the models; repeats are averaged.
    """
    repeats, folds, nodes, classes = source.model_probs.shape
    total = [torch.zeros(nodes, classes, dtype=torch.float64) for _ in range(hops)]
    at_once = max(_COLUMNS // classes, 1)
    for repeat in range(repeats):
        fold = source.fold[repeat]
        nobody = (fold < 0).double().unsqueeze(1) / folds
        for first in range(0, folds, at_once):
            models = source.model_probs[repeat, first : first + at_once].double()
            columns = models.permute(1, 0, 2).reshape(nodes, -1)
            for hop, walked in enumerate(walk(columns)):
                for k, said in enumerate(walked.view(nodes, -1, classes).unbind(1), start=first):
                    total[hop] += ((fold == k).unsqueeze(1) + nobody) * said
    return [t / repeats for t in total]


def _blend(walked: Tensor, own: Tensor, trust: Tensor) -> Tensor:
    mass = walked.sum(dim=1, keepdim=True)
    share = torch.where(mass > 1e-9, walked / mass.clamp_min(1e-9), own).clamp_min(0.0)
    return trust * share + (1.0 - trust) * own
