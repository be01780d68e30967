"""The last step of a stack: from the probabilities of all its models to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from graphclean.data.mixed import MixedTable
from graphclean.ensemble.greedy import SelectionLoss, greedy_selection
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.losses.base import as_distribution
from graphclean.nn.tabular import HistGradientBoosting
from graphclean.noise.confident_joint import confident_joint, transition_from_joint

Meta = Literal["greedy", "logistic", "boosting", "mean"]

LOG_FLOOR = 1e-3
"""Least probability in a logarithm that a model reads: one zero says no more than 6.9 nats."""

_L2 = 1e-2
_LARGEST_WEIGHT = 4.0


@dataclass(frozen=True, eq=False)
class Combination:
    r"""How M models become one: a weighted mean, or what ``bias`` or ``model`` make of it.

    Attributes:
        weights: ``[M]``, float64. Without ``bias`` they sum to one and average probabilities; with
            it the logits are :math:`b_c + \sum_m w_m \log p_{mc}`.
        bias: ``[C]``, float64, or None.
        model: Boosted trees on the logarithms, which then decide alone; or None.
    """

    weights: Tensor
    bias: Tensor | None = None
    model: NodeClassifier | None = None

    def __call__(self, probs: Tensor, graph: Any) -> Tensor:
        """Return class probabilities ``[N, C]``, float32, of the models' ``[M, N, C]``."""
        if self.model is not None:
            return self.model.predict_proba(graph, prepared=_table(probs))
        if self.bias is not None:
            logits = torch.einsum("m,mnc->nc", self.weights, _logs(probs).double())
            return torch.softmax(logits + self.bias, dim=1).float()
        mean = torch.einsum("m,mnc->nc", self.weights, probs.double())
        return (mean / mean.sum(dim=1, keepdim=True)).float()


def mean_of(used: Tensor) -> Combination:
    """Return the plain mean of the models that are used ``[M]``, bool."""
    return Combination(used.double() / used.sum())


def fit_combination(
    meta: Meta,
    probs: Tensor,
    target: Tensor,
    rows: Tensor,
    graph: Any,
    *,
    weight: Tensor,
    loss: SelectionLoss,
    seed: int,
) -> Combination:
    r"""Learn how to combine models from rows whose labels none of them has seen.

    ``"greedy"`` selects (`greedy_selection`); ``"logistic"`` minimises the cross-entropy of
    :math:`\mathrm{softmax}(b + \sum_m w_m \log p_m)` plus :math:`0.01 (\lVert w - 1/M \rVert^2 +
    \lVert b \rVert^2)`, one weight in [0, 4] a model; ``"boosting"`` grows small trees on all
    :math:`\log p_{mc}`; ``"mean"`` learns nothing.

    Args:
        meta: How.
        probs: Out-of-fold probabilities of the models ``[M, N, C]``.
        target: Given labels ``[N]``, long, or probabilities ``[N, C]``.
        rows: Rows to learn from ``[n]``, long.
        graph: The graph, for ``"boosting"`` alone, which reads no more than its size.
        weight: Weights ``[N]``; positive in ``rows``.
        loss: Loss of ``"greedy"``; T of ``"forward"`` is counted on ``rows``.
        seed: Seed of ``"boosting"``.
    """
    if meta == "mean":
        return mean_of(torch.ones(len(probs), dtype=torch.bool))
    given = target[rows]
    if meta == "greedy":
        chosen = probs[:, rows]
        transition = None
        if loss == "forward":
            hard = given if given.dim() == 1 else given.argmax(dim=1)
            transition = estimated_transition(hard, chosen.mean(dim=0))
        return Combination(
            greedy_selection(chosen, given, loss, transition, sample_weight=weight[rows])
        )
    if meta == "logistic":
        soft = as_distribution(given, probs.shape[2])
        return _log_linear(_logs(probs[:, rows]), soft, weight[rows])
    mask = torch.zeros(probs.shape[1], dtype=torch.bool)
    mask[rows] = True
    trees = HistGradientBoosting(max_iter=50, max_leaf_nodes=8, random_state=seed)
    model = trees.fit(graph, y=target, mask=mask, sample_weight=weight, prepared=_table(probs))
    return Combination(torch.full((len(probs),), float("nan"), dtype=torch.float64), model=model)


def estimated_transition(given: Tensor, probs: Tensor) -> np.ndarray:
    """Return T ``[C, C]`` as the confident joint of rows ``[n]`` and ``[n, C]`` counts it.

    A class that no row carries keeps its labels.
    """
    transition = np.eye(probs.shape[1])
    classes, codes = np.unique(given.numpy(), return_inverse=True)
    if len(classes) > 1:
        known = probs[:, classes].double().numpy()
        joint = confident_joint(codes, known / known.sum(axis=1, keepdims=True))
        transition[np.ix_(classes, classes)] = transition_from_joint(joint)
    return transition


def contradicted(given: Tensor, probs: Tensor) -> Tensor:
    """Return the rows whose given label confident predictions contradict ``[n]``, bool.

    The most probable class is another one, at least as probable as it is on average where it is
    given (the thresholds of confident learning, https://arxiv.org/abs/1911.00068).
    """
    own = probs.gather(1, given.unsqueeze(1)).view(-1).double()
    count = torch.bincount(given, minlength=probs.shape[1])
    total = torch.zeros(probs.shape[1], dtype=torch.float64).scatter_add_(0, given, own)
    threshold = torch.where(count > 0, total / count.clamp_min(1), torch.inf)
    highest, predicted = probs.max(dim=1)
    return (predicted != given) & (highest.double() >= threshold[predicted])


def _log_linear(logs: Tensor, target: Tensor, weight: Tensor) -> Combination:
    x, q = logs.double().numpy(), target.double().numpy()
    share = (weight.double() / weight.double().sum()).numpy()
    models, classes = len(x), q.shape[1]
    centre = 1.0 / models

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = theta[:models], theta[models:]
        logits = np.tensordot(w, x, axes=1) + b
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        residual = share[:, None] * (np.exp(logits - log_sum) - q)
        value = -(share[:, None] * q * (logits - log_sum)).sum()
        value += _L2 * (np.square(w - centre).sum() + np.square(b).sum())
        slope_w = np.tensordot(x, residual, axes=2) + 2 * _L2 * (w - centre)
        return value, np.concatenate([slope_w, residual.sum(axis=0) + 2 * _L2 * b])

    start = np.concatenate([np.full(models, centre), np.zeros(classes)])
    limits = [(0.0, _LARGEST_WEIGHT)] * models + [(None, None)] * classes
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=limits).x
    return Combination(torch.from_numpy(found[:models]), torch.from_numpy(found[models:]))


def _logs(probs: Tensor) -> Tensor:
    return probs.clamp_min(LOG_FLOOR).log()


def _table(probs: Tensor) -> MixedTable:
    models, nodes, classes = probs.shape
    values = _logs(probs).permute(1, 0, 2).reshape(nodes, models * classes).numpy()
    names = tuple(f"model{m}:{c}" for m in range(models) for c in range(classes))
    return MixedTable(values, names)
