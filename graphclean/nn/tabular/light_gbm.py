"""LightGBM on the rows of the nodes; an optional dependency."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from graphclean.nn.params import check_number, estimator
from graphclean.nn.tabular.base import Examples, emit
from graphclean.nn.tabular.boosted_trees import BoostedTrees
from graphclean.nn.tabular.encoder import CodeEncoder
from graphclean.nn.train import Callback, Event
from graphclean.types import MissingDependencyError, Seed


@estimator
class LightGBM(BoostedTrees):
    """LightGBM on features of nodes and neighbours; needs the extra ``tabular``.

    Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017,
    https://papers.nips.cc/paper/6907-lightgbm-a-highly-efficient-gradient-boosting-decision-tree.
    Every round is an epoch to callbacks, which may stop the training; after an early stop the
    rounds up to the best one are kept. On macOS LightGBM and torch may bring two OpenMP libraries
    that crash together: set ``OMP_NUM_THREADS=1`` or take both from conda-forge.

    Args:
        subsample: Share of the training rows that each round draws.

    Raises:
        MissingDependencyError: In ``fit`` and on loading: LightGBM is not installed.
    """

    name: ClassVar[str] = "lightgbm"

    subsample: float = 0.8

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        check_number("subsample", self.subsample, 0, 1, open_low=True)

    def fitted_state(self) -> dict[str, Any]:
        """Return what `fit` has learned, the trees as LightGBM's own text."""
        state = super().fitted_state()
        if self.model_ is not None:
            text = self.model_.model_to_string(num_iteration=-1)
            state["model_"] = np.frombuffer(text.encode(), dtype=np.uint8)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `fitted_state` gave."""
        model = state["model_"]
        if model is not None:
            model = _lightgbm().Booster(model_str=model.tobytes().decode())
        super().restore(state | {"model_": model})

    def _rounds(self) -> int:
        return self.max_iter

    def _fit_model(
        self,
        train: Examples,
        validation: Examples | None,
        seed: Seed,
        callbacks: tuple[Callback, ...],
    ) -> Event:
        lightgbm = _lightgbm()
        encoder, classes = self.encoder_, len(self.seen_classes_)
        assert isinstance(encoder, CodeEncoder)
        settings = {
            "objective": "binary" if classes == 2 else "multiclass",
            "num_class": 1 if classes == 2 else classes,
            "learning_rate": self.lr,
            "num_leaves": self.max_leaf_nodes,
            "min_data_in_leaf": self.min_samples_leaf,
            "feature_fraction_bynode": self.max_features,
            "bagging_fraction": self.subsample,
            "bagging_freq": 1 if self.subsample < 1 else 0,
            "lambda_l2": self.l2,
            "seed": _seed(seed),
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        codes = np.flatnonzero(encoder.is_category(train.x.shape[1])).tolist()
        options: dict[str, Any] = {"categorical_feature": codes, "params": settings}
        rows = lightgbm.Dataset(train.x, train.y, weight=train.weight, **options)
        watch = _Watch(lightgbm, callbacks)
        hooks: list[Any] = [watch]
        held = []
        if validation is not None and self.patience is not None:
            held = [rows.create_valid(validation.x, validation.y, weight=validation.weight)]
            hooks.append(lightgbm.early_stopping(self.patience, verbose=False))
        booster = lightgbm.train(
            settings,
            rows,
            self.max_iter,
            valid_sets=held,
            valid_names=["val"] * len(held),
            callbacks=hooks,
        )
        kept = booster.best_iteration if booster.best_iteration > 0 else watch.rounds
        # The fitted model is the one that a saved text gives back.
        self.model_ = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=kept))
        self.n_iter_ = kept
        early = watch.rounds < self.max_iter
        reason = "callback" if watch.stopped else "patience" if early else "epochs"
        return {"epoch": watch.rounds, "best_epoch": kept, "stop_reason": reason}

    def _probabilities(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.model_.predict(x, num_threads=1)
        return np.column_stack([1.0 - found, found]) if found.ndim == 1 else found


class _Watch:
    """A callback of LightGBM that counts the rounds, tells ours of them, and knows the best."""

    before_iteration = False
    order = 0

    def __init__(self, lightgbm: Any, callbacks: tuple[Callback, ...]) -> None:
        self.lightgbm, self.callbacks = lightgbm, callbacks
        self.rounds, self.stopped = 0, False
        self.best, self.least = 0, math.inf

    def __call__(self, env: Any) -> None:
        self.rounds = env.iteration + 1
        event: Event = {"event": "epoch", "epoch": self.rounds}
        for _, _, value, *_ in env.evaluation_result_list or ():
            event["val_loss"] = float(value)
            if value < self.least:
                self.best, self.least = self.rounds, float(value)
        if emit(self.callbacks, event):
            self.stopped = True
            raise self.lightgbm.callback.EarlyStopException(
                (self.best or self.rounds) - 1, env.evaluation_result_list or []
            )


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingDependencyError("lightgbm", "tabular", "The learner LightGBM") from error
    return lightgbm


def _seed(seed: Seed) -> int:
    """Return a seed as LightGBM takes them, below 2^31; a fresh one for None."""
    if seed is None:
        return int(np.random.default_rng().integers(2**31))
    return seed % 2**31
