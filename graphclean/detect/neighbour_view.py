"""A node's class from the labels around it, by a latent class model with T and M of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graphclean.data import num_classes
from graphclean.detect.base import Verdict
from graphclean.detect.masked import MaskedVoteDetector
from graphclean.detect.probability import binomial_rate
from graphclean.detect.vote import Votes
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.noise.neighbour_lca import latent_classes
from graphclean.noise.neighbour_triples import graph_triples, neighbour_counts

_ANY_LABEL = 0.01
"""Share of a neighbour's label that is taken to be arbitrary: no single edge rules a class out."""


@estimator
class NeighbourView(MaskedVoteDetector):
    r"""Probability that the given label is the true one, from the labels of the neighbours.

    .. math::
        s_i(c) \propto \pi_c \prod_{j \in N(i)} M_{c, \tilde y_j}^{\,\tau}, \qquad
        q_i = \frac{s_i(\tilde y_i)\, T_{\tilde y_i \tilde y_i}}{\sum_c s_i(c)\, T_{c \tilde y_i}}

    T, the neighbours' emission M and the prior are those of ``NeighbourLatentClass``, fitted on the
    labels of the other folds, which are also the only ones in the product. M learns which classes
    stand beside each other, so homophily is not assumed. A node is flagged where another class is
    more probable given all of this; without a labelled neighbour in the other folds never.
    Neighbours are not independent given the class: :math:`\tau < 1` takes that into account.
    Identifiability: Liu et al., https://arxiv.org/abs/2202.02016.

    Args:
        temper: :math:`\tau`, in (0, 1].
        max_iter: Most iterations of the expectation maximisation, >= 1.
    """

    name: ClassVar[str] = "neighbour_view"

    temper: float = 0.5
    max_iter: int = 500

    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the tempered posterior of every node's class given the labels around it."""
        check_params({"temper": self.temper})
        self._transitions: list[Tensor] = []
        self._fold = torch.zeros(len(graph.y), dtype=torch.long)
        return super().votes(graph, source)

    def _weights(self, graph: Any, y: Tensor, seed: int) -> Tensor:
        del seed
        classes = num_classes(graph)
        found = latent_classes(graph_triples(graph, y, classes), self.max_iter)
        self._fold[y < 0] = len(self._transitions)
        self._transitions.append(torch.from_numpy(mixed(found.transition)))
        around = neighbour_counts(graph, y, classes)
        with np.errstate(divide="ignore"):
            logits = np.log(found.prior) + self.temper * around @ np.log(mixed(found.emission)).T
        known = (around.sum(axis=1) > 0) & (found.prior.sum() > 0)
        posterior = torch.from_numpy(logits).softmax(dim=1)
        return torch.where(torch.from_numpy(known).unsqueeze(1), posterior, 0.0)

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        verdict = super()._judge(graph, pred_probs)
        posterior = self._posterior(graph.y, torch.from_numpy(verdict.pred_probs))
        quality = posterior.gather(1, graph.y.clamp_min(0).unsqueeze(1)).squeeze(1)
        wrong = float((1.0 - quality[verdict.judged]).sum())
        return replace(
            verdict,
            label_quality=quality.numpy().clip(0.0, 1.0),
            class_probs=posterior.numpy(),
            noise_rate=binomial_rate(wrong, int(verdict.judged.sum())),
        )

    def _flags(self, y: Tensor, share: Tensor, judged: Tensor) -> Tensor:
        return super()._flags(y, self._posterior(y, share), judged)

    def _transition(self) -> np.ndarray:
        mean: np.ndarray = torch.stack(self._transitions).mean(dim=0).numpy()
        return mean

    def _posterior(self, y: Tensor, share: Tensor) -> Tensor:
        """Return the class probabilities ``[N, C]`` with the given label as evidence as well."""
        likelihood = torch.stack(self._transitions)[self._fold, :, y.clamp_min(0)]
        joint = share * likelihood
        return joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-300)


def mixed(rows: np.ndarray) -> np.ndarray:
    """Return probabilities ``[C, C]`` of which a hundredth is spread over all labels."""
    return (1.0 - _ANY_LABEL) * rows + _ANY_LABEL / len(rows)
