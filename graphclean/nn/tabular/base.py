"""The base of the learners that read each node as one row of a table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits
from torch import Tensor

from graphclean.data.mixed import MixedTable, TableLayout, mixed_table
from graphclean.data.neighbour_features import check_statistics
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.params import check_params, estimator
from graphclean.nn.supervision import Supervision
from graphclean.nn.tabular.encoder import TableEncoder
from graphclean.nn.train import Callback, Event
from graphclean.types import InputError, Seed, check_seed, spawn_seeds

_AT_ONCE = 2**24
"""Entries of the matrix that is predicted at once: 128 MB in double precision."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What a learner of tables reads.

    Attributes:
        x: Rows ``[m, F]``; one with a soft target is there once for every class it may have.
        y: Classes ``[m]``, int64, numbered from 0 among those that some training row has.
        weight: Weights ``[m]``, float64, in the training with mean 1 over the nodes; None: all 1.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


@estimator
class TabularClassifier(NodeClassifier):
    r"""A learner that reads each node as a row of numbers and categories, both with gaps.

    The row of a node holds its own features (``data.node_frame`` where there is one, else ``x``),
    those of its neighbours and its place in the graph, all without a look at any label. What is
    learned of the columns - codes of categories, means, scales - is of the training rows alone.

    A soft target :math:`q_i` counts as one row for each class c with :math:`q_{ic} > 0`, of weight
    :math:`w_i q_{ic}`; a one-hot target is the same fit as the class. Weights are scaled to a mean
    of 1. A class without a training row has probability zero. Fits and predictions run on one
    thread and are the same for any number of processes.

    Args:
        neighbours: Any of ``"mean"``, ``"max"``, ``"min"`` of the neighbours' features; see
            `graphclean.data.mixed.mixed_table`.
        structure: Whether degree, PageRank, core number and clustering are columns.
        svd: Columns that wide ``x`` is reduced to; None to keep all. Frames are never reduced.
        random_state: Seed of the fit.

    Attributes:
        n_classes_: Number of classes C.
        n_features_in_: Number of columns of the table.
        seen_classes_: Classes that some training row has, ascending.
        numeric_names_: Names of the columns of numbers.
        categorical_names_: Names of the categories.
        layout_: How the columns were made, to make the same ones of another graph.
        encoder_: What turns the columns into the numbers that the learner reads.
        model_: The fitted learner; None where all training rows are of one class.
    """

    _encoder: ClassVar[type[TableEncoder]]

    neighbours: tuple[str, ...] = ("mean", "max", "min")
    structure: bool = True
    svd: int | None = 64
    random_state: Seed = None

    def prepare(self, data: Any) -> MixedTable:
        """Return the table of all nodes; reads no label, mask or seed.

        A stack hands further columns to ``fit`` and ``predict_proba`` as
        ``prepared=table.with_numeric(values, names)``.

        Raises:
            InputError: A parameter is out of range, or the graph has no usable features.
        """
        self.check_parameters()
        return self._made(data, None)

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        check_params(self.get_params(deep=False))
        check_statistics(self.neighbours)
        if not isinstance(self.structure, bool):
            raise InputError("structure", self.structure, "Pass True or False.")
        check_seed(self.random_state)

    def predict_proba(self, data: Any, *, prepared: MixedTable | None = None) -> Tensor:
        """Return class probabilities of all nodes ``[N, C]``, float32 on the CPU.

        Args:
            data: The graph of the fit, or another one with the same features.
            prepared: Result of ``prepare(data)``, with the further columns of the fit if any.

        Raises:
            InputError: The columns are not those of the fit.
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
        """
        check_is_fitted(self, "seen_classes_")
        table = self._made(data, self.layout_) if prepared is None else _checked(prepared, data)
        self._check_columns(table)
        found = np.zeros((table.num_rows, self.n_classes_), dtype=np.float32)
        at_once = max(_AT_ONCE // max(self.n_features_in_, 1), 1)
        for first in range(0, table.num_rows, at_once):
            rows = np.arange(first, min(first + at_once, table.num_rows))
            if self.model_ is None:
                found[rows, self.seen_classes_[0]] = 1.0
                continue
            x = self.encoder_.transform(table.take(rows))
            with threadpool_limits(1):
                found[rows[:, None], list(self.seen_classes_)] = self._probabilities(x)
        return torch.from_numpy(found)

    def fitted_state(self) -> dict[str, Any]:
        """Return what `fit` has learned, the encoder as a dictionary."""
        return super().fitted_state() | {"encoder_": dict(vars(self.encoder_))}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `fitted_state` gave."""
        super().restore(state | {"encoder_": self._encoder(**state["encoder_"])})

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        table = self._made(data, None) if prepared is None else _checked(prepared, data)
        self.n_classes_ = labels.num_classes
        self.n_features_in_ = len(table.numeric_names) + len(table.categorical_names)
        self.numeric_names_ = table.numeric_names
        self.categorical_names_ = table.categorical_names
        self.layout_: TableLayout | None = table.layout
        train_rows = table.take(labels.train_index)
        self.encoder_: TableEncoder = self._encoder.fit(train_rows)
        rows, classes, weight = _spread(labels.target[labels.train_index], labels.weight)
        seen = np.unique(classes)
        self.seen_classes_: tuple[int, ...] = tuple(seen.tolist())
        x = self.encoder_.transform(train_rows)
        train = Examples(_repeated(x, rows), np.searchsorted(seen, classes), weight)
        validation = self._validation_examples(table, labels)
        counts = {"n_train": len(labels.train_index), "n_val": len(labels.val_index)}
        emit(callbacks, {"event": "start", "epochs": self._rounds(), **counts})
        seed = None if self.random_state is None else spawn_seeds(self.random_state, 1)[0]
        self.model_: Any = None
        last: Event = {"epoch": 0, "best_epoch": 0, "stop_reason": "epochs"}
        if len(seen) > 1:
            with threadpool_limits(1):
                last |= self._fit_model(train, validation, seed, callbacks)
        emit(callbacks, {"event": "end", **last})
        return self

    def _validation_examples(self, table: MixedTable, labels: Supervision) -> Examples | None:
        """Return the validation rows of the classes that the training knows, None for none."""
        rows, classes, weight = _spread(labels.target[labels.val_index], None)
        known = np.isin(classes, self.seen_classes_)
        if not known.any():
            return None
        x = self.encoder_.transform(table.take(labels.val_index))
        y = np.searchsorted(self.seen_classes_, classes[known])
        return Examples(x[rows[known]], y, None if weight is None else weight[known])

    def _made(self, data: Any, layout: TableLayout | None) -> MixedTable:
        return mixed_table(
            data,
            neighbours=tuple(self.neighbours),
            structure=self.structure,
            svd=self.svd,
            layout=layout,
        )

    def _check_columns(self, table: MixedTable) -> None:
        """Raise InputError unless the columns are those of the fit, made in the same way."""
        found = (*table.numeric_names, *table.categorical_names)
        fitted = (*self.numeric_names_, *self.categorical_names_)
        if found != fitted:
            odd = sorted(set(found) ^ set(fitted)) or ["the same in another order"]
            raise InputError(
                "prepared",
                f"{len(found)} columns where the fit had {len(fitted)}, such as {odd[0]!r}",
                "Pass features, and prepared=..., as in fit.",
            )
        both = table.layout is not None and self.layout_ is not None
        if both and not _alike(table.layout, self.layout_):
            raise InputError(
                "prepared",
                "columns made in another way than those of the fit",
                "Leave it out, or pass mixed_table(data, ..., layout=model.layout_).",
            )

    def _rounds(self) -> int:
        """Return how many ``"epoch"`` events a fit has at most."""
        return 1

    @abstractmethod
    def _fit_model(
        self,
        train: Examples,
        validation: Examples | None,
        seed: Seed,
        callbacks: tuple[Callback, ...],
    ) -> Event:
        """Set ``model_``, send the ``"epoch"`` events, return what the ``"end"`` event says.

        There are at least two classes; validation rows may stop the training early.
        """

    @abstractmethod
    def _probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of the seen classes ``[n, k]``."""


def emit(callbacks: tuple[Callback, ...], event: Event) -> bool:
    """Send an event to all callbacks and return whether one of them asks to stop."""
    answers = [callback(dict(event)) for callback in callbacks]
    return any(answers)


def _checked(prepared: Any, data: Any) -> MixedTable:
    if not isinstance(prepared, MixedTable):
        raise InputError(
            "prepared", f"a {type(prepared).__name__}", "Pass the result of prepare(data)."
        )
    if prepared.num_rows != data.num_nodes:
        raise InputError("prepared", f"{prepared.num_rows} rows", f"Pass {data.num_nodes}.")
    return prepared


def _spread(
    target: Tensor, weight: Tensor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return row ``[m]``, class ``[m]`` and weight ``[m]`` (None: all 1) of every example."""
    given = target.numpy()
    if given.ndim == 1:
        rows, classes, shares = np.arange(len(given)), given, np.ones(len(given))
    else:
        rows, classes = np.nonzero(given)
        shares = given[rows, classes].astype(np.float64)
    if weight is not None:
        shares = shares * weight.numpy().astype(np.float64)[rows]
    shares = shares * (len(given) / shares.sum()) if len(shares) else shares
    return rows, classes, None if bool((shares == 1.0).all()) else shares


def _repeated(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return x if len(rows) == len(x) else x[rows]


def _alike(first: Any, second: Any) -> bool:
    """Return whether two layouts, or parts of them, say the same."""
    if first is second:
        return True
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        same = list(first) == list(second)
        return same and all(_alike(first[key], second[key]) for key in first)
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.shape == second.shape and np.allclose(first, second, atol=1e-6)
    return type(first) is type(second) and bool(first == second)
