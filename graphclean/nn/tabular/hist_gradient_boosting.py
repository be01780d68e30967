"""scikit-learn's histogram gradient boosting on the rows of the nodes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from graphclean.nn.params import estimator
from graphclean.nn.tabular.base import Examples, emit
from graphclean.nn.tabular.boosted_trees import BoostedTrees
from graphclean.nn.tabular.encoder import BinEncoder, CodeEncoder, TableEncoder
from graphclean.nn.train import Callback, Event
from graphclean.types import Seed


@estimator
class HistGradientBoosting(BoostedTrees):
    """Histogram gradient boosting of scikit-learn, on features of nodes and neighbours.

    Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017,
    https://papers.nips.cc/paper/6907-lightgbm-a-highly-efficient-gradient-boosting-decision-tree.
    The fit is one call: callbacks hear of one epoch, at its end. After an early stop the model
    keeps the rounds of its patience, as scikit-learn's does.
    """

    name: ClassVar[str] = "hist_gradient_boosting"
    _encoder: ClassVar[type[TableEncoder]] = BinEncoder

    def _fit_model(
        self,
        train: Examples,
        validation: Examples | None,
        seed: Seed,
        callbacks: tuple[Callback, ...],
    ) -> Event:
        from sklearn.ensemble import HistGradientBoostingClassifier

        encoder = self.encoder_
        assert isinstance(encoder, CodeEncoder)
        stops = validation is not None and self.patience is not None
        model = HistGradientBoostingClassifier(
            learning_rate=self.lr,
            max_iter=self.max_iter,
            max_leaf_nodes=self.max_leaf_nodes,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
            l2_regularization=self.l2,
            categorical_features=encoder.is_category(train.x.shape[1]) if encoder.levels else None,
            early_stopping=stops,
            n_iter_no_change=self.patience or 1,
            validation_fraction=None,
            random_state=seed,
        )
        held: dict[str, Any] = {}
        if stops and validation is not None:
            held = {
                "X_val": validation.x,
                "y_val": validation.y,
                "sample_weight_val": validation.weight,
            }
        self.model_ = model.fit(train.x, train.y, sample_weight=train.weight, **held)
        self.n_iter_ = int(model.n_iter_)
        emit(callbacks, {"event": "epoch", "epoch": 1})
        reason = "patience" if self.n_iter_ < self.max_iter else "epochs"
        return {"epoch": 1, "best_epoch": 1, "stop_reason": reason}

    def _probabilities(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.model_.predict_proba(x)
        return found
