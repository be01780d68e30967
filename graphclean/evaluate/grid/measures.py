"""What a grid can measure of a detector beside its scores: strata, and what models learn."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.denoise import clean
from graphclean.evaluate.downstream import compare_repairs
from graphclean.evaluate.grid.graphs import NoisyGraph, seed_for
from graphclean.evaluate.grid.plan import Cell
from graphclean.evaluate.rank_stability import rank_stability
from graphclean.evaluate.strata import STRATA, by_stratum
from graphclean.issues import LabelIssues
from graphclean.nn import NodeClassifier, stratified_folds

MODELS = ("mlp", "sgc", "sign", "gcn")
"""Learners whose ranking on the test labels is compared."""

CHEAP = "sign"
"""The one that is retrained on every repair."""

_PARAMS = {"epochs": 100, "val_fraction": 0.0, "patience": None, "feature_norm": "auto"}
_TEST_FOLDS = 5

Rows = list[dict[Hashable, Any]]


def strata(issues: LabelIssues, noisy: NoisyGraph) -> Rows:
    """Return `by_stratum` on the scored nodes, of the given class, degree and homophily."""
    data = noisy.with_truth(noisy.scored)
    return [
        row for name in STRATA for row in by_stratum(issues, data, name).to_dict(orient="records")
    ]


@dataclass(frozen=True)
class Downstream:
    """Models trained and tested on a cell, the same for all its detectors.

    Test nodes are those of the cell's split, for the protocol ``"whole"`` a fifth of the labelled
    nodes, drawn by given class. There the detectors were shown the test nodes' given labels, which
    so have had a say in the repair of the training nodes: ``judged_test`` counts them.

    Attributes:
        cell: The cell.
        noisy: Its graph and truth.
    """

    cell: Cell
    noisy: NoisyGraph

    def repairs(self, issues: LabelIssues) -> Rows:
        """Return `compare_repairs` with all actions: a cheap model retrained on each repair."""
        found = compare_repairs(
            self._with_truth,
            issues,
            classifier=_learner(CHEAP),
            test_mask=self.test,
            train_mask=self.train,
            seeds=[self.cell.seed],
        )
        rows: Rows = found.drop(columns="seed").to_dict(orient="records")
        return rows

    def ranks(self, issues: LabelIssues) -> Rows:
        """Rank models, all trained on the given labels, by three versions of the test labels.

        A repair follows the detector's base learner, and may favour models that resemble it: what
        counts is whether the repaired labels rank the models as the clean ones do.

        Returns:
            One row for each of ``labels``: ``"given"``, ``"repaired"`` (by ``relabel`` with its
            default gate) and ``"clean"``: what `rank_stability` finds between them and the clean
            ones (``nodes``, ``changed``, ``kendall_tau``, ``kendall_tau_changed``, ``swapped``),
            the ``best`` model by them, and the accuracy of each model on them.
        """
        versions = {
            "given": self.noisy.blind.y,
            "repaired": clean(self.noisy.blind, issues, "relabel").y,
            "clean": self.noisy.clean,
        }
        rows: Rows = []
        for name, labels in versions.items():
            found = rank_stability(self.predictions, labels, self.noisy.clean, self.test)
            summary = found.summary()
            accuracy = found.table.set_index("model")["accuracy_given"]
            rows.append(
                {
                    "labels": name,
                    "best": summary.pop("best_given"),
                    **{key: summary[key] for key in summary if key != "best_corrected"},
                    **{f"accuracy_{model}": float(accuracy[model]) for model in MODELS},
                }
            )
        return rows

    @cached_property
    def test(self) -> Tensor:
        """Nodes to score on ``[N]``, bool."""
        if self.cell.protocol != "whole":
            return self.noisy.scored
        labelled = labelled_mask(self.noisy.blind) & (self.noisy.clean >= 0)
        seed = seed_for(self.cell, "test nodes")
        fold: Tensor = stratified_folds(self.noisy.blind.y, labelled, _TEST_FOLDS, seed)
        return fold == 0

    @cached_property
    def train(self) -> Tensor:
        """Nodes to train on ``[N]``, bool: those of the split, else all others with a label."""
        if self.cell.protocol != "whole":
            mask: Tensor = self.noisy.blind.train_mask
            return mask
        return labelled_mask(self.noisy.blind) & ~self.test

    @cached_property
    def predictions(self) -> dict[str, Tensor]:
        """Classes ``[N]`` that each model predicts, trained on the given labels."""
        view = copy.copy(self.noisy.blind)
        learned = self.train & ~self.test
        view.y = torch.where(learned, view.y, -1)
        found = {}
        for name in MODELS:
            model = _learner(name).set_params(random_state=self.cell.seed)
            found[name] = model.fit(view, mask=learned).predict_proba(view).argmax(dim=1)
        return found

    @cached_property
    def _with_truth(self) -> Any:
        return self.noisy.with_truth(self.noisy.clean >= 0)


def _learner(name: str) -> NodeClassifier:
    return NodeClassifier.create(name, **_PARAMS)
