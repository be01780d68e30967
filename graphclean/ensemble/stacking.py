"""Stacked GNNs and tables whose inputs hold no row's own label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from graphclean.data.mixed import MixedTable
from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.combine import Combination, Meta
from graphclean.ensemble.final import Head, fit_combinations, judged
from graphclean.ensemble.fold_propagation import Consistency
from graphclean.ensemble.greedy import SelectionLoss
from graphclean.ensemble.layers import CrossFittedMembers, CrossFitting, Layer, known_graph
from graphclean.ensemble.members import (
    Members,
    Stackers,
    StackInputs,
    named_members,
    named_stackers,
    prepare_stack,
    stacker_tables,
)
from graphclean.ensemble.options import check_options
from graphclean.ensemble.prediction import FittedLayer, predict_stack
from graphclean.ensemble.row_weights import Weighting, given_weights, margin_weights
from graphclean.ensemble.splits import held_out_rows, make_folds
from graphclean.ensemble.stacker_inputs import Spreading, StackerInputs, stacker_inputs
from graphclean.ensemble.store import OutOfFoldStore
from graphclean.nn.params import estimator
from graphclean.nn.supervision import Supervision, supervision
from graphclean.nn.train import Callback
from graphclean.types import Seed, spawn_seeds


@estimator
class GraphStackingClassifier(EnsembleClassifier):
    r"""Layers of learners on folds, with the graph between the layers.

    1. Every member (learners of tables, GNNs, robust trainers) is fitted once a fold, without the
       labels of that fold, and predicts all nodes.
    2. `propagate_folds` spreads the predictions over the graph, hop by hop. With
       ``consistency="fold"`` node i of fold k is spread to by models of fold k alone: its columns
       do not depend on its own label, bit for bit (for folds that do not: all but
       ``"stratified"``), where the published recipe, ``"oof"``, is optimistic by up to 22 points.
    3. Stackers, learners of rows, read these columns beside the features, on the same folds.
       Whatever collects from neighbours itself is refused here. Further layers repeat 2 and 3: a
       row's label reaches its columns there through what stackers learned of other rows, whose
       columns and weights came from models that were fitted on it.
    4. ``meta`` combines the learners of all layers, for every fold on the rows of the others.

    Members, stackers and combination of one fold are a pipeline that no label of the fold was a
    target of. A row of a fold is judged by the pipeline of its fold, any other node by the mean of
    all: a stacker always reads predictions of single models, as in its training, never a mean of
    several, which is smoother than what it was fitted on. (With ``"oof"`` rows of no fold are
    spread to as published in ``stack_oof_``; ``predict_proba`` spreads means to all nodes.)

    Where the out-of-fold accuracy exceeds the held-out one by more than two standard errors (and
    the members' mean does not), the stack fools itself: it warns and predicts the plain mean.
    ``callbacks`` hear of every fit: ``"fold"`` events with ``"layer"`` and ``"learner"``.

    Papers: Chen et al., *A Robust Stacking Framework for Training Deep Graph Models with
    Multifaceted Node Features*, https://arxiv.org/abs/2206.08473; Caruana et al., *Ensemble
    Selection from Libraries of Models*, ICML 2004. Consistency within a fold is new here.

    Args:
        estimators: Members: classifiers, registered names, or pairs of a name and one of these.
            None: boosted trees, MLP, GCN, GraphSAGE and SIGN.
        stackers: Learners of further layers: ``"boosting"`` (boosted trees on features and
            columns), ``"logistic"`` (C = 0.01, on the columns alone), or pairs of a name and a
            ``TabularClassifier``. None: these two.
        n_layers: Layers of learners >= 1; 1 for members alone.
        n_folds: Folds K >= 2.
        n_repeats: Repeats of all fits, with other folds.
        folds: ``"stratified"`` by given label, ``"random"`` or ``"community"`` (parts of the graph)
            without a look at any label, or given folds ``[N]`` or ``[R, N]``, however many.
        alpha: Share of the neighbours in a step of spreading, in (0, 1].
        hops: Steps of spreading, all of which are columns.
        propagate_features: Whether stackers that read features also get them spread.
        consistency: ``"fold"``, ``"oof"`` or ``"none"``, as in `propagate_folds`.
        meta: ``"greedy"``, ``"logistic"``, ``"boosting"`` or ``"mean"`` (of all learners).
        weighting: ``"margin"`` weighs the rows of stackers by :math:`\sigma(2 m_i)`, m_i the
            margin of their given label in the members' mean out-of-fold probabilities; None: not.
        selection_loss: What ``"greedy"`` minimises, as in `greedy_selection`; None for ``"brier"``.
        drop_flagged: Whether rows whose label the members' mean contradicts are left out when
            learning to combine. None: they are, but for ``"mean"``, which learns nothing.
        holdout: Share of the training rows that nothing is fitted on where ``fit`` gets no
            ``val_mask``, in [0, 0.5]. Held-out rows stop members early and check the stack.
        fallback: Whether a stack that fools itself predicts the plain mean of its members.
        random_state: Seed of folds and fits.
        n_jobs: Processes; the result is the same for any number.
        progress: Whether to show a bar over the fits of every layer.

    Attributes:
        store_: All out-of-fold probabilities, an `OutOfFoldStore`.
        weights_: Mean weight by learner; NaN for ``"boosting"``.
        scores_: Layer, learner, weight, ``oof_`` and ``held_out_`` ``accuracy`` and ``log_loss``
            against given labels, seconds; a frame.
        optimism_gap_: Out-of-fold minus held-out accuracy of the stack; NaN without held-out rows.
        overfits_: Whether that gap is too large to be chance (``fallback`` then sets in).
        models_: Fitted models by layer, learner, repeat and fold.
        combinations_: How they are combined, by repeat and fold.
    """

    name: ClassVar[str] = "graph_stacking"

    estimators: Members = None
    stackers: Stackers = None
    n_layers: int = 2
    n_folds: int = 5
    n_repeats: int = 1
    folds: Any = "stratified"
    alpha: float = 0.9
    hops: int = 3
    propagate_features: bool = False
    consistency: Consistency = "fold"
    meta: Meta = "greedy"
    weighting: Weighting | None = "margin"
    selection_loss: SelectionLoss | None = None
    drop_flagged: bool | None = None
    holdout: float = 0.1
    fallback: bool = True
    random_state: Seed = None
    n_jobs: int | None = 1
    progress: bool = False

    @property
    def oof_pred_probs_(self) -> dict[str, Tensor]:
        """Out-of-fold probabilities ``[N, C]`` by learner."""
        return self.store_.learners

    @property
    def stack_oof_(self) -> Tensor:
        """Out-of-fold probabilities of the stack ``[N, C]``."""
        return self.store_.stack

    @property
    def fold_id_(self) -> Tensor:
        """Fold of every node in every repeat ``[R, N]``, -1 for none."""
        return self.store_.fold

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        check_options(self.get_params(deep=False))

    def prepare(self, data: Any) -> StackInputs:
        """Return what all learners read of a graph; free of labels."""
        stackers = named_stackers(self.stackers) if self.n_layers > 1 else []
        return prepare_stack(data, named_members(self.estimators), stackers)

    def cross_fit_members(
        self,
        data: Any,
        y: Any = None,
        mask: Any = None,
        sample_weight: Any = None,
        *,
        val_mask: Any = None,
        prepared: StackInputs | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> CrossFittedMembers:
        """Fit the first layer alone, for ``fit(..., prepared=...)`` of several stacks to share.

        They may differ in everything that comes after it. Arguments are those of ``fit``.
        """
        self.check_parameters()
        labels = supervision(data, y, mask, sample_weight, val_mask)
        return self._members(data, labels, prepared, tuple(callbacks))

    def layer_inputs(self, members: CrossFittedMembers) -> list[Tensor]:
        """Return the columns of the second layer as it is fitted, ``[N, Z]`` for every repeat."""
        spreading = self._spreading(members.inputs)
        return list(stacker_inputs(members.layer.results, spreading, {"": None})[""].own)

    def predict_proba(self, data: Any, *, prepared: Any = None) -> Tensor:
        """Return class probabilities of all nodes ``[N, C]``, float32 on the CPU.

        The mean of the pipelines of all folds; on the graph of the fit the out-of-fold
        probabilities of training rows are in ``stack_oof_``.
        """
        check_is_fitted(self, "combinations_")
        if prepared is None:
            inputs = self._fitted_inputs(data)
        else:
            inputs = prepared.inputs if isinstance(prepared, CrossFittedMembers) else prepared
        spreading = self._spreading(inputs)
        tables = self._tables(data, inputs, spreading) if len(self.models_) > 1 else {}
        fitted = (self.models_, self.combinations_)
        return predict_stack(data, *fitted, inputs.members, tables, spreading)

    def fitted_state(self) -> dict[str, Any]:
        """Return what `fit` has learned, without what every single model predicts."""
        store = {k: v for k, v in vars(self.store_).items() if k != "model_probs"}
        return super().fitted_state() | {
            "combinations_": [[dict(vars(each)) for each in row] for row in self.combinations_],
            "scores_": self.scores_.to_dict("list"),
            "store_": store,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `fitted_state` gave."""
        super().restore(state)
        rows = state["combinations_"]
        self.combinations_ = [[Combination(**each) for each in row] for row in rows]
        self.scores_ = pd.DataFrame(state["scores_"])
        self.store_ = OutOfFoldStore(**state["store_"])

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        if isinstance(prepared, CrossFittedMembers):
            members = prepared
            members.check(labels, [name for name, _ in named_members(self.estimators)])
        else:
            members = self._members(data, labels, prepared, callbacks)
        inside, held = members.fold[0] >= 0, members.held_out
        shared = (members.graph, labels, members.fold)
        fitting = CrossFitting(*shared, self.n_jobs, self.progress, callbacks)
        weight = given_weights(labels)
        own = None if labels.weight is None else weight
        if self.weighting is not None:
            doubt = margin_weights(members.layer.mean.pred_probs, labels.target, inside)
            own = weight * doubt
        layers = [members.layer]
        stackers = named_stackers(self.stackers) if self.n_layers > 1 else []
        learners = [(name, model) for name, model, _ in stackers]
        for number, seed in enumerate(spawn_seeds(self._seeds()[2], self.n_layers)[1:], start=2):
            ready = self._inputs(data, layers[-1], members.inputs)
            layers.append(fitting.layer(number, learners, ready, seed, own))
        drops = self.meta != "mean" if self.drop_flagged is None else self.drop_flagged
        head = Head(self.meta, self.selection_loss or "brier", drops, self._seeds()[3])
        combinations = fit_combinations(layers, labels.target, weight, fitting.graph, head)
        found = judged(
            layers, combinations, labels.target, inside, held, fitting.graph, self.fallback
        )
        self.models_: list[FittedLayer] = [
            {name: each.models or [] for name, each in layer.results.items()} for layer in layers
        ]
        self.combinations_, self.weights_ = found.combinations, found.weights
        self.store_, self.scores_ = found.store, found.scores
        self.optimism_gap_, self.overfits_ = found.optimism.gap, found.optimism.overfits
        return self

    def _members(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> CrossFittedMembers:
        held_seed, fold_seed, layer_seed, _ = self._seeds()
        stratified = isinstance(self.folds, str) and self.folds == "stratified"
        held = held_out_rows(labels, self.holdout, stratified, held_seed)
        inside = torch.zeros(len(labels.target), dtype=torch.bool)
        inside[labels.train_index] = True
        inside[held] = False
        graph = known_graph(data, labels, inside, held)
        fold = make_folds(
            graph, labels, inside, self.folds, self.n_folds, self.n_repeats, fold_seed
        )
        inputs = self.prepare(graph) if prepared is None else prepared
        fitting = CrossFitting(graph, labels, fold, self.n_jobs, self.progress, callbacks)
        layer = fitting.layer(
            1,
            named_members(self.estimators),
            inputs.members,
            spawn_seeds(layer_seed, 1)[0],
            None if labels.weight is None else given_weights(labels),
            held,
        )
        return CrossFittedMembers(graph, inputs, labels, held, fold, layer)

    def _inputs(self, data: Any, below: Layer, inputs: StackInputs) -> dict[str, StackerInputs]:
        """Return what the stackers of the layer above read."""
        spreading = self._spreading(inputs)
        return stacker_inputs(below.results, spreading, self._tables(data, inputs, spreading))

    def _tables(
        self, data: Any, inputs: StackInputs, spreading: Spreading
    ) -> dict[str, MixedTable | None]:
        found = stacker_tables(data, named_stackers(self.stackers), inputs)
        if self.propagate_features:
            for name, table in found.items():
                found[name] = None if table is None else spreading.features(data, table)
        return found

    def _fitted_inputs(self, data: Any) -> StackInputs:
        """Prepare a graph as the fitted models read it: columns as they were made for the fit."""
        first = [{name: each[0][0] for name, each in layer.items()} for layer in self.models_[:2]]
        above = named_stackers(self.stackers) if len(first) > 1 else []
        stackers: Any = [(name, first[1][name], reads) for name, _, reads in above]
        return prepare_stack(data, list(first[0].items()), stackers, fitted=True)

    def _spreading(self, inputs: StackInputs) -> Spreading:
        return Spreading(inputs.propagator, self.alpha, self.hops, self.consistency)

    def _seeds(self) -> list[int]:
        """Return the seeds of held-out rows, folds, layers and combination."""
        return spawn_seeds(self.random_state, 4)
