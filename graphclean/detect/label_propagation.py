"""Label propagation that never hands a node its own label back."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from graphclean.data import num_classes
from graphclean.detect.masked import MaskedVoteDetector
from graphclean.nn.params import check_params, estimator
from graphclean.sparse import Propagator, label_propagation, one_hot_labels
from graphclean.types import InputError

_TOLERANCE = 1e-5
"""Largest change of an entry in the last step: far below what moves a rank."""


@estimator
class LabelPropagationResidual(MaskedVoteDetector):
    r"""Share of the given class in the labels that are spread over the graph.

    .. math::
        F = (1 - \alpha) (I - \alpha S)^{-1} Y, \qquad S = D^{-1/2} A D^{-1/2}, \qquad
        q_i = \frac{m_{\tilde y_i} F_{i, \tilde y_i}}{\sum_c m_c F_{ic}}

    Label spreading (Zhou et al., *Learning with Local and Global Consistency*, NIPS 2003) with the
    one-hot labels Y of the other folds, so that what a node is judged by is the residual between
    its given label and the propagated ones. With ``class_mass``, :math:`m_c = n_c / \sum_j F_{jc}`
    gives every class the mass of its :math:`n_c` labels (class mass normalisation of Zhu,
    Ghahramani & Lafferty, *Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions*,
    ICML 2003); else :math:`m_c = 1`. A node is flagged where another class has more; a node that no
    label reaches is never flagged. Assumes homophily.

    Args:
        alpha: Share of the neighbours in (0, 1); the rest restarts from the labels.
        steps: Largest number of steps; fewer where F no longer changes.
        class_mass: Whether every class keeps the mass of its labels.
        n_folds: Folds; with K folds a node sees (K - 1) / K of the labels around it.
        random_state: Seed of the folds.
        progress: Whether to show a progress bar over the folds.
    """

    name: ClassVar[str] = "label_propagation"

    alpha: float = 0.9
    steps: int = 50
    class_mass: bool = True

    def _weights(self, graph: Any, y: Tensor, seed: int) -> Tensor:
        del seed
        check_params({"alpha": self.alpha})
        if self.alpha == 1:
            raise InputError("alpha", self.alpha, "Pass a number in (0, 1).")
        propagator = Propagator.from_data(graph, norm="sym", dtype=torch.float64)
        labels = one_hot_labels(y, num_classes(graph), torch.float64)
        spread = label_propagation(
            propagator, labels, alpha=self.alpha, steps=self.steps, tol=_TOLERANCE
        ).values
        if not self.class_mass:
            return spread
        return spread * labels.sum(dim=0) / spread.sum(dim=0).clamp_min(1e-12)
