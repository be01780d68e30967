"""The one full-batch training loop of every neural model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from graphclean.nn.supervision import Supervision
from graphclean.types import InputError

Event = dict[str, Any]
Callback = Callable[[Event], bool | None]
"""Receives every training event; returning True stops the training after the current epoch."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``loss(logits [n, C], target [n] or [n, C], index [n]) -> [n]``, one value per training row.

``index`` holds the node ids of the rows, for losses that keep state per node."""

State = dict[str, Tensor]
Monitor = Literal["val_loss", "val_accuracy"]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one run of the loop; see ``NeuralClassifier`` for their meaning."""

    epochs: int
    lr: float
    weight_decay: float
    patience: int | None
    monitor: Monitor
    loss: Loss
    progress: bool


@dataclass
class TrainResult:
    """Outcome of one run.

    Attributes:
        best: Parameters and buffers after the best epoch; those of the last one without validation.
        last: Parameters and buffers after the last epoch.
        best_epoch: 1-based epoch of ``best``; 0 if not one epoch was completed.
        history: Per epoch: ``loss`` and, with validation rows, ``val_loss`` and ``val_accuracy``.
        stop_reason: ``"epochs"``, ``"patience"``, ``"callback"`` or ``"interrupt"``.
    """

    best: State
    last: State
    best_epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    stop_reason: str = "epochs"


def cross_entropy(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
    """Cross-entropy of every row ``[n]`` against classes ``[n]`` or probabilities ``[n, C]``."""
    del index
    return F.cross_entropy(logits, target, reduction="none")


def train_full_batch(
    module: nn.Module,
    train_logits: Callable[[], Tensor],
    val_logits: Callable[[], Tensor],
    labels: Supervision,
    settings: TrainSettings,
    callbacks: Iterable[Callback] = (),
) -> TrainResult:
    r"""Minimise :math:`\sum_i w_i \ell_i / \sum_i w_i` over the training rows with Adam.

    After every step the validation rows are predicted in evaluation mode and judged by their given
    labels: mean cross-entropy (``val_loss``, lower is better) and ``val_accuracy``. A strictly
    better epoch becomes the best one, so the earliest of equals wins. Ctrl-C ends the training and
    keeps the model as it is.

    Args:
        module: The network; its parameters and buffers are trained in place.
        train_logits: Returns the logits of the training rows ``[n, C]``; called in training mode.
        val_logits: Returns the logits of the validation rows ``[m, C]``; called in evaluation mode.
        labels: Targets and rows, on the device of the module.
        settings: Optimiser, length, early stopping.
        callbacks: Each is called with ``{"event": "start", "epochs", "n_train", "n_val"}``, with
            ``{"event": "epoch", "epoch", "loss", ...}`` after every epoch, and with
            ``{"event": "end", "epoch", "best_epoch", "stop_reason"}``.

    Raises:
        InputError: The loss has not one value per row, or became infinite or NaN.
    """
    callbacks = tuple(callbacks)
    optimizer = torch.optim.Adam(
        module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    target = labels.target[labels.train_index]
    validate = len(labels.val_index) > 0
    val_target = labels.target[labels.val_index]
    result = TrainResult(best={}, last={})
    best_score, epoch, stop = -float("inf"), 0, False
    _emit(
        callbacks,
        {
            "event": "start",
            "epochs": settings.epochs,
            "n_train": len(labels.train_index),
            "n_val": len(labels.val_index),
        },
    )
    bar = tqdm(total=settings.epochs, disable=not settings.progress, desc="epochs", leave=False)
    try:
        while epoch < settings.epochs and not stop:
            module.train()
            optimizer.zero_grad()
            losses = settings.loss(train_logits(), target, labels.train_index)
            if losses.shape != labels.train_index.shape:
                raise InputError("loss", tuple(losses.shape), "Return one value per row, [n].")
            loss = _weighted_mean(losses, labels.weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            values = {"loss": float(loss.detach())}
            if not torch.isfinite(loss):
                raise InputError(
                    "lr", settings.lr, f"The loss is {values['loss']}: lower lr or scale data.x."
                )
            epoch += 1
            score = float(epoch)
            if validate:
                values |= _judge(module, val_logits, val_target)
                sign = -1.0 if settings.monitor == "val_loss" else 1.0
                score = sign * values[settings.monitor]
            if score > best_score:
                if validate:
                    result.best = _snapshot(module)
                best_score, result.best_epoch = score, epoch
            for key, value in values.items():
                result.history.setdefault(key, []).append(value)
            bar.update()
            if _emit(callbacks, {"event": "epoch", "epoch": epoch, **values}):
                result.stop_reason, stop = "callback", True
            elif settings.patience is not None and epoch - result.best_epoch >= settings.patience:
                result.stop_reason, stop = "patience", True
    except KeyboardInterrupt:
        result.stop_reason = "interrupt"
    finally:
        bar.close()
    module.eval()
    result.last = _snapshot(module)
    result.best = result.best or result.last
    _emit(
        callbacks,
        {
            "event": "end",
            "epoch": epoch,
            "best_epoch": result.best_epoch,
            "stop_reason": result.stop_reason,
        },
    )
    return result


def _judge(module: nn.Module, val_logits: Callable[[], Tensor], target: Tensor) -> dict[str, float]:
    module.eval()
    with torch.no_grad():
        logits = val_logits()
        hard = target if target.dim() == 1 else target.argmax(dim=1)
        return {
            "val_loss": float(F.cross_entropy(logits, target)),
            "val_accuracy": float((logits.argmax(dim=1) == hard).double().mean()),
        }


def _weighted_mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    return losses.mean() if weight is None else (losses * weight).sum() / weight.sum()


def _snapshot(module: nn.Module) -> State:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def _emit(callbacks: tuple[Callback, ...], event: Event) -> bool:
    answers = [callback(dict(event)) for callback in callbacks]
    return any(answers)
