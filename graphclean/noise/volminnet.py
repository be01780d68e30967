"""VolMinNet: T and a classifier learned together, T as small in volume as the labels allow."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graphclean.noise._propagated import propagated_features
from graphclean.noise.estimator import Estimate, Observed, TransitionEstimator
from graphclean.types import InputError, Seed

_START = -2.0
"""First value of the weights: off-diagonal entries begin at sigmoid(-2) = .12 before scaling."""


class VolMinNet(TransitionEstimator):
    r"""T of the smallest volume that explains the given labels (Li et al., 2021).

    .. math::
        \min_{T, \theta}\; -\frac{1}{M} \sum_v \log\, (T^\top p_\theta(x_v))_{\tilde y_v}
        + \lambda \log |\det T|

    T has a diagonal of 1 and off-diagonal entries :math:`\sigma(w)` before its rows are divided by
    their sums; :math:`p_\theta` is a linear softmax on label-free features
    :math:`\hat S^2 X`, reduced and standardised. Full-batch Adam from zero weights, float32. The
    prior is the mean of :math:`p_\theta`. Paper: https://arxiv.org/abs/2102.02400.

    Args:
        volume: :math:`\lambda \ge 0`.
        components: Dimensions that the propagated features are reduced to, >= 1.
        epochs: Steps, >= 1.
        lr: Learning rate of the classifier and of T, > 0.
        weight_decay: L2 penalty of the classifier's weights, >= 0.
        random_state: Seed of the reduction.

    Raises:
        InputError: On fit: a parameter is out of range.
    """

    name: ClassVar[str] = "volminnet"

    def __init__(
        self,
        *,
        volume: float = 1e-4,
        components: int = 64,
        epochs: int = 300,
        lr: float = 0.05,
        weight_decay: float = 1e-3,
        random_state: Seed = 0,
    ) -> None:
        self.volume = volume
        self.components = components
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.random_state = random_state

    def _estimate(self, observed: Observed) -> Estimate:
        self._check_numbers()
        known = observed.y >= 0
        features = propagated_features(observed.graph, self.components, self.random_state)
        rows = features[known.numpy()]
        spread = rows.std(axis=0)
        rows = (rows - rows.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
        x, y = torch.from_numpy(rows).float(), observed.y[known]
        transition, prior = self._learn(x, y, len(observed.classes))
        return Estimate(transition.double().numpy(), prior.double().numpy())

    def _check_numbers(self) -> None:
        if not isinstance(self.epochs, Integral) or self.epochs < 1:
            raise InputError("epochs", self.epochs, "Pass an integer >= 1.")
        for argument in ("volume", "weight_decay"):
            value = getattr(self, argument)
            if not isinstance(value, Real) or not 0 <= value < float("inf"):
                raise InputError(argument, value, "Pass a number >= 0.")
        if not isinstance(self.lr, Real) or not 0 < self.lr < float("inf"):
            raise InputError("lr", self.lr, "Pass a number > 0.")

    def _learn(self, x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return T ``[K, K]`` and the mean prediction ``[K]``."""
        weight = torch.zeros(x.shape[1], classes, requires_grad=True)
        bias = torch.zeros(classes, requires_grad=True)
        raw = torch.full((classes, classes), _START, requires_grad=True)
        groups: list[dict[str, Any]] = [
            {"params": [weight], "weight_decay": self.weight_decay},
            {"params": [bias, raw]},
        ]
        optimiser = torch.optim.Adam(groups, lr=self.lr)
        for _ in range(int(self.epochs)):
            optimiser.zero_grad()
            transition = small_volume(raw)
            noisy = (x @ weight + bias).softmax(dim=1) @ transition
            fit = -noisy.gather(1, y.unsqueeze(1)).clamp_min(1e-12).log().mean()
            loss = fit + self.volume * torch.linalg.slogdet(transition).logabsdet
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return small_volume(raw), (x @ weight + bias).softmax(dim=1).mean(dim=0)


def small_volume(raw: Tensor) -> Tensor:
    r"""Return T ``[K, K]`` of weights: 1 on the diagonal, :math:`\sigma(w)` off it, rows scaled."""
    identity = torch.eye(len(raw))
    scaled: Tensor = identity + raw.sigmoid() * (1.0 - identity)
    return scaled / scaled.sum(dim=1, keepdim=True)
