"""First learned epoch: wrong labels are learned late, or never."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.dynamics import dynamics_classifier, record_dynamics
from graphclean.detect.probability import binomial_rate
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.stages import stage
from graphclean.types import InputError, Seed, spawn_seeds


@estimator
class FirstLearnedEpoch(Detector):
    r"""First epoch at which a label has been predicted k times in a row.

    .. math::
        \mathrm{FkL}_i = \min \Big\{ t \ge k : \arg\max_c p^{(s)}_{i,c} = \tilde y_i
        \text{ for } s = t - k + 1, \dots, t \Big\}

    with the training probabilities p of epochs 1 to E; infinite if there is no such epoch. Labels
    rank by FkL, and those of equal FkL by the mean probability of the given label over all epochs:

    .. math::
        q_i = \frac{L - \ell_i + \bar p_i(\tilde y_i)}{L + 1}, \qquad
        \ell_i = \min(\mathrm{FkL}_i - k,\, L), \qquad L = E - k + 1

    in [0, 1]. A label is flagged if it was never learned and the mean probability prefers another
    class. Never learned alone would also flag the nodes on which the dropout breaks every row of k;
    the published rule, to drop a slowest fraction, needs that fraction to be known. The evidence
    column ``first_learned_epoch`` holds FkL, 0 for never.

    Unlike the other detectors it judges in sample: how long a network takes to learn a label can
    only be watched while it trains on that label. Classes are suggested by the mean probabilities.

    Yuan et al., "Late Stopping: Avoiding Confidently Learning from Mislabeled Examples", ICCV 2023,
    https://arxiv.org/abs/2308.13862; of its rounds of dropping and training anew this is the first,
    and k counts full-batch epochs.

    Args:
        classifier: The ``NeuralClassifier`` to watch, or its registered name; None for SIGN of two
            hops. Its ``epochs``, ``patience`` and ``val_fraction`` do not apply.
        epochs: Epochs E.
        streak: Epochs in a row k, 1 to E.
        random_state: Seed of the training.
    """

    name: ClassVar[str] = "first_learned_epoch"

    reads_probs: ClassVar[bool] = False

    judges_in_sample: ClassVar[bool] = True

    classifier: Any = None
    epochs: int = 100
    streak: int = 10
    random_state: Seed = 0

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        del pred_probs
        check_params({"epochs": self.epochs})
        if not isinstance(self.streak, Integral) or not 1 <= self.streak <= self.epochs:
            raise InputError("streak", self.streak, "Pass an integer from 1 to epochs.")
        classifier = dynamics_classifier(self.classifier, graph)
        with stage("Training dynamics"):
            found = record_dynamics(
                classifier,
                graph,
                graph.y,
                epochs=self.epochs,
                seed=spawn_seeds(self.random_state, 1)[0],
                streak=self.streak,
            )
        judged = labelled_mask(graph)
        given = graph.y.clamp_min(0)
        confidence = found.probs.gather(1, given.unsqueeze(1)).squeeze(1)
        levels = self.epochs - self.streak + 1
        never = found.first_learned == 0
        level = (found.first_learned - self.streak).masked_fill(never, levels)
        issue = judged & never & (found.probs.argmax(dim=1) != given)
        return Verdict(
            judged=judged,
            label_quality=((levels - level + confidence) / (levels + 1)).numpy().clip(0.0, 1.0),
            is_label_issue=issue.numpy(),
            class_probs=found.probs.numpy(),
            pred_probs=found.probs.numpy(),
            noise_rate=binomial_rate(float(issue.sum()), int(judged.sum())),
            evidence={"first_learned_epoch": found.first_learned.numpy()},
        )
