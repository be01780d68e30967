"""A layer of a stack: learners cross-fitted on the same folds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from graphclean.data.labels import class_names
from graphclean.ensemble.members import StackInputs
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.crossfit import OutOfFold, cross_fit
from graphclean.nn.supervision import Supervision
from graphclean.nn.train import Event
from graphclean.types import InputError, spawn_seeds


@dataclass(frozen=True, eq=False)
class Layer:
    """The learners of one layer, cross-fitted on the same folds.

    Attributes:
        results: Out-of-fold predictions and models by learner.
        seconds: Seconds that all fits of a learner took.
    """

    results: dict[str, OutOfFold]
    seconds: dict[str, float]

    @property
    def mean(self) -> OutOfFold:
        """The plain mean of the learners."""
        found = list(self.results.values())
        total = torch.zeros_like(found[0].model_probs)
        for each in found:
            total += each.model_probs
        return OutOfFold.merged(total / len(found), found[0].fold)


@dataclass(frozen=True, eq=False)
class CrossFittedMembers:
    """The first layer of a stack, for several stacks with the same members to share.

    Attributes:
        graph: The graph, with the labels that may be known.
        inputs: What was prepared of it.
        labels: Targets and rows that ``fit`` was given.
        held_out: Rows that nothing is fitted on ``[m]``, long.
        fold: Folds of the others ``[R, N]``, long.
        layer: The members.
    """

    graph: Any
    inputs: StackInputs
    labels: Supervision
    held_out: Tensor
    fold: Tensor
    layer: Layer

    def check(self, labels: Supervision, names: Sequence[str]) -> None:
        """Raise InputError unless these are the members of such a fit."""
        mine = self.labels
        pairs = [(mine.train_index, labels.train_index), (mine.val_index, labels.val_index)]
        fits = all(torch.equal(*pair) for pair in pairs)
        rows = torch.cat([mine.train_index, mine.val_index])
        fits = fits and torch.equal(mine.target[rows], labels.target[rows])
        weights = [torch.ones(1) if each.weight is None else each.weight for each in (mine, labels)]
        if not fits or not torch.equal(*weights):
            raise InputError("prepared", "members of other labels or rows", "Fit them on these.")
        if list(self.layer.results) != list(names):
            shown = f"members {', '.join(self.layer.results)}"
            raise InputError("prepared", shown, f"This stack has {', '.join(names)}.")


def known_graph(data: Any, labels: Supervision, inside: Tensor, held_out: Tensor) -> Any:
    """Return a shallow copy of the graph with all classes, but labels of these rows only."""
    view = copy.copy(data)
    for key in ("y_clean", "noise_mask", "train_mask", "val_mask", "test_mask"):
        if key in view:
            del view[key]
    target = labels.target if labels.target.dim() == 1 else labels.target.argmax(dim=1)
    rows = inside.clone()
    rows[held_out] = True
    view.y = torch.where(rows, target, -1)
    names = class_names(data)
    known = len(names) == labels.num_classes
    view.class_names = names if known else list(map(str, range(labels.num_classes)))
    return view


@dataclass(frozen=True, eq=False)
class CrossFitting:
    """What the fits of all layers share.

    Attributes:
        graph: The graph, with the known labels.
        labels: Targets.
        fold: Folds ``[R, N]``.
        n_jobs: Processes.
        progress: Whether to show a bar over the fits of every layer.
        callbacks: Hear of every fit: ``"fold"`` events with ``"layer"`` and ``"learner"``.
    """

    graph: Any
    labels: Supervision
    fold: Tensor
    n_jobs: int | None
    progress: bool
    callbacks: Sequence[Callable[[Event], Any]]

    def layer(
        self,
        number: int,
        learners: Sequence[tuple[str, NodeClassifier]],
        prepared: Mapping[str, Any],
        seed: int,
        weight: Tensor | None,
        held_out: Tensor | None = None,
    ) -> Layer:
        """Fit every learner of a layer on every fold.

        Args:
            number: Number of the layer, from 1.
            learners: Names and classifiers.
            prepared: What each of them reads.
            seed: Seed of the layer.
            weight: Weights ``[N]``, or None.
            held_out: Rows that stop the training early ``[m]``, long, or None.
        """
        layer, folds = Layer({}, {}), int(self.fold.max()) + 1
        validation = torch.zeros(self.fold.shape[1], dtype=torch.bool)
        if held_out is not None:
            validation[held_out] = True
        total = len(learners) * len(self.fold) * folds
        with tqdm(total=total, disable=not self.progress, desc=f"layer {number}") as bar:
            seeds = spawn_seeds(seed, len(learners))
            for (name, learner), own_seed in zip(learners, seeds, strict=True):
                layer.seconds[name] = 0.0

                def hear(event: Event, name: str = name) -> None:
                    layer.seconds[name] += event["seconds"]
                    bar.set_postfix_str(name, refresh=False)
                    bar.update()
                    for callback in self.callbacks:
                        callback({**event, "layer": number, "learner": name})

                layer.results[name] = cross_fit(
                    learner,
                    self.graph,
                    y=self.labels.target,
                    mask=self.fold[0] >= 0,
                    folds=self.fold,
                    random_state=own_seed,
                    n_jobs=self.n_jobs,
                    callbacks=[hear],
                    sample_weight=weight,
                    val_mask=validation if bool(validation.any()) else None,
                    prepared=prepared[name],
                    keep_models=True,
                )
        return layer
