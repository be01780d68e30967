"""Base learners on graphs, the training loop, out-of-fold engine and scikit-learn bridge."""

from graphclean.nn.appnp import APPNP
from graphclean.nn.bridge import NodeIdClassifier
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.crossfit import OutOfFold, cross_fit
from graphclean.nn.folds import stratified_folds
from graphclean.nn.gamlp import GAMLP
from graphclean.nn.gat import GAT
from graphclean.nn.gcn import GCN
from graphclean.nn.gin import GIN
from graphclean.nn.linkx import LINKX
from graphclean.nn.mlp import MLP
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.prepared import Prepared
from graphclean.nn.sage import GraphSAGE
from graphclean.nn.saving import load_model, save_model
from graphclean.nn.sgc import SGC
from graphclean.nn.sign import SIGN
from graphclean.nn.tabular import (
    HistGradientBoosting,
    LightGBM,
    ScikitLearnClassifier,
    TabularClassifier,
)
from graphclean.nn.train import Callback, Event, Loss

__all__ = [
    "APPNP",
    "GAMLP",
    "GAT",
    "GCN",
    "GIN",
    "LINKX",
    "MLP",
    "SGC",
    "SIGN",
    "Callback",
    "Event",
    "GraphSAGE",
    "HistGradientBoosting",
    "LightGBM",
    "Loss",
    "NeuralClassifier",
    "NodeClassifier",
    "NodeIdClassifier",
    "OutOfFold",
    "Prepared",
    "ScikitLearnClassifier",
    "TabularClassifier",
    "cross_fit",
    "load_model",
    "save_model",
    "stratified_folds",
]
