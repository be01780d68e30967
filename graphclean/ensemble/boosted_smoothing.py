"""EBBS: trees boosted through a fixed smoothing of what they say over the graph."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from graphclean.data.mixed import MixedTable
from graphclean.ensemble.regression_trees import TreeSum, fit_tree
from graphclean.ensemble.row_loss import RowCrossEntropy
from graphclean.ensemble.tree_ensemble import TreeEnsemble
from graphclean.nn.params import check_number, estimator
from graphclean.nn.supervision import Supervision
from graphclean.nn.train import Callback
from graphclean.sparse import Propagator, personalised_pagerank
from graphclean.sparse.propagator import Norm
from graphclean.types import spawn_seeds

_LARGEST_MOVE = 4.0
"""Of a logit in a round, before the shrinkage: separable classes would be moved without end."""

_SEARCHES = 30
_PSEUDO_COUNT = 0.5


@estimator
class BoostedSmoothing(TreeEnsemble):
    r"""Boosted trees under a loss that sees them through the graph (EBBS).

    .. math::
        L(F) = \frac{1}{\sum_i w_i} \sum_{i \in T} w_i\,
        \mathrm{CE}\left(y_i, \mathrm{softmax}([P F]_i)\right), \qquad
        P: \; U^{(t+1)} = \alpha S U^{(t)} + (1 - \alpha) F, \; U^{(0)} = F

    Each round fits one tree to the pseudo-residual
    :math:`-\partial L / \partial F = P^\top G`, :math:`G_i = w_i (y_i - \mathrm{softmax}([P F]_i))`
    on training rows and 0 elsewhere, at all nodes: through :math:`P^\top` a label teaches the trees
    what to say at the nodes around it, labelled or not. The tree :math:`h` is added as
    :math:`F + \eta \rho h`, :math:`\rho` the minimum of the convex :math:`L(F + \rho h)` (with no
    logit moved by more than 4). No round with :math:`\eta \le 1` raises the loss on training rows.
    :math:`S = D^{-1} A` with self-loops, so that P leaves constants and isolated nodes as they are.

    Paper: Chen et al., *Does Your Graph Need a Confidence Boost? Convergent Boosted Smoothing on
    Graphs with Tabular Node Features*, ICLR 2022, https://arxiv.org/abs/2110.13413. Where this
    differs from the released code:

    - There, half of the training labels are written into the scores, and the loss for classes then
      judges these rows, too: a node is told its own label. Here labels are never inputs.
    - There, classes are written as one column into scores ``[N, C]``, which fails.
    - The exact step above takes the place of a fixed rate; there is no Nesterov momentum.
    - Neighbours' mean features join the table (there for regression only, smoothed).

    Args:
        lr: Shrinkage :math:`\eta` in (0, 1].
        alpha: Share of the neighbours in a step of P, in (0, 1]; the paper's
            :math:`\lambda / (1 + \lambda)`.
        steps: Steps of P.
    """

    name: ClassVar[str] = "boosted_smoothing"

    lr: float = 0.1
    alpha: float = 0.67
    steps: int = 5
    rounds: int = 200
    min_samples_leaf: int = 50
    neighbours: tuple[str, ...] = ("mean",)
    structure: bool = True

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        check_number("lr", self.lr, 0, 1, open_low=True)

    def prepare(self, data: Any) -> MixedTable:
        """Return the table of all nodes; reads no label, mask or seed."""
        self.check_parameters()
        return self._table(data, None, None)

    def predict_proba(self, data: Any, *, prepared: MixedTable | None = None) -> Tensor:
        """Return class probabilities of all nodes ``[N, C]``, float32 on the CPU.

        Args:
            data: The graph of the fit, or another one with the same features.
            prepared: Result of ``prepare(data)``.

        Raises:
            InputError: The columns are not those of the fit.
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
        """
        check_is_fitted(self, "trees_")
        table = self._table(data, prepared, self.layout_)
        self._check_columns(table)
        scores = torch.from_numpy(self.trees_(self.encoder_.transform(table))) + self.prior_
        smoothed = Smoothing(data, self.alpha, self.steps)(scores)
        return smoothed.softmax(dim=1).float()

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        table = self._table(data, prepared, None)
        x = self._learn_columns(table)
        loss = MetaLoss(Smoothing(data, self.alpha, self.steps), labels)
        self.n_classes_, self.prior_ = labels.num_classes, loss.prior()
        smoothed = loss.smoothing(self.prior_.expand(len(x), -1))
        seeds = spawn_seeds(self.random_state, 1 + self.rounds)[1:]
        trees, rounds = [], self._start(labels, callbacks)
        for number in rounds:
            tree = fit_tree(
                x,
                loss.residual(smoothed).numpy(),
                max_depth=self.max_depth,
                min_samples_leaf=self.min_samples_leaf,
                max_features=self.max_features,
                seed=seeds[number - 1],
            )
            moved = loss.smoothing(torch.from_numpy(tree(x)))
            step = self.lr * loss.best_step(smoothed, moved)
            smoothed = smoothed + step * moved
            trees.append(tree.times(step))
            rounds.end(**loss.by_name(smoothed))
        self._remember(rounds)
        self.trees_ = TreeSum(trees[: rounds.best], labels.num_classes)
        return self


class Smoothing:
    r"""The smoothing P of one graph, and its transpose.

    :math:`P = (\alpha S)^K + (1 - \alpha) \sum_{k < K} (\alpha S)^k`, :math:`S = D^{-1} A` with
    self-loops on the undirected graph. :math:`P^\top` is the same polynomial in
    :math:`S^\top = A D^{-1}`.

    Args:
        data: The graph.
        alpha: Share of the neighbours, in (0, 1].
        steps: K >= 1.
    """

    def __init__(self, data: Any, alpha: float, steps: int) -> None:
        self.data, self.alpha, self.steps = data, alpha, steps

    def __call__(self, values: Tensor) -> Tensor:
        """Return P times values ``[N, C]``, float64."""
        return self._applied("row", values)

    def transposed(self, values: Tensor) -> Tensor:
        """Return the transpose of P times values ``[N, C]``, float64."""
        return self._applied("col", values)

    def _applied(self, norm: Norm, values: Tensor) -> Tensor:
        operator = Propagator.from_data(
            self.data, norm=norm, self_loops=True, direction="both", dtype=torch.float64
        )
        walked = personalised_pagerank(
            operator, values, alpha=1.0 - self.alpha, steps=self.steps, tol=None
        )
        return walked.values


class MetaLoss(RowCrossEntropy):
    """The mean cross-entropy of smoothed scores on the training rows, in double precision.

    Args:
        smoothing: P.
        labels: Targets and rows.
    """

    def __init__(self, smoothing: Smoothing, labels: Supervision) -> None:
        super().__init__(labels, torch.float64)
        self.smoothing = smoothing

    def prior(self) -> Tensor:
        """Return the logarithm of the class shares ``[C]``; an absent class has half a row."""
        counts = (self.weight * self.target).sum(dim=0) * len(self.rows)
        shares: Tensor = (counts + _PSEUDO_COUNT) / (counts + _PSEUDO_COUNT).sum()
        return shares.log()

    def residual(self, smoothed: Tensor) -> Tensor:
        """Return minus the gradient in the scores before the smoothing ``[N, C]``."""
        pulled = torch.zeros_like(smoothed)
        pulled[self.rows] = self.weight * (self.target - smoothed[self.rows].softmax(dim=1))
        return self.smoothing.transposed(pulled)

    def best_step(self, smoothed: Tensor, moved: Tensor) -> float:
        """Return the step >= 0 along ``moved`` that minimises the convex loss.

        Args:
            smoothed: Smoothed scores ``[N, C]``.
            moved: What a step of 1 adds to them ``[N, C]``.
        """
        start, along = smoothed[self.rows], moved[self.rows]
        largest = float(along.abs().max())
        if largest == 0.0 or self._slopes(start, along, 0.0)[0] >= 0.0:
            return 0.0
        low, high = 0.0, _LARGEST_MOVE / largest
        step = 0.0
        for _ in range(_SEARCHES):
            slope, curvature = self._slopes(start, along, step)
            low, high = (step, high) if slope < 0.0 else (low, step)
            newton = step - slope / curvature if curvature > 0.0 else high
            found = newton if low < newton < high else (low + high) / 2.0
            if abs(found - step) <= 1e-6 * high:
                break
            step = found
        return step

    def _slopes(self, start: Tensor, along: Tensor, step: float) -> tuple[float, float]:
        """Return first and second derivative of the loss along ``along``."""
        probs = (start + step * along).softmax(dim=1)
        mean = (probs * along).sum(dim=1, keepdim=True)
        first = self.weight * (mean - (self.target * along).sum(dim=1, keepdim=True))
        second = self.weight * ((probs * along.square()).sum(dim=1, keepdim=True) - mean.square())
        return float(first.sum()), float(second.sum())
