"""Two views: what the features say and what the labels around the node say, apart and together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.detect.base import Verdict
from graphclean.detect.base_learner import feature_view_classifier
from graphclean.detect.label_dependency import LabelDependency
from graphclean.detect.probability import binomial_rate
from graphclean.detect.vote import OutOfFoldVoteDetector, Votes, class_prior_without
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import estimator

_FLOOR = 0.01
"""Added to every probability of a view: no view alone can rule a class out."""

_TIE = 1e-9
"""Probabilities that are closer than this differ by rounding only."""


@dataclass(frozen=True, eq=False)
class Views:
    """What each view says about every node; its own given label has no part in it.

    Attributes:
        features: Class probabilities from the node's features ``[N, C]``, float64.
        structure: Class probabilities from the labels around the node ``[N, C]``, float64.
        prior: Class shares of all other labelled nodes ``[N, C]``, float64.
        seen: Nodes with labels around them ``[N]``, bool; the structure of others is the prior.
    """

    features: Tensor
    structure: Tensor
    prior: Tensor
    seen: Tensor

    def posterior(self) -> Tensor:
        """Return the class probabilities of both views together ``[N, C]``, float64."""
        joint = self.features * self.structure / self.prior
        return joint / joint.sum(dim=1, keepdim=True)


@estimator
class TwoView(OutOfFoldVoteDetector):
    r"""Posterior of the given class from two views that know nothing of each other.

    .. math::
        q_i = p(\tilde y_i \mid x_i, N_i), \qquad
        p(c \mid x_i, N_i) \propto \frac{p(c \mid x_i)\; p(c \mid N_i)}{p(c)}

    The feature view :math:`p(c \mid x_i)` are out-of-fold predictions of an MLP that sees no edge.
    The structure view :math:`p(c \mid N_i)` are the votes of ``LabelDependency``: it sees no
    feature. Two such views of a node are the setting of co-training (Blum & Mitchell, *Combining
    Labeled and Unlabeled Data with Co-Training*, COLT 1998). Where they are independent given the
    class, Bayes' rule makes their product, divided by the class shares p(c) of the other nodes,
    the posterior. To every probability 0.01 is added, so that no view alone rules a class out.

    A node is flagged where another class has the larger posterior. The evidence columns are
    ``feature_view`` and ``structure_view``, the probability of the given class in each, and
    ``contradicted_by``: ``"both views"``, ``"features"``, ``"structure"`` or ``"neither"``, the
    views in which another class is more probable than the given one.

    Probabilities given to ``fit`` stand for the feature view. Those of a graph network read the
    labels around the node as well, as the structure view does, which then counts them twice.

    Args:
        hops: Hops of the structure view, >= 1.
        classifier: Learner of the feature view: a ``NodeClassifier`` that reads no edges or its
            registered name; None for an MLP.
        n_folds: Folds of the feature view.
        n_repeats: Repeats of the folds, averaged.
        random_state: Seed of the folds and fits of both views.
        n_jobs: Processes for the folds; -1 for all cores. It does not change the result.
        progress: Whether to show progress bars over the folds.
    """

    name: ClassVar[str] = "two_view"

    hops: int = 2

    def votes(self, graph: Any, source: OutOfFold | Tensor | None) -> Votes:
        """Return the posterior of both views; a node without neighbours has its features."""
        posterior = self.views(graph, self._source(graph, source)).posterior()
        return Votes(posterior, torch.ones(len(posterior), dtype=torch.bool))

    def views(self, graph: Any, source: OutOfFold | Tensor) -> Views:
        """Return both views of a checked graph.

        Args:
            graph: Checked ``Data``.
            source: The feature view: out-of-fold probabilities or your own ``[N, C]``.
        """
        features = source.pred_probs if isinstance(source, OutOfFold) else source
        dependency = LabelDependency(
            hops=self.hops, random_state=self.random_state, progress=self.progress
        )
        structure = dependency.votes(graph, None)
        prior = class_prior_without(graph.y, features.shape[1])
        return Views(_floored(features), _floored(structure.share), _floored(prior), structure.seen)

    def _out_of_fold(self, graph: Any) -> OutOfFold:
        if self.classifier is not None:
            return super()._out_of_fold(graph)
        learned: TwoView = clone(self).set_params(classifier=feature_view_classifier(graph))
        return learned._out_of_fold(graph)

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        views = self.views(graph, self._source(graph, pred_probs))
        posterior, judged = views.posterior(), labelled_mask(graph)
        given = graph.y.clamp_min(0).unsqueeze(1)
        issue = _contradicts(posterior, given) & judged
        by_features = _contradicts(views.features, given).numpy()
        by_structure = (_contradicts(views.structure, given) & views.seen).numpy()
        kinds = np.array(["neither", "features", "structure", "both views"], dtype=object)
        return Verdict(
            judged=judged,
            label_quality=posterior.gather(1, given).squeeze(1).numpy(),
            is_label_issue=issue.numpy(),
            class_probs=posterior.numpy(),
            pred_probs=posterior.numpy(),
            noise_rate=binomial_rate(float(issue.sum()), int(judged.sum())),
            evidence={
                "feature_view": views.features.gather(1, given).squeeze(1).numpy(),
                "structure_view": views.structure.gather(1, given).squeeze(1).numpy(),
                "contradicted_by": kinds[by_features + 2 * by_structure],
            },
        )


def _floored(probs: Tensor) -> Tensor:
    """Return the rows with a floor under every class; rows that nothing is known of: uniform."""
    raised = torch.nan_to_num(probs.double()) + _FLOOR
    return raised / raised.sum(dim=1, keepdim=True)


def _contradicts(probs: Tensor, given: Tensor) -> Tensor:
    """Return where another class is more probable than the given one ``[N]``, bool."""
    return probs.gather(1, given).squeeze(1) < probs.max(dim=1).values - _TIE
