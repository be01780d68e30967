"""The base of the neural node classifiers: one network, one training loop, two kept epochs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from typing import Any, Literal, Self

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.features import FeatureNorm, InputDropout, features_of
from graphclean.nn.matrix import SparseMatrix
from graphclean.nn.params import check_params, estimator, resolve_device
from graphclean.nn.prepared import Prepared
from graphclean.nn.supervision import Supervision, supervision
from graphclean.nn.train import (
    Callback,
    Loss,
    Monitor,
    TrainSettings,
    cross_entropy,
    train_full_batch,
)
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError, Seed, spawn_seeds

Epoch = Literal["best", "last"]

_LOCK = RLock()


@estimator
class NeuralClassifier(NodeClassifier):
    """A network trained full batch with Adam; the parameters below belong to every subclass.

    The same seed gives bit-identical probabilities on one machine with one number of threads
    (CPU). The global random state is neither read nor changed.

    Args:
        epochs: Steps of full-batch gradient descent at most.
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
        loss: ``loss(logits [n, C], target [n] or [n, C], index [n]) -> [n]``, one value for every
            training row, ``index`` being its node id. None for cross-entropy. The weighted mean is
            minimised; validation always uses cross-entropy.
        device: None for the CPU, ``"auto"`` for CUDA where there is one, or a torch device name.
        progress: Whether to show a progress bar over the epochs.
        random_state: Seed of initialisation, dropout and validation rows.

    Attributes:
        n_classes_: Number of classes C.
        n_features_in_: Number of features F.
        module_: The network, in evaluation mode, with the parameters of the selected epoch.
        states_: Parameters and buffers by epoch, ``{"best": ..., "last": ...}``.
        best_epoch_: 1-based epoch of the best state.
        history_: ``loss`` and, with validation rows, ``val_loss``, ``val_accuracy`` by epoch.
        stop_reason_: ``"epochs"``, ``"patience"``, ``"callback"`` or ``"interrupt"``.
    """

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    feature_norm: FeatureNorm = None
    input_dropout: float = 0.0
    patience: int | None = 30
    monitor: Monitor = "val_loss"
    select: Epoch = "best"
    val_fraction: float = 0.1
    loss: Loss | None = None
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

    def fit(
        self,
        data: Any,
        y: Any = None,
        mask: Any = None,
        sample_weight: Any = None,
        *,
        val_mask: Any = None,
        prepared: Prepared | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> Self:
        """Train the network; see ``NodeClassifier.fit``. Ctrl-C keeps the model trained so far."""
        check_params(self.get_params(deep=False))
        device = resolve_device(self.device)
        split_seed, train_seed = spawn_seeds(self.random_state, 2)
        labels = supervision(data, y, mask, sample_weight, val_mask, self.val_fraction, split_seed)
        inputs = self._inputs(data, prepared)
        with _seeded(train_seed, device):
            network = _Network(self._network(inputs, labels.num_classes), self.input_dropout)
            network.to(device)
            labels, moved = _on(labels, device), inputs.to(device)
            result = train_full_batch(
                network,
                _logits_of(network, moved, labels.train_index),
                _logits_of(network, moved, labels.val_index),
                labels,
                TrainSettings(
                    epochs=self.epochs,
                    lr=self.lr,
                    weight_decay=self.weight_decay,
                    patience=self.patience,
                    monitor=self.monitor,
                    loss=self.loss or cross_entropy,
                    progress=self.progress,
                ),
                callbacks,
            )
        self.n_classes_ = labels.num_classes
        self.n_features_in_ = inputs.num_features
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
        with torch.no_grad():
            logits = torch.func.functional_call(self.module_, state, (inputs.to(device),))
            return torch.softmax(logits, dim=1).cpu()

    def _prepare(self, data: Any) -> Prepared:
        return Prepared(features_of(data, self.feature_norm), self._adjacency(data))

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


def _logits_of(network: nn.Module, inputs: Prepared, index: Tensor) -> Callable[[], Tensor]:
    """Return a function for the logits of some rows; it computes only those where it can."""
    if inputs.adj is None:
        rows = inputs.rows(index)
        return lambda: network(rows)
    return lambda: network(inputs)[index]


def _on(labels: Supervision, device: torch.device) -> Supervision:
    return replace(
        labels,
        target=labels.target.to(device),
        train_index=labels.train_index.to(device),
        weight=None if labels.weight is None else labels.weight.to(device),
        val_index=labels.val_index.to(device),
    )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for the block and give the global generators their states back after it.

    Modules draw from the global generator only; the lock keeps threads out of each other's draws.
    """
    cuda = device.type == "cuda"
    index = (
        device.index if device.index is not None else (torch.cuda.current_device() if cuda else 0)
    )
    with _LOCK, torch.random.fork_rng(devices=[index] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield
