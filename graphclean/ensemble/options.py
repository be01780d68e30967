"""The parameters of a stack, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from graphclean.ensemble.combine import Meta
from graphclean.ensemble.fold_propagation import check_spreading
from graphclean.ensemble.greedy import SelectionLoss
from graphclean.ensemble.members import named_members, named_stackers
from graphclean.ensemble.row_weights import Weighting
from graphclean.ensemble.splits import FOLDS
from graphclean.nn.params import check_integer, check_number
from graphclean.types import InputError

_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "meta": get_args(Meta),
    "weighting": (*get_args(Weighting), None),
    "selection_loss": (*get_args(SelectionLoss), None),
}


def check_options(params: Mapping[str, Any]) -> None:
    """Raise InputError for the first parameter of a stack that does not fit."""
    for option, least in (("n_layers", 1), ("n_folds", 2), ("n_repeats", 1)):
        check_integer(option, params[option], least)
    check_number("holdout", params["holdout"], 0, 0.5)
    check_spreading(params["alpha"], params["hops"], params["consistency"])
    for option, known in _CHOICES.items():
        _check_choice(option, params[option], known)
    if isinstance(params["folds"], str):
        _check_choice("folds", params["folds"], FOLDS)
    for option in ("propagate_features", "fallback", "progress"):
        if not isinstance(params[option], bool):
            raise InputError(option, params[option], "Pass True or False.")
    if not isinstance(params["drop_flagged"], bool | None):
        raise InputError("drop_flagged", params["drop_flagged"], "Pass True, False or None.")
    if params["selection_loss"] is not None and params["meta"] != "greedy":
        raise InputError("selection_loss", params["selection_loss"], "It belongs to 'greedy'.")
    if params["drop_flagged"] and params["meta"] == "mean":
        raise InputError("drop_flagged", True, "The mean learns from no row: pass None.")
    members, stackers = named_members(params["estimators"]), named_stackers(params["stackers"])
    for model in (*(model for _, model in members), *(model for _, model, _ in stackers)):
        model.check_parameters()


def _check_choice(option: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise InputError(option, value, f"Choose one of: {', '.join(map(repr, known))}.")
