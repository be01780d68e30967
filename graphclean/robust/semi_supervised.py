"""What trainers share that learn from some rows with labels and from others without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphclean.nn.batches import Rows
from graphclean.nn.losses.base import as_distribution
from graphclean.nn.train import Event, RowObjective, cross_entropy

_TINY = torch.finfo(torch.float32).tiny


def sharpened(probs: Tensor, temperature: float) -> Tensor:
    r"""Return :math:`p_k^{1/T} / \sum_l p_l^{1/T}` of rows ``[b, C]``."""
    return (probs.clamp_min(1e-30).log() / temperature).softmax(dim=1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of rows ``[b, C]``, ``[b]`` in nats, 0 to log 2."""
    mean = (p + q) / 2
    return (_relative_entropy(p, mean) + _relative_entropy(q, mean)) / 2


def _relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    # Half of the least number above zero is zero, whose logarithm would be infinite.
    return (torch.xlogy(p, p) - torch.xlogy(p, q.clamp_min(_TINY))).sum(dim=1)


def prior_gap(probs: Tensor, prior: Tensor) -> Tensor:
    """Return KL(prior, mean of the rows): high where a class is forgotten.

    Args:
        probs: ``[b, C]``.
        prior: ``[C]``; a class of prior 0 is not asked for.
    """
    mean = probs.mean(dim=0).clamp_min(1e-30)
    return (torch.xlogy(prior, prior) - torch.xlogy(prior, mean)).sum()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of values ``[b]``, 0 where all weights are."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-12)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode and without gradients; back to training after it."""
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train()


class SemiSupervised:
    """Base of the objectives of two networks that learn from labels and from guesses.

    Args:
        rows: The training rows.
        network: Holds a `TwinNetwork` as ``body``.
        temperature: Of `sharpened`.
        guess_weight: Weight of the guesses in the end.
        warmup: Epochs without guesses.
        ramp: Epochs over which their weight grows.

    Attributes:
        epoch: Epochs that are over.
        target: Given labels as probabilities ``[n, C]``.
        given: Their most probable classes ``[n]``.
        weight: Weights of the user ``[n]``.
        prior: Share of every class in the given labels ``[C]``.
    """

    def __init__(
        self,
        rows: RowObjective,
        network: nn.Module,
        num_classes: int,
        *,
        temperature: float,
        guess_weight: float,
        warmup: int,
        ramp: int,
    ) -> None:
        self.rows, self.network, self.temperature = rows, network, temperature
        self.guess_weight, self.warmup, self.ramp = guess_weight, warmup, ramp
        self.target = as_distribution(rows.target, num_classes)
        self.given = self.target.argmax(dim=1)
        self.weight = torch.ones(len(self.given)).to(self.target)
        if rows.weight is not None:
            self.weight = rows.weight
        share = (self.target * self.weight.unsqueeze(1)).sum(dim=0)
        self.prior = share / share.sum()
        self.epoch = 0

    def share(self, rows: Rows) -> float:
        """Return the share of a batch in the training rows."""
        return self.rows.share(rows)

    def on_event(self, event: Event) -> None:
        """Count the epochs."""
        self.epoch = int(event.get("epoch", 0))

    def probabilities(self, rows: Rows) -> Tensor:
        """Return what both networks believe of some rows, without dropout ``[b, 2, C]``."""
        with evaluating(self.network):
            # The pair alone keeps its mode, in which it does not average.
            self.network.get_submodule("body").training = True
            return self.rows.reader.train_logits(rows).softmax(dim=2)

    def loss(
        self, logits: Tensor, target: Tensor, labelled: Tensor, guess: Tensor, guessed: Tensor
    ) -> Tensor:
        r"""Return the loss of one network.

        .. math::
            \overline{CE}(p, t) + \lambda_u(t) \, \overline{\tfrac{1}{C} \| p - g \|^2}
            + KL(\pi \| \bar p)

        Args:
            logits: ``[b, C]``.
            target: What the labelled rows learn ``[b, C]``.
            labelled: Their weights ``[b]``, 0 for others.
            guess: What the other rows learn ``[b, C]``.
            guessed: Their weights ``[b]``, 0 for others.
        """
        probs = logits.softmax(dim=1)
        grown = min(max((self.epoch - self.warmup) / max(self.ramp, 1), 0.0), 1.0)
        square = F.mse_loss(probs, guess, reduction="none").mean(dim=1)
        return (
            weighted_mean(cross_entropy(logits, target), labelled)
            + self.guess_weight * grown * weighted_mean(square, guessed)
            + prior_gap(probs, self.prior)
        )
