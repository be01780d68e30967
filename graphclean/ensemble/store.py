"""All out-of-fold probabilities of a stack in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphclean.types import InputError


@dataclass(frozen=True, eq=False)
class OutOfFoldStore:
    """What every learner of a stack says about every node, never having seen the node's label.

    A training row is judged by models that were fitted without its fold, exactly once a repeat, any
    other node by the mean of all models. Each view detects wrong labels, two unlike ones together
    better than either: pass ``pred_probs("mean")`` to ``graphclean.find_label_issues``.

    Attributes:
        fold: Fold of every node in every repeat ``[R, N]``, long; -1 for nodes of no fold.
        learners: Probabilities ``[N, C]`` by learner, mean over the repeats: those of the first
            layer by their name, those of layer l as ``"layer<l>/<name>"``.
        layers: Layer of every learner, from 1.
        stack: Probabilities of the whole stack ``[N, C]``.
        model_probs: Prediction of every fold's model for every node ``[R, K, N, C]`` by learner;
            empty in a loaded stack.
    """

    fold: Tensor
    learners: dict[str, Tensor]
    layers: dict[str, int]
    stack: Tensor
    model_probs: dict[str, Tensor] = field(default_factory=dict)

    def names(self, layer: int | None = None) -> list[str]:
        """Return the learners, of one layer or of all."""
        return [name for name, number in self.layers.items() if layer in (None, number)]

    def pred_probs(self, which: str = "mean") -> Tensor:
        """Return probabilities ``[N, C]`` that no label has had a part in for its own row.

        Args:
            which: ``"mean"`` for the plain mean of the first layer, ``"stack"``, or a learner.

        Raises:
            InputError: There is no such learner.
        """
        if which == "stack":
            return self.stack
        if which == "mean":
            return torch.stack([self.learners[name] for name in self.names(1)]).mean(dim=0)
        if which not in self.learners:
            known = ", ".join(("mean", "stack", *self.learners))
            raise InputError("which", which, f"Choose one of: {known}.")
        return self.learners[which]

    def disagreement(self) -> Tensor:
        r"""Return how far the learners of the first layer are apart at every node ``[N]``.

        The generalised Jensen-Shannon divergence :math:`H(\bar p) - \frac{1}{M} \sum_m H(p_m)` in
        nats, 0 where all say the same.
        """
        views = torch.stack([self.learners[name] for name in self.names(1)]).double()
        entropy = -torch.special.xlogy(views, views).sum(dim=2)
        mean = views.mean(dim=0)
        mixed = -torch.special.xlogy(mean, mean).sum(dim=1)
        apart: Tensor = (mixed - entropy.mean(dim=0)).clamp_min(0.0)
        return apart
