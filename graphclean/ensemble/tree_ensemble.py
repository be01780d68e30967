"""What ensembles that grow their own trees share: the table, the trees, the rounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphclean.data.mixed import MixedTable, TableLayout, mixed_table
from graphclean.data.neighbour_features import check_statistics
from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.regression_trees import TreeSum
from graphclean.ensemble.rounds import Rounds
from graphclean.nn.params import check_integer, check_number, estimator
from graphclean.nn.supervision import Supervision
from graphclean.nn.tabular.encoder import CodeEncoder
from graphclean.nn.train import Callback
from graphclean.types import InputError, Seed, spawn_seeds


@estimator
class TreeEnsemble(EnsembleClassifier):
    """Base of the ensembles whose trees are fitted to gradients at all nodes.

    Trees read numbers as they are and categories as ranks by frequency, both with gaps. No label
    enters the table.

    Args:
        rounds: Rounds at most, one tree of C outputs each.
        max_depth: Splits from the root to a leaf at most.
        min_samples_leaf: Nodes of a leaf at least, labelled or not.
        max_features: Share of the columns that are tried at a split.
        neighbours: Any of ``"mean"``, ``"max"``, ``"min"`` of the neighbours' features; see
            `graphclean.data.mixed.mixed_table`.
        structure: Whether degree, PageRank, core number and clustering are columns.
        svd: Columns that wide ``x`` is reduced to; None to keep all. Frames are never reduced.
        patience: Rounds without a lower cross-entropy of the validation rows after which the
            training stops; the best one is kept. None for never.
        val_fraction: Share of the training rows, stratified by given label, that is held back for
            validation when ``fit`` gets no ``val_mask``; 0 for none.
        progress: Whether to show a progress bar over the rounds.
        random_state: Seed of the fit.

    Attributes:
        n_classes_: Number of classes C.
        n_features_in_: Number of columns of the table.
        columns_: Their names, numbers first.
        layout_: How the columns were made, to make the same ones of another graph.
        encoder_: What turns categories into numbers.
        trees_: The trees, scaled by their steps.
        history_: ``loss`` and, with validation rows, ``val_loss`` by round.
        best_round_: Rounds that were kept.
        stop_reason_: ``"epochs"``, ``"patience"`` or ``"callback"``.
    """

    rounds: int = 100
    max_depth: int = 6
    min_samples_leaf: int = 20
    max_features: float = 0.5
    neighbours: tuple[str, ...] = ()
    structure: bool = False
    svd: int | None = 64
    patience: int | None = 20
    val_fraction: float = 0.1
    progress: bool = False
    random_state: Seed = None

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        for option in ("rounds", "max_depth", "min_samples_leaf"):
            check_integer(option, getattr(self, option), 1)
        check_number("max_features", self.max_features, 0, 1, open_low=True)
        check_statistics(self.neighbours)
        for option in ("structure", "progress"):
            if not isinstance(getattr(self, option), bool):
                raise InputError(option, getattr(self, option), "Pass True or False.")

    def fitted_state(self) -> dict[str, Any]:
        """Return what `fit` has learned, trees and encoder as plain values."""
        plain = {"encoder_": dict(vars(self.encoder_)), "trees_": self.trees_.to_arrays()}
        return super().fitted_state() | plain

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `fitted_state` gave."""
        made = {
            "encoder_": CodeEncoder(**state["encoder_"]),
            "trees_": TreeSum.from_arrays(state["trees_"]),
        }
        super().restore(state | made)

    def _validation(self) -> tuple[float, Seed]:
        return self.val_fraction, spawn_seeds(self.random_state, 1)[0]

    def _table(self, data: Any, prepared: Any, layout: TableLayout | None) -> MixedTable:
        """Return the table that was prepared, checked, or make it."""
        if prepared is None:
            return mixed_table(
                data,
                neighbours=tuple(self.neighbours),
                structure=self.structure,
                svd=self.svd,
                layout=layout,
            )
        if not isinstance(prepared, MixedTable):
            fix = "Pass the result of prepare(data)."
            raise InputError("prepared", f"a {type(prepared).__name__}", fix)
        if prepared.num_rows != data.num_nodes:
            raise InputError("prepared", f"{prepared.num_rows} rows", f"Pass {data.num_nodes}.")
        return prepared

    def _learn_columns(self, table: MixedTable) -> np.ndarray:
        """Remember the columns of the fit and return them as trees read them ``[N, F]``."""
        self.columns_ = (*table.numeric_names, *table.categorical_names)
        self.n_features_in_ = len(self.columns_)
        self.layout_ = table.layout
        self.encoder_ = CodeEncoder.fit(table)
        return self.encoder_.transform(table)

    def _check_columns(self, table: MixedTable) -> None:
        """Raise InputError unless the columns are those of the fit."""
        found = (*table.numeric_names, *table.categorical_names)
        if found != self.columns_:
            odd = sorted(set(found) ^ set(self.columns_)) or ["the same in another order"]
            shown = f"{len(found)} columns where the fit had {len(self.columns_)}, such as {odd[0]}"
            raise InputError("prepared", shown, "Pass features as in fit.")

    def _start(self, labels: Supervision, callbacks: tuple[Callback, ...]) -> Rounds:
        return Rounds(self.rounds, self.patience, labels, callbacks, self.progress)

    def _remember(self, rounds: Rounds) -> None:
        self.history_, self.best_round_ = rounds.history, rounds.best
        self.stop_reason_ = rounds.stop_reason
