"""BGNN: trees that make the inputs of a graph network, trained by its gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from graphclean.data.mixed import MixedTable
from graphclean.ensemble.backbone import make_backbone
from graphclean.ensemble.base_fits import (
    check_folds,
    fit_out_of_fold,
    graph_key,
    mean_probs,
    training_folds,
)
from graphclean.ensemble.regression_trees import RegressionTree, TreeSum, fit_tree
from graphclean.ensemble.row_loss import RowCrossEntropy
from graphclean.ensemble.tree_ensemble import TreeEnsemble
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import check_integer, check_number, estimator
from graphclean.nn.prepared import Prepared
from graphclean.nn.seeding import seeded
from graphclean.nn.supervision import Supervision
from graphclean.nn.tabular import HistGradientBoosting
from graphclean.nn.tabular.encoder import DenseEncoder
from graphclean.nn.train import Callback
from graphclean.types import spawn_seeds

_CPU = torch.device("cpu")
_TRIALS = 8


@estimator
class BoostedGNN(TreeEnsemble):
    r"""Boosted trees and a graph network, trained end to end (BGNN).

    .. math::
        p = \mathrm{softmax}\left(\mathrm{GNN}_\theta([X \,\|\, F], A)\right), \qquad
        F = F^{(0)} + \sum_t \rho_t h_t(X)

    A round trains :math:`\theta` by ``steps`` steps of Adam with F fixed, then fits one tree
    :math:`h_t`, of C outputs, to :math:`-\partial L / \partial F`, the gradient of the network's
    loss in its inputs, at all nodes, and adds it with the step :math:`\rho_t` that lowers the loss
    most among :math:`\delta\, 2^{-j} / \max |h_t|`, or not at all where none does.
    :math:`F^{(0)}` are the probabilities of boosted trees on the table.

    Paper: Ivanov and Prokhorenkova, *Boost then Convolve: Gradient Boosting Meets Graph Neural
    Networks*, https://arxiv.org/abs/2101.08543. Where this differs from the released code:

    - :math:`F^{(0)}` is out of fold for training rows, and the mean of the folds' models for all
      others. There, the first trees are fitted to the labels of the rows that they then describe:
      the network learns to copy them and meets worse inputs elsewhere.
    - The trees' targets are the gradients themselves, at every node in reach of a training row;
      there, how far Adam moved the inputs, of training rows alone.
    - A tree that does not lower the loss is not kept; there, its sum is added with weight 1.
    - Histogram and exact trees of scikit-learn take the place of CatBoost, whose encoding of
      categories reads labels; categories are ranks by frequency to the later trees.
    - The best round by validation loss predicts; validation labels do nothing else.

    On the graph of the fit, training rows keep their out-of-fold inputs in ``predict_proba``; on
    any other graph all nodes get the mean of the models.

    Args:
        backbone: ``"appnp"``, ``"gat"``, ``"gcn"`` or ``"sage"``.
        hidden: Width of the hidden layers.
        num_layers: Layers of the network.
        dropout: Dropout probability of the hidden layers.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty on the network.
        steps: Steps of Adam in a round.
        tree_step: :math:`\delta > 0`, the most that a round changes one entry of F.
        max_iter: Rounds of the boosted trees behind F at the start.
        n_folds: Their folds.
        folds: ``"stratified"``, ``"random"`` or ``"community"``, or given folds ``[N]``.
        n_jobs: Processes for the folds; the result is the same for any number.

    Attributes:
        models_: The boosted trees behind F at the start, one a fold.
        oof_: What they say of the graph of the fit, F at the start ``[N, C]``.
        state_: Parameters of the network.
        dense_encoder_: What turns the table into the network's numbers.
    """

    name: ClassVar[str] = "boosted_gnn"

    backbone: str = "sage"
    hidden: int = 64
    num_layers: int = 2
    dropout: float = 0.5
    lr: float = 0.01
    weight_decay: float = 5e-4
    steps: int = 10
    tree_step: float = 0.2
    max_iter: int = 100
    n_folds: int = 5
    folds: Any = "stratified"
    n_jobs: int | None = 1
    patience: int | None = 10

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        check_number("tree_step", self.tree_step, 0, float("inf"), open_low=True, open_high=True)
        check_integer("max_iter", self.max_iter, 1)
        check_folds(self.n_folds, self.folds)
        self._backbone()

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
        check_is_fitted(self, "state_")
        table = self._table(data, prepared, self.layout_)
        self._check_columns(table)
        known = graph_key(data) == self.graph_key_
        start = self.oof_ if known else mean_probs(self.models_, data, table)
        scores = start.double() + torch.from_numpy(self.trees_(self.encoder_.transform(table)))
        dense = self._dense(table)
        with seeded(0, _CPU):
            network = self._network(dense, self.n_classes_)
        network.load_state_dict(self.state_)
        reader = InputReader(network.eval(), self._backbone()._adjacency(data), dense)
        with torch.no_grad():
            return reader(scores.float()).softmax(dim=1)

    def fitted_state(self) -> dict[str, Any]:
        """Return what `fit` has learned, trees and encoders as plain values."""
        return super().fitted_state() | {"dense_encoder_": dict(vars(self.dense_encoder_))}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `fitted_state` gave."""
        super().restore(state | {"dense_encoder_": DenseEncoder(**state["dense_encoder_"])})

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        _, fold_seed, base_seed, network_seed, tree_seed = spawn_seeds(self.random_state, 5)
        table = self._table(data, prepared, None)
        x = self._learn_columns(table)
        self.dense_encoder_ = DenseEncoder.fit(table.take(labels.train_index))
        fold = training_folds(data, labels, self.folds, self.n_folds, fold_seed)
        base = fit_out_of_fold(
            self._base(), data, labels, fold, seed=base_seed, prepared=table, n_jobs=self.n_jobs
        )
        assert base.models is not None
        self.models_, self.oof_ = base.models[0], base.pred_probs
        self.n_classes_, self.graph_key_ = labels.num_classes, graph_key(data)

        seeds = spawn_seeds(tree_seed, self.rounds)

        def grow(target: np.ndarray, number: int) -> RegressionTree:
            return fit_tree(
                x,
                target,
                max_depth=self.max_depth,
                min_samples_leaf=self.min_samples_leaf,
                max_features=self.max_features,
                seed=seeds[number - 1],
            )

        dense = self._dense(table)
        with seeded(network_seed, _CPU):
            network = self._network(dense, labels.num_classes)
            reader = InputReader(network, self._backbone()._adjacency(data), dense)
            self._train(EndToEnd(reader, labels), x, grow, labels, callbacks)
        return self

    def _train(
        self,
        loss: EndToEnd,
        x: np.ndarray,
        grow: Callable[[np.ndarray, int], RegressionTree],
        labels: Supervision,
        callbacks: tuple[Callback, ...],
    ) -> None:
        network, scores = loss.reader.network, self.oof_.clone()
        optimizer = torch.optim.Adam(
            network.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        trees: list[RegressionTree] = []
        self.state_ = copy.deepcopy(network.state_dict())
        kept, rounds = 0, self._start(labels, callbacks)
        for number in rounds:
            network.train()
            for _ in range(self.steps):
                optimizer.zero_grad()
                loss(scores).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            network.eval()
            tree = grow(loss.residual(scores).numpy(), number)
            said = torch.from_numpy(tree(x)).float()
            step = loss.best_step(scores, said, self.tree_step)
            if step > 0.0:
                trees.append(tree.times(step))
                scores = scores + step * said
            if rounds.end(**loss.by_name(scores)):
                kept, self.state_ = len(trees), copy.deepcopy(network.state_dict())
        self._remember(rounds)
        self.trees_ = TreeSum(trees[:kept], labels.num_classes)

    def _dense(self, table: MixedTable) -> Tensor:
        """Return the table as the network reads it ``[N, F]``, float32."""
        return torch.from_numpy(self.dense_encoder_.transform(table)).float()

    def _network(self, dense: Tensor, classes: int) -> nn.Module:
        """Return a fresh network for the table and C further columns."""
        width = torch.empty(len(dense), dense.shape[1] + classes, device="meta")
        return self._backbone()._network(Prepared(width), classes)

    def _backbone(self) -> NeuralClassifier:
        return make_backbone(
            self.backbone, hidden=self.hidden, num_layers=self.num_layers, dropout=self.dropout
        )

    def _base(self) -> HistGradientBoosting:
        return HistGradientBoosting(
            neighbours=tuple(self.neighbours),
            structure=self.structure,
            svd=self.svd,
            max_iter=self.max_iter,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
        )


class InputReader:
    """A network that reads the table of one graph and further inputs of its nodes.

    Args:
        network: Called as ``network(x, adj)``.
        adj: The adjacency that it reads.
        dense: The table ``[N, F]``.
    """

    def __init__(self, network: nn.Module, adj: Any, dense: Tensor) -> None:
        self.network, self.adj, self.dense = network, adj, dense

    def __call__(self, scores: Tensor) -> Tensor:
        """Return logits ``[N, C]`` from the further inputs ``[N, C]``."""
        logits: Tensor = self.network(torch.cat([self.dense, scores], dim=1), self.adj)
        return logits


class EndToEnd:
    """The loss of the network as a function of the inputs that trees make.

    Args:
        reader: The network on its graph.
        labels: Targets and rows.
    """

    def __init__(self, reader: InputReader, labels: Supervision) -> None:
        self.reader, self.loss = reader, RowCrossEntropy(labels, torch.float32)

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the weighted mean cross-entropy of the training rows."""
        return self.loss(self.reader(scores))

    @torch.no_grad()
    def by_name(self, scores: Tensor) -> dict[str, float]:
        """Return ``loss`` and, with validation rows, ``val_loss``."""
        return self.loss.by_name(self.reader(scores))

    def residual(self, scores: Tensor) -> Tensor:
        """Return minus the gradient of the loss in the inputs ``[N, C]``, float32."""
        inputs = scores.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self(inputs), inputs)
        return -gradient

    @torch.no_grad()
    def best_step(self, scores: Tensor, direction: Tensor, largest: float) -> float:
        """Return the step along ``direction`` of least loss among halvings, 0 if none lowers it.

        Args:
            scores: Inputs ``[N, C]``.
            direction: ``[N, C]``.
            largest: The most that an entry may change.
        """
        size = float(direction.abs().max())
        if size == 0.0:
            return 0.0
        steps = [0.0, *(largest / size * 0.5**trial for trial in range(_TRIALS))]
        return min(steps, key=lambda step: float(self(scores + step * direction)))
