"""A fitted stack on a graph: every fold's pipeline from members to combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graphclean.data.mixed import MixedTable
from graphclean.ensemble.final import Combinations
from graphclean.ensemble.stacker_inputs import Spreading, joined
from graphclean.nn.classifier import NodeClassifier

FittedLayer = dict[str, list[list[NodeClassifier]]]
"""Models by learner, repeat and fold."""


def predict_stack(
    data: Any,
    models: Sequence[FittedLayer],
    combinations: Combinations,
    prepared: Mapping[str, Any],
    tables: Mapping[str, MixedTable | None],
    spreading: Spreading,
) -> Tensor:
    """Return the mean of all pipelines ``[N, C]``, float32.

    Args:
        data: The graph.
        models: The layers.
        combinations: How all learners are combined, by repeat and fold.
        prepared: What every member reads of the graph.
        tables: Features of every stacker, None for one without.
        spreading: How predictions become columns.
    """
    total: Any = 0.0
    for repeat, row in enumerate(combinations):
        folds = range(len(row))
        views = [
            [
                each[repeat][k].predict_proba(data, prepared=prepared[name])
                for name, each in models[0].items()
            ]
            for k in folds
        ]
        everything, below = views, list(models[0])
        for layer in models[1:]:
            names = spreading.names(below, views[0][0].shape[1])
            columns = _columns(views, spreading)
            views = [
                [
                    each[repeat][k].predict_proba(
                        data, prepared=joined(tables[name], columns[k], names)
                    )
                    for name, each in layer.items()
                ]
                for k in folds
            ]
            everything = [[*old, *new] for old, new in zip(everything, views, strict=True)]
            below = list(layer)
        for combination, probs in zip(row, everything, strict=True):
            total = total + combination(torch.stack(probs), data) / len(row)
    found: Tensor = total / len(combinations)
    return found


def _columns(views: list[list[Tensor]], spreading: Spreading) -> list[Tensor]:
    """Return the columns that the stackers of every fold read."""
    if spreading.consistency == "oof":
        means = [torch.stack(each).mean(dim=0) for each in zip(*views, strict=True)]
        return [spreading.of_models(means)] * len(views)
    return [spreading.of_models(each) for each in views]
