"""Mislabel detectors."""

from graphclean.detect.area_under_margin import AreaUnderMargin
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.base_learner import default_classifier
from graphclean.detect.confident_learning import ConfidentLearning
from graphclean.detect.fast_recov import FastReCoV
from graphclean.detect.find import find_label_issues
from graphclean.detect.first_learned_epoch import FirstLearnedEpoch
from graphclean.detect.flow_diffusion import FlowDiffusion
from graphclean.detect.graphcleaner import GraphCleaner
from graphclean.detect.influence_contradiction import InfluenceContradiction
from graphclean.detect.knn_agreement import KnnAgreement
from graphclean.detect.label_dependency import LabelDependency
from graphclean.detect.label_non_uniformity import LabelNonUniformity
from graphclean.detect.label_propagation import LabelPropagationResidual
from graphclean.detect.learned_stack import LearnedStack
from graphclean.detect.loss_mixture import LossMixture
from graphclean.detect.masked import MaskedVoteDetector
from graphclean.detect.multilabel import find_multilabel_issues
from graphclean.detect.neighbour_agreement import NeighbourAgreement
from graphclean.detect.neighbour_view import NeighbourView
from graphclean.detect.probability import OutOfFoldDetector, ProbabilityDetector
from graphclean.detect.rank_average import RankAverage
from graphclean.detect.relation_graph import RelationGraph
from graphclean.detect.simifeat import SimiFeat
from graphclean.detect.simple_scores import Disagreement, NormalizedMargin, SelfConfidence
from graphclean.detect.two_view import TwoView
from graphclean.detect.vote import OutOfFoldVoteDetector, VoteDetector, Votes, shares

__all__ = [
    "AreaUnderMargin",
    "ConfidentLearning",
    "Detector",
    "Disagreement",
    "FastReCoV",
    "FirstLearnedEpoch",
    "FlowDiffusion",
    "GraphCleaner",
    "InfluenceContradiction",
    "KnnAgreement",
    "LabelDependency",
    "LabelNonUniformity",
    "LabelPropagationResidual",
    "LearnedStack",
    "LossMixture",
    "MaskedVoteDetector",
    "NeighbourAgreement",
    "NeighbourView",
    "NormalizedMargin",
    "OutOfFoldDetector",
    "OutOfFoldVoteDetector",
    "ProbabilityDetector",
    "RankAverage",
    "RelationGraph",
    "SelfConfidence",
    "SimiFeat",
    "TwoView",
    "Verdict",
    "VoteDetector",
    "Votes",
    "default_classifier",
    "find_label_issues",
    "find_multilabel_issues",
    "shares",
]
