"""The end of a stack: all layers become one prediction, which is scored."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from graphclean.ensemble.checks import Optimism, Score, optimism, score
from graphclean.ensemble.combine import Combination, Meta, contradicted, fit_combination, mean_of
from graphclean.ensemble.greedy import SelectionLoss
from graphclean.ensemble.layers import Layer
from graphclean.ensemble.store import OutOfFoldStore
from graphclean.nn.crossfit import OutOfFold
from graphclean.types import spawn_seeds

Combinations = list[list[Combination]]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a stack.

    Attributes:
        combinations: How all learners are combined, by repeat and fold.
        weights: Mean weight by learner.
        store: All out-of-fold probabilities.
        scores: One row for every learner, the mean of the first layer and the stack.
        optimism: Of the stack as it was learned, before any fall back.
    """

    combinations: Combinations
    weights: dict[str, float]
    store: OutOfFoldStore
    scores: pd.DataFrame
    optimism: Optimism


def learner_names(layers: Sequence[Sequence[str]]) -> list[str]:
    """Return names that tell the learners of all layers apart."""
    return [
        name if number == 1 else f"layer{number}/{name}"
        for number, layer in enumerate(layers, start=1)
        for name in layer
    ]


@dataclass(frozen=True)
class Head:
    """How learners are combined: options of `fit_combination`.

    Attributes:
        meta: The combination.
        loss: Of ``"greedy"``.
        drop_flagged: Whether rows that the mean of the first layer contradicts are left out.
        seed: Seed.
    """

    meta: Meta
    loss: SelectionLoss
    drop_flagged: bool
    seed: int


def fit_combinations(
    layers: Sequence[Layer], target: Tensor, weight: Tensor, graph: Any, head: Head
) -> Combinations:
    """Learn to combine all learners of all layers, for every fold on the rows of the others."""
    results = [each for layer in layers for each in layer.results.values()]
    fold, first = results[0].fold, len(layers[0].results)
    hard = target if target.dim() == 1 else target.argmax(dim=1)
    found: Combinations = []
    for repeat, repeat_seed in enumerate(spawn_seeds(head.seed, len(fold))):
        probs = torch.stack([each.held_out(repeat) for each in results])
        found.append([])
        for k, seed in enumerate(spawn_seeds(repeat_seed, int(fold.max()) + 1)):
            rows = ((fold[repeat] >= 0) & (fold[repeat] != k)).nonzero().view(-1)
            if head.drop_flagged:
                kept = rows[~contradicted(hard[rows], probs[:first, rows].mean(dim=0))]
                rows = kept if len(kept) else rows
            found[-1].append(
                fit_combination(
                    head.meta, probs, target, rows, graph, weight=weight, loss=head.loss, seed=seed
                )
            )
    return found


def judged(
    layers: Sequence[Layer],
    combinations: Combinations,
    target: Tensor,
    inside: Tensor,
    held_out: Tensor,
    graph: Any,
    fallback: bool,
) -> Outcome:
    """Score a stack; one that fools itself becomes the mean of its members, with a warning.

    Args:
        layers: The layers.
        combinations: How all learners are combined.
        target: Targets ``[N]`` or ``[N, C]``.
        inside: Rows of the folds ``[N]``, bool.
        held_out: Rows that nothing was fitted on ``[m]``, long.
        graph: The graph.
        fallback: Whether to change the stack, or only to warn.
    """
    stack, mean = combined(layers, combinations, graph), layers[0].mean
    pairs = [two_scores(each.pred_probs, target, inside, held_out) for each in (stack, mean)]
    verdict = optimism(*pairs)
    names = learner_names([list(layer.results) for layer in layers])
    if verdict.overfits:
        then = "the plain mean of its members predicts" if fallback else "it stays as it is"
        warnings.warn(
            f"The stack is {verdict.gap:.3f} more accurate out of fold than on rows that it never "
            f"saw, where chance explains {2 * verdict.error:.3f}: {then}.",
            stacklevel=4,
        )
        if fallback:
            used = torch.arange(len(names)) < len(layers[0].results)
            combinations = [[mean_of(used)] * len(row) for row in combinations]
            stack = combined(layers, combinations, graph)
    weights = mean_weights(combinations).tolist()
    return Outcome(
        combinations,
        dict(zip(names, weights, strict=True)),
        filled_store(layers, stack),
        score_frame(layers, stack, weights, target, inside, held_out),
        verdict,
    )


def combined(layers: Sequence[Layer], combinations: Combinations, graph: Any) -> OutOfFold:
    """Return what the whole stack of every fold says about every node."""
    results = [each for layer in layers for each in layer.results.values()]
    shape = results[0].model_probs.shape
    probs = torch.empty(shape)
    for repeat in range(shape[0]):
        for k in range(shape[1]):
            everything = torch.stack([each.model_probs[repeat, k] for each in results])
            probs[repeat, k] = combinations[repeat][k](everything, graph)
    return OutOfFold.merged(probs, results[0].fold)


def mean_weights(combinations: Combinations) -> Tensor:
    """Return the weights of the learners, mean over all folds ``[M]``."""
    return torch.stack([each.weights for row in combinations for each in row]).mean(dim=0)


def filled_store(layers: Sequence[Layer], stack: OutOfFold) -> OutOfFoldStore:
    """Return all out-of-fold probabilities."""
    names = learner_names([list(layer.results) for layer in layers])
    results = [each for layer in layers for each in layer.results.values()]
    numbers = [n for n, layer in enumerate(layers, start=1) for _ in layer.results]
    return OutOfFoldStore(
        fold=results[0].fold,
        learners={name: each.pred_probs for name, each in zip(names, results, strict=True)},
        layers=dict(zip(names, numbers, strict=True)),
        stack=stack.pred_probs,
        model_probs={name: each.model_probs for name, each in zip(names, results, strict=True)},
    )


def two_scores(
    probs: Tensor, target: Tensor, inside: Tensor, outside: Tensor
) -> tuple[Score, Score]:
    """Return the scores out of fold and held out."""
    return score(probs, target, inside), score(probs, target, outside)


def score_frame(
    layers: Sequence[Layer],
    stack: OutOfFold,
    weights: Sequence[float],
    target: Tensor,
    inside: Tensor,
    outside: Tensor,
) -> pd.DataFrame:
    """Return one row for every learner, the mean of the first layer and the stack."""
    rows: list[dict[str, Any]] = []

    def add(layer: int, name: str, probs: Tensor, weight: float, seconds: float) -> None:
        oof, held = two_scores(probs, target, inside, outside)
        rows.append(
            {
                "layer": layer,
                "learner": name,
                "weight": weight,
                "oof_accuracy": oof.accuracy,
                "oof_log_loss": oof.log_loss,
                "held_out_accuracy": held.accuracy,
                "held_out_log_loss": held.log_loss,
                "seconds": seconds,
            }
        )

    remaining = iter(weights)
    for number, layer in enumerate(layers, start=1):
        for name, found in layer.results.items():
            add(number, name, found.pred_probs, next(remaining), layer.seconds[name])
    spent = [sum(layer.seconds.values()) for layer in layers]
    add(1, "mean", layers[0].mean.pred_probs, math.nan, spent[0])
    add(len(layers), "stack", stack.pred_probs, math.nan, sum(spent))
    return pd.DataFrame(rows)
