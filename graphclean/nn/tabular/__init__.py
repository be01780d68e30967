"""Learners that read each node as one row of a table, beside the networks that read the graph."""

from graphclean.nn.tabular.base import TabularClassifier
from graphclean.nn.tabular.boosted_trees import BoostedTrees
from graphclean.nn.tabular.hist_gradient_boosting import HistGradientBoosting
from graphclean.nn.tabular.light_gbm import LightGBM
from graphclean.nn.tabular.scikit_learn import ScikitLearnClassifier

__all__ = [
    "BoostedTrees",
    "HistGradientBoosting",
    "LightGBM",
    "ScikitLearnClassifier",
    "TabularClassifier",
]
