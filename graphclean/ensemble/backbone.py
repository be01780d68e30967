"""The networks that ensembles train in loops of their own, by name."""

from __future__ import annotations

from typing import Any

from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.neural import NeuralClassifier
from graphclean.types import InputError

BACKBONES = ("appnp", "gat", "gcn", "sage")


def make_backbone(name: str, **params: Any) -> NeuralClassifier:
    """Return a network of this name that reads the whole graph and holds back no rows.

    Raises:
        InputError: It is none of `BACKBONES`, or a parameter is out of its range.
    """
    if name not in BACKBONES:
        raise InputError("backbone", name, f"Choose one of: {', '.join(BACKBONES)}.")
    made = NodeClassifier.create(name, **params, val_fraction=0.0)
    assert isinstance(made, NeuralClassifier)
    made.check_parameters()
    return made
