"""Ensembles that join tables and graphs: every one is a ``NodeClassifier``."""

from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.fold_propagation import propagate_folds
from graphclean.ensemble.greedy import greedy_selection
from graphclean.ensemble.layers import CrossFittedMembers
from graphclean.ensemble.stacking import GraphStackingClassifier
from graphclean.ensemble.store import OutOfFoldStore

__all__ = [
    "CrossFittedMembers",
    "EnsembleClassifier",
    "GraphStackingClassifier",
    "OutOfFoldStore",
    "greedy_selection",
    "propagate_folds",
]
