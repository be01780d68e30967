"""Any classifier of scikit-learn on the rows of the nodes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils.validation import has_fit_parameter

from graphclean.nn.params import estimator
from graphclean.nn.tabular.base import Examples, TabularClassifier, emit
from graphclean.nn.tabular.encoder import DenseEncoder, TableEncoder
from graphclean.nn.train import Callback, Event
from graphclean.types import InputError, Seed


@estimator
class ScikitLearnClassifier(TabularClassifier):
    r"""Any classifier of scikit-learn, on features of nodes and neighbours.

    It reads a matrix without gaps: numbers standardised, missing ones at the mean, categories as
    indicators. By default it is multinomial logistic regression,

    .. math::
        \min_{W, b} \; \tfrac{1}{2} \lVert W \rVert^2
            + \sum_i w_i \, \ell(\mathrm{softmax}(W x_i + b), y_i).

    The fit is one call: callbacks hear of one epoch, at its end. Validation rows play no part.

    Args:
        model: A classifier with ``predict_proba``, cloned and never changed; None for logistic
            regression. Its parameters can be set as ``model__C`` and so on. Every
            ``random_state`` in it gets a seed from that of this learner, unless that is None.

    Example:
        >>> import graphclean as gc
        >>> from sklearn.naive_bayes import GaussianNB
        >>> data = gc.load("digits")
        >>> model = gc.nn.ScikitLearnClassifier(model=GaussianNB(), structure=False)
        >>> float((model.fit(data).predict(data) == data.y).float().mean()) > 0.8
        True
    """

    name: ClassVar[str] = "scikit_learn"
    _encoder: ClassVar[type[TableEncoder]] = DenseEncoder

    model: Any = None

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        if self.model is None:
            return
        if not isinstance(self.model, BaseEstimator) or not is_classifier(self.model):
            raise InputError(
                "model", repr(self.model), "Pass a classifier of scikit-learn, or None."
            )
        if not hasattr(self.model, "predict_proba"):
            raise InputError(
                "model",
                f"{type(self.model).__name__} without predict_proba",
                "Wrap it in sklearn.calibration.CalibratedClassifierCV.",
            )

    def _fit_model(
        self,
        train: Examples,
        validation: Examples | None,
        seed: Seed,
        callbacks: tuple[Callback, ...],
    ) -> Event:
        model = self._seeded(seed)
        weights = {}
        if train.weight is not None:
            if not has_fit_parameter(model, "sample_weight"):
                raise InputError(
                    "model",
                    f"{type(model).__name__} takes no sample_weight",
                    "Pass hard labels without weights, or another model.",
                )
            weights = {"sample_weight": train.weight}
        self.model_ = model.fit(train.x, train.y, **weights)
        emit(callbacks, {"event": "epoch", "epoch": 1})
        return {"epoch": 1, "best_epoch": 1, "stop_reason": "epochs"}

    def _probabilities(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.asarray(self.model_.predict_proba(x))
        fits = found.shape == (len(x), len(self.seen_classes_))
        if not fits or not np.allclose(found.sum(axis=1), 1.0, atol=1e-4):
            raise InputError(
                "model",
                f"{type(self.model_).__name__}.predict_proba gave no probabilities",
                f"Return finite rows with sum one, {len(self.seen_classes_)} columns.",
            )
        return found

    def _seeded(self, seed: Seed) -> Any:
        """Return a fresh model with its seeds set."""
        if self.model is None:
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(max_iter=1000)
        model = clone(self.model)
        if seed is not None:
            drawing = [key for key in model.get_params() if key.split("__")[-1] == "random_state"]
            model.set_params(**dict.fromkeys(drawing, seed))
        return model
