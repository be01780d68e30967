"""The cross-entropy of the rows of a fit, for ensembles with training loops of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from graphclean.nn.losses.base import as_distribution
from graphclean.nn.supervision import Supervision


class RowCrossEntropy:
    """Cross-entropy of logits ``[N, C]`` against the targets of a fit.

    Args:
        labels: Targets and rows.
        dtype: Of targets and weights.

    Attributes:
        rows: Training rows ``[n]``.
        target: Their targets ``[n, C]``.
        weight: Their weights ``[n, 1]``, which sum to one.
        held: Validation rows ``[m]``.
    """

    def __init__(self, labels: Supervision, dtype: torch.dtype) -> None:
        self.classes, self.rows, self.held = (
            labels.num_classes,
            labels.train_index,
            labels.val_index,
        )
        self.target = as_distribution(labels.target[self.rows], self.classes).to(dtype)
        self._held_target = as_distribution(labels.target[self.held], self.classes).to(dtype)
        weight = torch.ones(len(self.rows)) if labels.weight is None else labels.weight
        self.weight = (weight.to(dtype) / weight.to(dtype).sum()).unsqueeze(1)

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the weighted mean over the training rows, a scalar."""
        return -(self.weight * self.target * logits[self.rows].log_softmax(dim=1)).sum()

    @torch.no_grad()
    def by_name(self, logits: Tensor) -> dict[str, float]:
        """Return ``loss`` and, with validation rows, ``val_loss``, their plain mean."""
        found = {"loss": float(self(logits))}
        if len(self.held):
            losses = self._held_target * logits[self.held].log_softmax(dim=1)
            found["val_loss"] = -float(losses.sum(dim=1).mean())
        return found
