"""The rounds of a boosted ensemble: events, early stopping, which one was best."""

from __future__ import annotations

from collections.abc import Iterator

from tqdm.auto import tqdm

from graphclean.nn.supervision import Supervision
from graphclean.nn.train import Callback, Event


class Rounds:
    """Rounds to iterate over; each ends with `end`, which may make it the last.

    Callbacks hear what those of a network hear, with rounds for epochs.

    Args:
        most: Rounds at most.
        patience: Rounds without a lower ``val_loss`` that end them; None for any number.
        labels: The rows of the fit, for the first event.
        callbacks: Called with the events.
        progress: Whether to show a progress bar.

    Attributes:
        history: Losses by round.
        best: Number of the best round, from 1; the last one without validation.
        stop_reason: ``"epochs"``, ``"patience"`` or ``"callback"``.
    """

    def __init__(
        self,
        most: int,
        patience: int | None,
        labels: Supervision,
        callbacks: tuple[Callback, ...],
        progress: bool,
    ) -> None:
        self.most, self.patience, self.callbacks = most, patience, callbacks
        self.progress = progress
        self.rows = {"n_train": len(labels.train_index), "n_val": len(labels.val_index)}
        self.history: dict[str, list[float]] = {"loss": []}
        self.best, self.stop_reason = 0, "epochs"
        self._lowest = float("inf")

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the rounds, from 1."""
        self._emit({"event": "start", "epochs": self.most, **self.rows})
        with tqdm(total=self.most, disable=not self.progress, desc="rounds", leave=False) as bar:
            for number in range(1, self.most + 1):
                yield number
                bar.update()
                if self.stop_reason != "epochs":
                    break
        last = {"epoch": len(self.history["loss"]), "best_epoch": self.best}
        self._emit({"event": "end", **last, "stop_reason": self.stop_reason})

    def end(self, **losses: float) -> bool:
        """Note the losses of the round and return whether it is the best one so far."""
        for key, value in losses.items():
            self.history.setdefault(key, []).append(value)
        number = len(self.history["loss"])
        score = losses.get("val_loss", -float(number))
        better = score < self._lowest
        if better:
            self._lowest, self.best = score, number
        if self._emit({"event": "epoch", "epoch": number, **losses}):
            self.stop_reason = "callback"
        elif self.patience is not None and number - self.best >= self.patience:
            self.stop_reason = "patience"
        return better

    def _emit(self, event: Event) -> bool:
        answers = [callback(dict(event)) for callback in self.callbacks]
        return any(answers)
