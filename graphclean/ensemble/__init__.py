"""Ensembles that join tables and graphs: every one is a ``NodeClassifier``."""

from graphclean.ensemble.base import EnsembleClassifier
from graphclean.ensemble.boosted_gnn import BoostedGNN
from graphclean.ensemble.boosted_smoothing import BoostedSmoothing
from graphclean.ensemble.fold_propagation import propagate_folds
from graphclean.ensemble.gmnn import GMNN
from graphclean.ensemble.greedy import greedy_selection
from graphclean.ensemble.layers import CrossFittedMembers
from graphclean.ensemble.propagated_classifier import PropagatedClassifier
from graphclean.ensemble.stacking import GraphStackingClassifier
from graphclean.ensemble.store import OutOfFoldStore

__all__ = [
    "GMNN",
    "BoostedGNN",
    "BoostedSmoothing",
    "CrossFittedMembers",
    "EnsembleClassifier",
    "GraphStackingClassifier",
    "OutOfFoldStore",
    "PropagatedClassifier",
    "greedy_selection",
    "propagate_folds",
]
