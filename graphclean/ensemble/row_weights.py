"""How much every row counts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphclean.nn.supervision import Supervision

Weighting = Literal["margin"]

_SCALE, _LEAST = 0.5, 1e-3


def given_weights(labels: Supervision) -> Tensor:
    """Return the user's weights ``[N]``, 1 where there are none."""
    weight = torch.ones(len(labels.target))
    if labels.weight is not None:
        weight[labels.train_index] = labels.weight
    return weight


def margin_weights(probs: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    r"""Return low weights where out-of-fold probabilities doubt the given label.

    .. math:: w_i \propto \sigma(2 m_i), \qquad
        m_i = p_i(\tilde y_i) - \max_{c \neq \tilde y_i} p_i(c)

    Args:
        probs: Out-of-fold probabilities ``[N, C]``.
        target: Targets ``[N]`` or ``[N, C]``.
        rows: Rows whose mean weight is one ``[N]``, bool.

    Returns:
        ``[N]``, float32, positive.
    """
    hard = target if target.dim() == 1 else target.argmax(dim=1)
    own = hard.clamp_min(0).unsqueeze(1)
    margin = probs.gather(1, own).view(-1) - probs.scatter(1, own, 0.0).amax(dim=1)
    weight = torch.sigmoid(margin / _SCALE).clamp_min(_LEAST)
    return weight / weight[rows].mean()
