"""What the learners above the first layer read: predictions of the layer below, spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.data.mixed import MixedTable, mixed_table
from graphclean.ensemble.combine import LOG_FLOOR
from graphclean.ensemble.fold_propagation import Consistency, propagate_folds, spread
from graphclean.nn.crossfit import FoldInputs, OutOfFold
from graphclean.sparse import Propagator


@dataclass(frozen=True, eq=False)
class Spreading:
    """How predictions ``[N, C]`` of M models become columns ``[N, M (T + 1) C]`` on one graph.

    The columns are logarithms, of probabilities of at least 0.001.

    Attributes:
        propagator: S, normalised by rows, of the undirected graph.
        alpha: Share of the neighbours in a step.
        hops: Steps T; none are taken with ``"none"``.
        consistency: As in `propagate_folds`.
    """

    propagator: Propagator
    alpha: float
    hops: int
    consistency: Consistency

    @property
    def steps(self) -> int:
        """Steps that are taken."""
        return 0 if self.consistency == "none" else self.hops

    def of_models(self, probs: Iterable[Tensor]) -> Tensor:
        """Return the columns of models that predict all nodes: one pipeline."""
        return _columns(spread(p, self.propagator, self.alpha, self.steps) for p in probs)

    def of_folds(self, results: Iterable[OutOfFold], repeat: int) -> Tensor:
        """Return the columns of every row as it trains the next layer, of one repeat."""
        return _columns(
            propagate_folds(
                OutOfFold.merged(each.model_probs[repeat][None], each.fold[repeat][None]),
                self.propagator,
                alpha=self.alpha,
                hops=self.hops,
                consistency=self.consistency,
            )
            for each in results
        )

    def names(self, learners: Iterable[str], classes: int) -> tuple[str, ...]:
        """Return the names of the columns."""
        each = range(self.steps + 1), range(classes)
        return tuple(f"{name}:{c}:hop{t}" for name in learners for t in each[0] for c in each[1])

    def features(self, data: Any, table: MixedTable) -> MixedTable:
        """Return the table with its own numbers spread over the graph, hop by hop.

        Gaps weigh nothing: values are spread, and which are known, and the quotient counts.
        """
        own = mixed_table(data, layout=table.layout)
        values = torch.from_numpy(own.numeric)
        known = torch.isfinite(values).float()
        parts = torch.cat([values.nan_to_num(0.0) * known, known], dim=1)
        moved = spread(parts, self.propagator, self.alpha, self.hops)[:, 1:]
        total, mass = torch.tensor_split(moved, 2, dim=2)
        columns = torch.where(mass > 0, total / mass.clamp_min(1e-12), torch.nan)
        names = [f"{name} (hop {t})" for t in range(1, self.hops + 1) for name in own.numeric_names]
        return table.with_numeric(columns.reshape(len(values), -1).numpy(), names)


@dataclass(frozen=True, eq=False)
class StackerInputs(FoldInputs):
    """Inputs of one stacker, fold by fold.

    The model of fold k is fitted on the columns that every training row has from the models of its
    own fold. With ``"fold"`` and ``"none"`` it predicts all nodes from the models of fold k below
    it: members and stackers of a fold are one pipeline that has not seen the labels of the fold,
    and every row, in a fold or in none, is judged from predictions of single models, like those
    that the stacker was fitted on. The mean of the pipelines judges rows of no fold. With ``"oof"``
    there is one set of columns for all, as published.

    Attributes:
        table: The features beside the columns, or None for a stacker without.
        spreading: How the columns are made.
        names: Names of the columns.
        own: Columns of the rows as they train ``[N, Z]``, one of every repeat.
        probs: Predictions of every learner of the layer below ``[R, K, N, C]``.
    """

    table: MixedTable | None
    spreading: Spreading
    names: tuple[str, ...]
    own: tuple[Tensor, ...]
    probs: tuple[Tensor, ...]

    def of_fold(self, repeat: int, fold: int) -> tuple[MixedTable, MixedTable]:
        """Return what the stacker of a fold is fitted on, and what it predicts from."""
        fitting = joined(self.table, self.own[repeat], self.names)
        if self.spreading.consistency == "oof":
            return fitting, fitting
        columns = self.spreading.of_models(probs[repeat, fold] for probs in self.probs)
        return fitting, joined(self.table, columns, self.names)


def stacker_inputs(
    results: Mapping[str, OutOfFold],
    spreading: Spreading,
    tables: Mapping[str, MixedTable | None],
) -> dict[str, StackerInputs]:
    """Return the inputs of stackers that share the columns and differ in their tables."""
    below = tuple(results.values())
    repeats, _, _, classes = below[0].model_probs.shape
    own = tuple(spreading.of_folds(below, repeat) for repeat in range(repeats))
    names, probs = spreading.names(results, classes), tuple(each.model_probs for each in below)
    return {
        stacker: StackerInputs(table, spreading, names, own, probs)
        for stacker, table in tables.items()
    }


def joined(table: MixedTable | None, columns: Tensor, names: tuple[str, ...]) -> MixedTable:
    """Return the features with the columns behind them, or the columns alone."""
    values: np.ndarray = columns.numpy()
    return MixedTable(values, names) if table is None else table.with_numeric(values, names)


def _columns(steps: Iterable[Tensor]) -> Tensor:
    flat = torch.cat([each.flatten(1) for each in steps], dim=1)
    return flat.clamp_min(LOG_FLOOR).log()
