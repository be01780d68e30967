"""What a network says about its own training nodes while it learns them, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor

from graphclean.detect.base_learner import is_large, resolve_classifier
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.prepared import Prepared
from graphclean.nn.sign import SIGN
from graphclean.nn.train import Loss, cross_entropy
from graphclean.types import InputError

_BATCH = 4096


@dataclass(frozen=True, eq=False)
class TrainingDynamics:
    r"""Statistics of the training logits :math:`z^{(t)}` of N nodes over the epochs t = 1..E.

    The logits are those that the loss saw: dropout on, before the step of the epoch. Rows of nodes
    that did not train are zero.

    Attributes:
        margin: :math:`\frac1E \sum_t \big(z^{(t)}_y - \max_{k \ne y} z^{(t)}_k\big)` ``[N]``,
            float64, y being the label that was trained on.
        probs: Mean softmax ``[N, C]``, float64.
        first_learned: First epoch t at which the label was the largest logit in the ``streak``
            epochs up to t ``[N]``, long; 0 if there was none.
    """

    margin: Tensor
    probs: Tensor
    first_learned: Tensor


def record_dynamics(
    classifier: NeuralClassifier,
    data: Any,
    y: Tensor,
    *,
    epochs: int,
    seed: int,
    streak: int = 1,
    prepared: Prepared | None = None,
) -> TrainingDynamics:
    """Train on every labelled node and keep running statistics of what the loss saw.

    No node is held back and no early stop applies, so that every node is seen once an epoch, in
    mini-batches too. Memory is O(N C), whatever the number of epochs.

    Args:
        classifier: Cloned, never changed; its ``loss`` is applied as it is.
        data: The graph.
        y: Labels to train on ``[N]``, long; -1 for none. They may name a class that the graph does
            not know.
        epochs: Epochs E, in place of the classifier's.
        seed: Seed of the training.
        streak: Epochs in a row that make a label a learned one.
        prepared: Result of ``classifier.prepare(data)``.

    Raises:
        InputError: A parameter of the classifier is out of range.
        KeyboardInterrupt: The training was interrupted.
    """
    model = clone(classifier)
    recorder = _Recorder(model.loss or cross_entropy, len(y), streak)
    model.set_params(
        epochs=epochs,
        patience=None,
        val_fraction=0.0,
        loss=recorder,
        data_parallel=False,
        random_state=seed,
    )
    model.fit(data, y=y, mask=y >= 0, prepared=prepared)
    if model.stop_reason_ == "interrupt":
        raise KeyboardInterrupt
    return recorder.dynamics()


def dynamics_classifier(classifier: Any, graph: Any) -> NeuralClassifier:
    """Return the network whose training is watched: the user's, or a SIGN of two hops.

    Training dynamics need epochs rather than the best accuracy. SIGN propagates the features once
    and then costs two matrix products an epoch, where the default base learner propagates anew; on
    large graphs it goes on in mini-batches. Bags of words keep their scale: with rows that sum to
    one, the first dozens of epochs learn little but the class shares. Strong dropout puts off the
    memorising of wrong labels.

    Raises:
        InputError: The classifier is unknown, or not a ``NeuralClassifier``.
    """
    if classifier is None:
        batch = _BATCH if is_large(graph) else None
        return SIGN(hops=2, hidden=32, lr=0.02, dropout=0.8, batch_size=batch)
    resolved = resolve_classifier(classifier, graph)
    if not isinstance(resolved, NeuralClassifier):
        raise InputError(
            "classifier",
            type(resolved).__name__,
            "Pass a NeuralClassifier: training dynamics are read from its epochs.",
        )
    return resolved


class _Recorder:
    """A loss that passes its value on unchanged and adds up what it saw."""

    def __init__(self, loss: Loss, num_nodes: int, streak: int) -> None:
        self._loss, self._num_nodes, self._streak = loss, num_nodes, streak
        self._visits = torch.zeros(num_nodes, dtype=torch.long)

    def __call__(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        self._record(logits.detach(), target, index)
        return self._loss(logits, target, index)

    def _record(self, logits: Tensor, target: Tensor, index: Tensor) -> None:
        if not hasattr(self, "_margin"):
            self._allocate(logits)
        at = target.unsqueeze(1)
        rivals = logits.scatter(1, at, -torch.inf).max(dim=1).values
        margin = logits.gather(1, at).squeeze(1) - rivals
        self._margin[index] += margin.double()
        self._probs[index] += logits.softmax(dim=1).double()
        self._visits[index] += 1
        learned = logits.argmax(dim=1) == target
        run = torch.where(learned, self._run[index] + 1, 0)
        self._run[index] = run
        first = (run >= self._streak) & (self._first_learned[index] == 0)
        self._first_learned[index[first]] = self._visits[index[first]]

    def _allocate(self, logits: Tensor) -> None:
        """Make the statistics on the device of the training, which is known only now."""
        n, like = self._num_nodes, logits
        self._margin = like.new_zeros(n, dtype=torch.float64)
        self._probs = like.new_zeros(n, like.shape[1], dtype=torch.float64)
        self._visits = like.new_zeros(n, dtype=torch.long)
        self._run = like.new_zeros(n, dtype=torch.long)
        self._first_learned = like.new_zeros(n, dtype=torch.long)

    def dynamics(self) -> TrainingDynamics:
        """Return the means over the epochs, on the CPU."""
        visits = self._visits.clamp_min(1)
        return TrainingDynamics(
            margin=(self._margin / visits).cpu(),
            probs=(self._probs / visits.unsqueeze(1)).cpu(),
            first_learned=self._first_learned.cpu(),
        )
