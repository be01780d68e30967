"""The base of the neural node classifiers: one network, one training loop, two kept epochs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from graphclean.nn.batches import Batches, GraphReader, Reader, RowReader, predict
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.distributed import ALONE, Replicas, check_replicable
from graphclean.nn.features import FeatureNorm, InputDropout, features_of
from graphclean.nn.losses.base import LossContext, NodeLoss
from graphclean.nn.matrix import SparseMatrix
from graphclean.nn.params import check_params, estimator, resolve_device
from graphclean.nn.prepared import Prepared
from graphclean.nn.seeding import seeded, set_seed
from graphclean.nn.supervision import Supervision
from graphclean.nn.train import (
    Callback,
    Clocked,
    Loss,
    Monitor,
    Objective,
    RowObjective,
    TrainSettings,
    cross_entropy,
    train,
)
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError, Seed, spawn_seeds

Epoch = Literal["best", "last"]


@estimator
class NeuralClassifier(NodeClassifier):
    """A network trained with Adam; the parameters below belong to every subclass.

    The same seed gives bit-identical probabilities on one machine with one number of threads
    (CPU). The global random state is neither read nor changed. Ctrl-C during ``fit`` keeps the
    model trained so far.

    Args:
        epochs: Passes over the training rows at most.
        batch_size: Training rows of a gradient step; None for all of them, one step an epoch. Rows
            are shuffled and dealt into batches of nearly equal size, which read nothing else where
            the network needs no neighbours (MLP, SIGN, SGC on dense features) and a sample of the
            neighbours where it takes a ``fanout``. Networks that read the whole graph in every step
            take None only.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty on all parameters.
        feature_norm: Row normalisation of the features: None, ``"row"``, or ``"auto"`` for features
            that look like a bag of words.
        input_dropout: Dropout probability of the features; of the non-zero ones if x is sparse.
        patience: Epochs without improvement after which the training stops; None for never.
        monitor: What the validation rows judge: ``"val_loss"`` or ``"val_accuracy"``.
        select: Epoch that ``predict_proba`` uses: ``"best"`` on the validation rows (the last one
            if there are none) or ``"last"``.
        val_fraction: Share of the training rows, stratified by given label, that is held back for
            validation when ``fit`` gets no ``val_mask``; 0 for none.
        loss: A ``NodeLoss``, its registered name, or ``loss(logits [n, C], target [n] or [n, C],
            index [n]) -> [n]``, one value for every training row, ``index`` being its node id. None
            for cross-entropy. The weighted mean is minimised; validation always uses cross-entropy.
        data_parallel: Whether the processes of ``torch.distributed`` share the work, each computing
            the gradients of its part of every batch: for networks that need no neighbours, without
            batch norm. All processes call ``fit`` with the same arguments and end with the same
            model: without dropout the one that a single process would train, up to rounding. In a
            single process, or before ``init_process_group``, it changes nothing.
        device: None for the CPU, ``"auto"`` for CUDA where there is one, or a torch device name.
        progress: Whether to show a progress bar over the epochs.
        random_state: Seed of initialisation, dropout, batches and validation rows.

    Attributes:
        n_classes_: Number of classes C.
        n_features_in_: Number of features F.
        n_nodes_: Number of nodes of the graph of the fit.
        basis_: Directions that its features were reduced to, as in ``Prepared``; None for none.
        module_: The network, in evaluation mode, with the parameters of the selected epoch.
        states_: Parameters and buffers by epoch, ``{"best": ..., "last": ...}``.
        best_epoch_: 1-based epoch of the best state.
        history_: ``loss`` and, with validation rows, ``val_loss``, ``val_accuracy`` by epoch.
        stop_reason_: ``"epochs"``, ``"patience"``, ``"callback"`` or ``"interrupt"``.
    """

    epochs: int = 200
    batch_size: int | None = None
    lr: float = 0.01
    weight_decay: float = 5e-4
    feature_norm: FeatureNorm = None
    input_dropout: float = 0.0
    patience: int | None = 30
    monitor: Monitor = "val_loss"
    select: Epoch = "best"
    val_fraction: float = 0.1
    loss: str | NodeLoss | Loss | None = None
    data_parallel: bool = False
    device: str | None = None
    progress: bool = False
    random_state: Seed = None

    def prepare(self, data: Any) -> Prepared:
        """Return features and adjacency in the form the network reads; reads no label or mask.

        Raises:
            InputError: A parameter is out of range, or the graph has no usable features.
        """
        check_params(self.get_params(deep=False))
        return self._prepare(data)

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        device, replicas = resolve_device(self.device), self._replicas()
        _, train_seed, batch_seed, loss_seed = spawn_seeds(self.random_state, 4)
        inputs = self._inputs(data, prepared)
        loss = self._start_loss(data, labels, loss_seed)
        with seeded(train_seed, device):
            network = _Network(self._network(inputs, labels.num_classes), self.input_dropout)
            network.to(device)
            labels = _on(labels, device)
            batches = Batches(len(labels.train_index), self.batch_size, batch_seed)
            moved = inputs.to(device)
            reader = self._reader(network, moved, labels, batches)
            if replicas.size > 1:
                check_replicable(network, inputs, loss)
                set_seed(spawn_seeds(train_seed, replicas.size)[replicas.rank], device)
            settings = TrainSettings(
                epochs=self.epochs,
                lr=self.lr,
                weight_decay=self.weight_decay,
                patience=self.patience,
                monitor=self.monitor,
                loss=loss,
                progress=self.progress,
            )
            rows = RowObjective(reader, labels, loss)
            objective = self._objective(rows, network, moved, labels, data)
            clocks: list[Any] = [each for each in (loss, objective) if isinstance(each, Clocked)]
            callbacks = (*(each.on_event for each in clocks), *callbacks)
            result = train(
                network, reader, labels, batches, settings, callbacks, replicas, objective
            )
        self.n_classes_ = labels.num_classes
        self.n_features_in_ = inputs.num_features
        self.n_nodes_, self.basis_ = inputs.num_nodes, inputs.basis
        self.states_ = {
            "best": {key: value.cpu() for key, value in result.best.items()},
            "last": {key: value.cpu() for key, value in result.last.items()},
        }
        network.cpu().load_state_dict(self.states_[self.select])
        self.module_ = network.eval()
        self.best_epoch_ = result.best_epoch
        self.history_ = result.history
        self.stop_reason_ = result.stop_reason
        return self

    def predict_proba(
        self, data: Any, *, prepared: Prepared | None = None, epoch: Epoch | None = None
    ) -> Tensor:
        """Return class probabilities of all nodes ``[N, C]``, float32 on the CPU.

        Args:
            data: The graph of the fit, or another one with the same features.
            prepared: Result of ``prepare(data)``.
            epoch: ``"best"`` or ``"last"`` of the one fit; None for the parameter ``select``.

        Raises:
            InputError: The number of features is not that of the fit, or ``epoch`` is unknown.
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
        """
        check_is_fitted(self, "module_")
        epoch = self.select if epoch is None else epoch
        if epoch not in self.states_:
            raise InputError("epoch", epoch, "Use 'best', 'last' or None.")
        inputs = self._inputs(data, prepared)
        self._check_inputs(inputs)
        device = resolve_device(self.device)
        state = {key: value.to(device) for key, value in self.states_[epoch].items()}

        def probabilities(part: Prepared) -> Tensor:
            logits = torch.func.functional_call(self.module_, state, (part,))
            return torch.softmax(logits, dim=1)

        with torch.no_grad():
            return predict(probabilities, inputs, device)

    def fitted_state(self) -> dict[str, Any]:
        """Return what `fit` has learned; the network is made again from ``states_``."""
        return {key: value for key, value in super().fitted_state().items() if key != "module_"}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `fitted_state` gave, and build the network, which needs no graph for it.

        ``_network`` gets inputs of the size of the fit without content or adjacency.
        """
        super().restore(state)
        sizes = torch.empty(self.n_nodes_, self.n_features_in_, device="meta")
        inputs = Prepared(sizes, basis=self.basis_)
        with seeded(0, torch.device("cpu")):
            network = _Network(self._network(inputs, self.n_classes_), self.input_dropout)
        network.load_state_dict(self.states_[self.select])
        self.module_ = network.eval()

    def _prepare(self, data: Any) -> Prepared:
        return Prepared(features_of(data, self.feature_norm), self._adjacency(data))

    def _validation(self) -> tuple[float, Seed]:
        return self.val_fraction, spawn_seeds(self.random_state, 1)[0]

    def _reader(
        self, network: nn.Module, inputs: Prepared, labels: Supervision, batches: Batches
    ) -> Reader:
        """Return what computes the logits of the training loop."""
        if inputs.adj is None:
            return RowReader(network, inputs, labels, full_batch=batches.number == 1)
        if self.batch_size is not None:
            raise InputError(
                "batch_size",
                self.batch_size,
                f"{type(self).__name__} reads the whole graph in every step here: pass None, or "
                "choose SIGN, MLP, SGC with dense features, GCN, GraphSAGE, GIN or GAT.",
            )
        return GraphReader(network, inputs, labels)

    def _start_loss(self, data: Any, labels: Supervision, seed: int) -> Loss:
        """Return the loss of this fit; it gets to know the targets of the training rows only."""
        loss = NodeLoss.create(self.loss) if isinstance(self.loss, str) else self.loss
        if not isinstance(loss, NodeLoss):
            return loss or cross_entropy
        known = torch.full_like(labels.target, 0 if labels.target.dim() == 2 else -1)
        known[labels.train_index] = labels.target[labels.train_index]
        return loss.start(
            LossContext(
                num_nodes=len(known),
                num_classes=labels.num_classes,
                epochs=self.epochs,
                target=known,
                graph=data,
                seed=seed,
            )
        )

    def _objective(
        self,
        rows: RowObjective,
        network: nn.Module,
        inputs: Prepared,
        labels: Supervision,
        data: Any,
    ) -> Objective:
        """Return what the training minimises: by default the mean loss of the training rows."""
        return rows

    def _replicas(self) -> Replicas:
        replicas = Replicas.here() if self.data_parallel else ALONE
        if replicas.size > 1 and self.random_state is None:
            raise InputError(
                "random_state", None, "Pass an integer: all processes must draw the same batches."
            )
        return replicas

    @abstractmethod
    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        """Build the network: a module whose ``forward(x, adj)`` returns logits ``[N, C]``."""

    @abstractmethod
    def _adjacency(self, data: Any) -> Propagator | SparseMatrix | None:
        """Return the adjacency that the network reads, None for a network without."""

    def _check_inputs(self, inputs: Prepared) -> None:
        """Raise InputError unless the fitted network can read ``inputs``."""
        if inputs.num_features != self.n_features_in_:
            raise InputError(
                "data.x",
                f"{inputs.num_features} input columns",
                f"The model was fitted with {self.n_features_in_}.",
            )

    def _inputs(self, data: Any, prepared: Prepared | None) -> Prepared:
        inputs = self.prepare(data) if prepared is None else prepared
        if inputs.num_nodes != data.num_nodes:
            raise InputError(
                "prepared", f"{inputs.num_nodes} nodes", f"The graph has {data.num_nodes}."
            )
        return inputs


class _Network(nn.Module):
    def __init__(self, body: nn.Module, input_dropout: float) -> None:
        super().__init__()
        self.body = body
        self.input_dropout = InputDropout(input_dropout)

    def forward(self, inputs: Prepared) -> Tensor:
        logits: Tensor = self.body(self.input_dropout(inputs.x), inputs.adj)
        return logits


def _on(labels: Supervision, device: torch.device) -> Supervision:
    return replace(
        labels,
        target=labels.target.to(device),
        train_index=labels.train_index.to(device),
        weight=None if labels.weight is None else labels.weight.to(device),
        val_index=labels.val_index.to(device),
    )
