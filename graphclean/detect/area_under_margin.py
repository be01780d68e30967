"""Area under the margin: mislabels are learned late and against their logits."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.dynamics import dynamics_classifier, record_dynamics
from graphclean.detect.probability import binomial_rate
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.stages import stage
from graphclean.types import InputError, Seed, numpy_rng, spawn_seeds


@estimator
class AreaUnderMargin(Detector):
    r"""Mean margin of the given label over the training epochs, against that of fake labels.

    .. math::
        \mathrm{AUM}_i = \frac1E \sum_{t=1}^{E}
        \Big( z^{(t)}_{i, \tilde y_i} - \max_{k \ne \tilde y_i} z^{(t)}_{i,k} \Big)

    with the logits z of the training. For scale, floor(n / (C + 1)) random nodes, the threshold
    samples, are given a fake class C + 1, which is wrong for certain; the threshold
    :math:`\tau` is the 99th percentile of their AUM. A second run with other threshold samples lets
    every node keep its label at least once. A node's excess is the mean of
    :math:`\mathrm{AUM} - \tau` over the runs in which it kept its label; nodes with an excess
    :math:`\le 0` are flagged, and ``label_quality`` is the logistic function of the excess, 1/2 at
    the threshold. The evidence column ``area_under_margin`` is the mean AUM over the same runs.

    Unlike the other detectors it judges in sample: whether the rest of the graph lets the network
    learn a label can only be watched while it trains on that label. Hence few epochs: in the end a
    network fits wrong labels too. Classes are suggested by the mean training probabilities.

    Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS
    2020, https://arxiv.org/abs/2001.10528; a full-batch epoch is one step, so that their epoch
    counts do not carry over, and averaging both runs is ours.

    Args:
        classifier: The ``NeuralClassifier`` to watch, or its registered name; None for SIGN of two
            hops. Its ``epochs``, ``patience`` and ``val_fraction`` do not apply.
        epochs: Epochs E of each of the two runs.
        percentile: Percentile of the threshold samples' AUM, in (0, 100).
        random_state: Seed of the threshold samples and of the training.
    """

    name: ClassVar[str] = "area_under_margin"

    reads_probs: ClassVar[bool] = False

    judges_in_sample: ClassVar[bool] = True

    classifier: Any = None
    epochs: int = 60
    percentile: float = 99.0
    random_state: Seed = 0

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        del pred_probs
        check_params({"epochs": self.epochs})
        if not isinstance(self.percentile, Real) or not 0 < self.percentile < 100:
            raise InputError("percentile", self.percentile, "Pass a number in (0, 100).")
        classifier = dynamics_classifier(self.classifier, graph)
        draw_seed, *seeds = spawn_seeds(self.random_state, 3)
        judged, classes = labelled_mask(graph), num_classes(graph)
        n = len(graph.y)
        runs, margin, excess = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
        probs = torch.zeros(n, classes, dtype=torch.float64)
        with stage("Training dynamics"):
            prepared = classifier.prepare(graph)
            drawn = _threshold_samples(judged, classes, draw_seed)
            for fake, seed in zip(drawn, seeds, strict=True):
                y = graph.y.clone()
                y[fake] = classes
                found = record_dynamics(
                    classifier, graph, y, epochs=self.epochs, seed=seed, prepared=prepared
                )
                threshold = float(np.percentile(found.margin[fake].numpy(), self.percentile))
                kept = (judged & (y < classes)).double()
                runs += kept
                margin += kept * found.margin
                excess += kept * (found.margin - threshold)
                probs += kept.unsqueeze(1) * found.probs[:, :classes]
        runs = runs.clamp_min(1.0)
        probs = probs / probs.sum(dim=1, keepdim=True).clamp_min(1e-300)
        issue = (excess <= 0) & judged
        return Verdict(
            judged=judged,
            label_quality=expit((excess / runs).numpy()),
            is_label_issue=issue.numpy(),
            class_probs=probs.numpy(),
            pred_probs=probs.numpy(),
            noise_rate=binomial_rate(float(issue.sum()), int(judged.sum())),
            evidence={"area_under_margin": (margin / runs).numpy()},
        )


def _threshold_samples(judged: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw two disjoint sets of floor(n / (C + 1)) labelled nodes, at least one node each."""
    index = judged.nonzero().view(-1)
    size = max(len(index) // (classes + 1), 1)
    order = torch.from_numpy(numpy_rng(seed).permutation(len(index)))
    return index[order[:size]], index[order[size : 2 * size]]
