"""Correct and Smooth over any base learner, on its out-of-fold predictions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, get_args

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch_geometric.data import Data

from graphclean.denoise.correct_and_smooth import CorrectAndSmooth
from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.base_fits import (
    base_learner,
    check_folds,
    fit_out_of_fold,
    graph_key,
    mean_probs,
    training_folds,
)
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.losses.base import as_distribution
from graphclean.nn.params import estimator
from graphclean.nn.supervision import Supervision
from graphclean.nn.tabular import HistGradientBoosting
from graphclean.nn.train import Callback
from graphclean.sparse import Propagator, label_propagation
from graphclean.types import InputError, Seed, spawn_seeds

Trust = Literal["given", "agreement"]
_STAGES = ("none", "correct", "smooth")
"""What is done to the predictions of the base learner, from nothing to everything."""


@estimator
class PropagatedClassifier(EnsembleClassifier):
    r"""Correct and Smooth: errors of a classifier, then labels, spread over the graph.

    1. The base learner is fitted once a fold; each training row is predicted by the model that has
       not seen its label, all other nodes by the mean of the models.
    2. `graphclean.denoise.CorrectAndSmooth` spreads the errors :math:`e_{\tilde y_i} - \hat p_i` of
       the training rows, then labels and corrected predictions, with the trust :math:`t_i` in each
       label.
    3. Validation rows choose how far to go: the predictions as they are, corrected, or corrected
       and smoothed, by accuracy against their given labels; ties go to the lesser step.

    Paper: Huang et al., *Combining Label Propagation and Simple Models Out-performs Graph Neural
    Networks*, https://arxiv.org/abs/2010.13993. Differences from the released code, and from ports
    of it:

    - Errors are out of fold. In-sample errors, as in the release, are next to nothing where a
      flexible learner knows a label by heart, a wrong one above all.
    - Labels of training rows only are spread; labels of validation rows never are.
    - A label counts by trust, not as certain; see `CorrectAndSmooth`.
    - Whether the graph helps is measured (step 3). Where neighbours differ it does not.

    A training row starts the smoothing from its own given label, in proportion to its trust: what
    is predicted *for training rows* has seen it, as with any fitted classifier. Use `cross_fit` to
    judge labels. Another graph than that of the fit has no known labels: there the mean of the
    models is smoothed, if smoothing was chosen, and not corrected.

    Of a soft target the most probable class is the label and its probability part of the trust, as
    is the weight of the row, relative to the largest one.

    Args:
        classifier: Base learner: a ``NodeClassifier`` or its registered name; None for boosted
            trees.
        n_folds: Folds of the base learner.
        folds: ``"stratified"``, ``"random"`` or ``"community"``, or given folds ``[N]``.
        correction_alpha: Share of the neighbours in a spread error, in [0, 1].
        smoothing_alpha: Share of the neighbours in a smoothed label, in [0, 1].
        steps: Steps of either spreading.
        scale: Factor of spread errors; None to fit their size (*Autoscale*).
        trust: ``"given"`` believes every label; ``"agreement"`` as far as the base learner does
            out of fold, :math:`t_i = \hat p_i(\tilde y_i) / \max_c \hat p_i(c)`.
        gate: Whether validation rows choose how far to go; False always smooths.
        val_fraction: Share of the training rows, stratified by given label, that is held back for
            validation when ``fit`` gets no ``val_mask``; 0 for none, which always smooths.
        random_state: Seed of folds and fits.
        n_jobs: Processes for the folds; the result is the same for any number.
        progress: Whether to show a bar over the folds.

    Attributes:
        n_classes_: Number of classes C.
        models_: The fitted base learners, one a fold.
        oof_: Out-of-fold probabilities of the base learner on the graph of the fit ``[N, C]``.
        trust_: Trust in the label of every training row ``[N]``, 0 elsewhere.
        stage_: ``"none"``, ``"correct"`` or ``"smooth"``.
        val_accuracy_: Accuracy on the validation rows by stage; empty without these.
        probs_: What is predicted of the graph of the fit ``[N, C]``.
    """

    name: ClassVar[str] = "correct_and_smooth"

    classifier: NodeClassifier | str | None = None
    n_folds: int = 5
    folds: Any = "stratified"
    correction_alpha: float = 0.8
    smoothing_alpha: float = 0.8
    steps: int = 50
    scale: float | None = None
    trust: Trust = "given"
    gate: bool = True
    val_fraction: float = 0.1
    random_state: Seed = None
    n_jobs: int | None = 1
    progress: bool = False

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        self._spreading("smooth").check_parameters()
        check_folds(self.n_folds, self.folds)
        if self.trust not in get_args(Trust):
            raise InputError("trust", self.trust, "Use 'given' or 'agreement'.")
        for option in ("gate", "progress"):
            if not isinstance(getattr(self, option), bool):
                raise InputError(option, getattr(self, option), "Pass True or False.")
        self._base().check_parameters()

    def prepare(self, data: Any) -> Any:
        """Return what the base learner prepares of a graph."""
        return self._base().prepare(data)

    def predict_proba(self, data: Any, *, prepared: Any = None) -> Tensor:
        """Return class probabilities of all nodes ``[N, C]``, float32 on the CPU.

        Args:
            data: The graph of the fit, or another one with the same features.
            prepared: Result of ``prepare(data)``.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
        """
        check_is_fitted(self, "models_")
        if graph_key(data) == self.graph_key_:
            return self.probs_.clone()
        probs = mean_probs(self.models_, data, prepared)
        if self.stage_ != "smooth":
            return probs
        spread = label_propagation(
            Propagator.from_data(data, norm="sym", direction="both", dtype=torch.float64),
            probs,
            alpha=self.smoothing_alpha,
            steps=self.steps,
            tol=None,
        ).values
        total = spread.sum(dim=1, keepdim=True)
        # With a share of 1 nothing is heard of an isolated node: it stays as it was.
        return torch.where(total > 0, spread / total.clamp_min(1e-300), probs.double()).float()

    def _base(self) -> NodeClassifier:
        return base_learner(self.classifier, HistGradientBoosting())

    def _validation(self) -> tuple[float, Seed]:
        return self.val_fraction, spawn_seeds(self.random_state, 1)[0]

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        _, fold_seed, fit_seed = spawn_seeds(self.random_state, 3)
        found = fit_out_of_fold(
            self._base(),
            data,
            labels,
            training_folds(data, labels, self.folds, self.n_folds, fold_seed),
            seed=fit_seed,
            prepared=prepared,
            n_jobs=self.n_jobs,
            progress=self.progress,
            callbacks=callbacks,
        )
        assert found.models is not None
        self.n_classes_, self.models_ = labels.num_classes, found.models[0]
        self.oof_, self.graph_key_ = found.pred_probs, graph_key(data)
        graph = _labelled_edges(data, labels)
        self.trust_ = self._trust(labels, graph.y)
        stages = {stage: self._propagated(stage, graph) for stage in _STAGES}
        held = labels.val_index
        given = labels.target[held]
        hard = given.argmax(dim=1) if given.dim() == 2 else given
        self.val_accuracy_ = {
            stage: float((probs[held].argmax(dim=1) == hard).double().mean())
            for stage, probs in stages.items()
            if len(held)
        }
        self.stage_ = "smooth"
        if self.gate and len(held):
            # The first of equals: max keeps it.
            self.stage_ = max(_STAGES, key=lambda stage: self.val_accuracy_[stage])
        self.probs_ = stages[self.stage_]
        return self

    def _trust(self, labels: Supervision, known: Tensor) -> Tensor:
        """Return the trust in the label of every training row ``[N]``, float64, 0 elsewhere."""
        rows = labels.train_index
        own = known[rows].unsqueeze(1)
        target = as_distribution(labels.target[rows], labels.num_classes).double()
        trust = target.gather(1, own).squeeze(1)
        if labels.weight is not None:
            trust = trust * labels.weight.double() / labels.weight.double().max()
        if self.trust == "agreement":
            probs = self.oof_[rows].double()
            agreement = probs.gather(1, own).squeeze(1) / probs.amax(dim=1)
            trust = trust * agreement.clamp(0.0, 1.0)
        found = torch.zeros(len(known), dtype=torch.float64)
        found[rows] = trust
        return found

    def _propagated(self, stage: str, graph: Data) -> Tensor:
        """Return the probabilities after a stage ``[N, C]``, float32."""
        classes_known = len(graph.y[graph.y >= 0].unique())
        if stage == "none" or classes_known < 2:
            return self.oof_
        fitted = self._spreading(stage).fit(graph, pred_probs=self.oof_, trust=self.trust_)
        return fitted.soft_labels_

    def _spreading(self, stage: str) -> CorrectAndSmooth:
        """Return the denoiser; one that smooths with a share of 0 only corrects."""
        return CorrectAndSmooth(
            correction_alpha=self.correction_alpha,
            smoothing_alpha=self.smoothing_alpha if stage == "smooth" else 0.0,
            steps=self.steps,
            scale=self.scale,
        )


def _labelled_edges(data: Any, labels: Supervision) -> Data:
    """Return the edges with the labels of the training rows; features are not read any more."""
    target = labels.target if labels.target.dim() == 1 else labels.target.argmax(dim=1)
    known = torch.full_like(target, -1)
    known[labels.train_index] = target[labels.train_index]
    graph = Data(x=torch.zeros(len(known), 1), edge_index=data.edge_index, y=known)
    if getattr(data, "edge_weight", None) is not None:
        graph.edge_weight = data.edge_weight
    graph.class_names = [str(number) for number in range(labels.num_classes)]
    return graph
