"""GMNN: a network of features and a network of neighbouring labels that teach each other."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, get_args

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from graphclean.ensemble.backbone import make_backbone
from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.base_fits import check_folds, mean_probs, training_folds
from graphclean.ensemble.row_weights import given_weights
from graphclean.nn.losses.base import as_distribution
from graphclean.nn.mlp import MLP
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import check_integer, check_number, estimator
from graphclean.nn.prepared import Prepared
from graphclean.nn.supervision import Supervision
from graphclean.nn.train import Callback
from graphclean.sparse import Propagator
from graphclean.types import InputError, Seed, spawn_seeds, torch_rng

Draw = Literal["mean", "max", "sample"]


@estimator
class GMNN(EnsembleClassifier):
    r"""Graph Markov neural network: variational EM with two networks.

    .. math::
        q_\theta(y_i \mid X, A), \qquad p_\phi(y_i \mid \hat y_{N(i)})

    :math:`q_\theta` is a graph network on the features, :math:`p_\phi` an MLP that reads from the
    labels of a node's neighbours alone which label goes with them (their shares and how many of
    each). After a first :math:`q_\theta` on the given labels, each iteration is

    - M-step: labels :math:`\hat y` that are not known are drawn from :math:`q_\theta`;
      :math:`p_\phi` learns :math:`\hat y_i` from :math:`\hat y_{N(i)}`, at all nodes.
    - E-step: :math:`q_\theta` learns the given labels where they are known, elsewhere
      :math:`p_\phi(\cdot \mid \hat y_{N(i)})`.

    Paper: Qu, Bengio and Tang, *GMNN: Graph Markov Neural Networks*,
    https://arxiv.org/abs/1905.06214. Where this differs from the released code:

    - There, :math:`p_\phi` is a network with self-loops: a node's own label is among its inputs
      and the best that it can learn is to copy. Here it reads neighbours only, as in the paper.
    - There, :math:`\hat y` of the neighbours comes from a :math:`q_\theta` that has learned
      :math:`y_i`, which :math:`p_\phi` is then to find. Here there is one :math:`q_\theta` a fold;
      what :math:`p_\phi` reads to learn of a row of fold k, and to teach :math:`q_\theta` of fold
      k, hides the labels of fold k: it depends on the row's own label at most through what
      :math:`p_\phi` has learned in all. To :math:`q_\theta` of fold k, its rows are unlabelled.
    - Networks start afresh in every iteration, which can then be compared: the best one by
      validation loss, the first included, predicts by the mean of its folds.

    Args:
        backbone: :math:`q_\theta`: ``"appnp"``, ``"gat"``, ``"gcn"`` or ``"sage"``.
        hidden: Width of the hidden layers of both networks.
        num_layers: Layers of :math:`q_\theta`.
        dropout: Dropout probability of the hidden layers.
        epochs: Epochs of every fit at most.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty on all parameters.
        patience: Epochs without improvement on the validation rows that end a fit.
        iterations: Iterations of EM, >= 1.
        draw: Labels that are drawn: the probabilities (``"mean"``), the most probable class
            (``"max"``) or a random one (``"sample"``).
        pseudo_weight: Weight of an unknown label relative to the mean given one, in [0, 1].
        n_folds: Folds.
        folds: ``"stratified"``, ``"random"`` or ``"community"``, or given folds ``[N]``.
        val_fraction: Share of the training rows, stratified by given label, that is held back for
            validation when ``fit`` gets no ``val_mask``; 0 for none, and the last iteration stays.
        random_state: Seed of folds and fits.

    Attributes:
        n_classes_: Number of classes C.
        models_: :math:`q_\theta` of every fold, of the best iteration.
        label_model_: :math:`p_\phi` of the last iteration.
        val_loss_: Cross-entropy of the validation rows by iteration, that before EM first.
        best_iteration_: Iteration whose networks predict, from 0.
    """

    name: ClassVar[str] = "gmnn"

    backbone: str = "gcn"
    hidden: int = 64
    num_layers: int = 2
    dropout: float = 0.5
    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    patience: int | None = 30
    iterations: int = 2
    draw: Draw = "mean"
    pseudo_weight: float = 1.0
    n_folds: int = 3
    folds: Any = "stratified"
    val_fraction: float = 0.1
    random_state: Seed = None

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        check_integer("iterations", self.iterations, 1)
        check_number("pseudo_weight", self.pseudo_weight, 0, 1)
        check_folds(self.n_folds, self.folds)
        if self.draw not in get_args(Draw):
            raise InputError("draw", self.draw, "Use 'mean', 'max' or 'sample'.")
        self._feature_network(0)

    def prepare(self, data: Any) -> Prepared:
        """Return features and adjacency as the network of features reads them."""
        self.check_parameters()
        return self._feature_network(0).prepare(data)

    def predict_proba(self, data: Any, *, prepared: Prepared | None = None) -> Tensor:
        """Return class probabilities of all nodes ``[N, C]``, float32 on the CPU.

        Args:
            data: The graph of the fit, or another one with the same features.
            prepared: Result of ``prepare(data)``.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
        """
        check_is_fitted(self, "models_")
        ready = self.models_[0].prepare(data) if prepared is None else prepared
        return mean_probs(self.models_, data, ready)

    def _validation(self) -> tuple[float, Seed]:
        return self.val_fraction, spawn_seeds(self.random_state, 1)[0]

    def _fit(
        self, data: Any, labels: Supervision, prepared: Any, callbacks: tuple[Callback, ...]
    ) -> Self:
        _, fold_seed, first_seed, *seeds = spawn_seeds(self.random_state, 3 + self.iterations)
        ready = self._feature_network(0).prepare(data) if prepared is None else prepared
        fold = training_folds(data, labels, self.folds, self.n_folds, fold_seed)
        em = _EM(self, data, labels, fold, ready, callbacks)
        models = em.first(first_seed)
        self.n_classes_ = labels.num_classes
        self.models_, self.best_iteration_ = models, 0
        self.val_loss_ = [em.val_loss(models)]
        for number, seed in enumerate(seeds, start=1):
            if any(getattr(model, "stop_reason_", None) == "interrupt" for model in models):
                break
            models, self.label_model_ = em.iterate(models, seed)
            self.val_loss_.append(em.val_loss(models))
            # Without validation rows every loss is NaN, and the last iteration is kept.
            if not self.val_loss_[-1] >= min(self.val_loss_[:-1]):
                self.models_, self.best_iteration_ = models, number
        return self

    def _feature_network(self, seed: int) -> NeuralClassifier:
        return make_backbone(
            self.backbone,
            num_layers=self.num_layers,
            feature_norm="auto",
            **self._settings(),
            random_state=seed,
        )

    def _label_network(self, seed: int) -> MLP:
        return MLP(**self._settings(), val_fraction=0.0, random_state=seed)

    def _settings(self) -> dict[str, Any]:
        names = ("hidden", "dropout", "epochs", "lr", "weight_decay", "patience")
        return {name: getattr(self, name) for name in names}


class _EM:
    """The steps on one graph."""

    def __init__(
        self,
        method: GMNN,
        data: Any,
        labels: Supervision,
        fold: Tensor,
        ready: Prepared,
        callbacks: tuple[Callback, ...],
    ) -> None:
        self.method, self.data, self.ready, self.callbacks = method, data, ready, callbacks
        self.labels, self.fold, self.folds = labels, fold, int(fold.max()) + 1
        target = labels.target.clamp_min(0) if labels.target.dim() == 1 else labels.target
        self.given = as_distribution(target, labels.num_classes)
        self.held = torch.zeros(len(fold), dtype=torch.bool)
        self.held[labels.val_index] = True
        self.weight = given_weights(labels)
        self.pseudo = method.pseudo_weight * float(self.weight[fold >= 0].mean())
        self.operator = Propagator.from_data(data, norm="none", direction="both")

    def first(self, seed: int) -> list[NeuralClassifier]:
        """Fit the networks of features on the given labels of the other folds."""
        seeds = spawn_seeds(seed, self.folds)
        return [self._fit_features(k, None, seeds[k]) for k in range(self.folds)]

    def iterate(
        self, models: list[NeuralClassifier], seed: int
    ) -> tuple[list[NeuralClassifier], MLP]:
        """Return the networks after one M-step and one E-step."""
        label_seed, draw_seed, feature_seed = spawn_seeds(seed, 3)
        drawn = self._drawn(models, draw_seed)
        inputs = [neighbour_labels(self.operator, each) for each in drawn]
        target, features = drawn[0].clone(), inputs[0].clone()
        nobody = (self.fold < 0).unsqueeze(1)
        for tensor, parts in ((target, drawn), (features, inputs)):
            tensor.copy_(torch.where(nobody, torch.stack(parts).mean(dim=0), tensor))
            for k, part in enumerate(parts):
                tensor[self.fold == k] = part[self.fold == k]
        label_model = self._fit_labels(target, features, label_seed)
        seeds = spawn_seeds(feature_seed, self.folds)
        taught = [label_model.predict_proba(self.data, prepared=Prepared(each)) for each in inputs]
        return [self._fit_features(k, taught[k], seeds[k]) for k in range(self.folds)], label_model

    def val_loss(self, models: list[NeuralClassifier]) -> float:
        """Return the cross-entropy of the validation rows, NaN without any."""
        rows = self.labels.val_index
        probs = mean_probs(models, self.data, self.ready)[rows]
        losses = -(self.given[rows] * probs.clamp_min(1e-12).log()).sum(dim=1)
        return float(losses.mean()) if len(rows) else float("nan")

    def _drawn(self, models: list[NeuralClassifier], seed: int) -> list[Tensor]:
        """Return the labels of all nodes as every fold knows them, ``[N, C]`` each."""
        found = []
        for k, (model, own) in enumerate(zip(models, spawn_seeds(seed, self.folds), strict=True)):
            probs = model.predict_proba(self.data, prepared=self.ready)
            drawn = draw_labels(probs, self.method.draw, own)
            found.append(known_or(self.given, self._known(k), drawn))
        return found

    def _known(self, k: int) -> Tensor:
        """Return the rows whose given labels fold k knows ``[N]``, bool."""
        return (self.fold >= 0) & (self.fold != k)

    def _fit_features(self, k: int, taught: Tensor | None, seed: int) -> NeuralClassifier:
        """Fit the network of features of fold k, with what it is taught of other nodes."""
        known = self._known(k)
        target = self.given if taught is None else known_or(self.given, known, taught)
        rows = known if taught is None else ~self.held
        model = self.method._feature_network(seed)
        self._fit_model(model, target, rows, known, self.ready)
        return model

    def _fit_labels(self, target: Tensor, features: Tensor, seed: int) -> MLP:
        """Fit the network of labels: given labels of training rows, drawn ones elsewhere."""
        inside = self.fold >= 0
        model = self.method._label_network(seed)
        target = known_or(self.given, inside, target)
        self._fit_model(model, target, ~self.held, inside, Prepared(features))
        return model

    def _fit_model(
        self,
        model: NeuralClassifier,
        target: Tensor,
        rows: Tensor,
        known: Tensor,
        ready: Prepared,
    ) -> None:
        """Fit on some rows; labels that are not known weigh as pseudo-labels."""
        model.fit(
            self.data,
            y=known_or(self.given, self.held, target),
            mask=rows,
            sample_weight=torch.where(known, self.weight, self.pseudo),
            val_mask=self.held if bool(self.held.any()) else None,
            prepared=ready,
            callbacks=self.callbacks,
        )


def known_or(given: Tensor, known: Tensor, others: Tensor) -> Tensor:
    """Return given labels where they are known, others elsewhere ``[N, C]``."""
    return torch.where(known.unsqueeze(1), given, others)


def draw_labels(probs: Tensor, draw: Draw, seed: int) -> Tensor:
    """Return labels ``[N, C]`` drawn from probabilities ``[N, C]``; see `GMNN`."""
    if draw == "mean":
        return probs
    if draw == "max":
        index = probs.argmax(dim=1)
    else:
        index = torch.multinomial(probs, 1, generator=torch_rng(seed)).squeeze(1)
    return as_distribution(index, probs.shape[1])


def neighbour_labels(operator: Propagator, drawn: Tensor) -> Tensor:
    """Return shares and log-counts of the classes among the neighbours ``[N, 2 C]``, float32.

    Nodes themselves are left out. A node without neighbours has zeros.

    Args:
        operator: The adjacency without loops, not normalised.
        drawn: Labels of all nodes as probabilities ``[N, C]``.
    """
    counts = operator @ drawn
    total = counts.sum(dim=1, keepdim=True)
    shares = torch.where(total > 0, counts / total.clamp_min(1e-12), 0.0)
    return torch.cat([shares, counts.log1p()], dim=1)
