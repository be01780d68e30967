"""Mislabel detectors."""

from graphclean.detect.base import Detector, Verdict
from graphclean.detect.base_learner import default_classifier
from graphclean.detect.confident_learning import ConfidentLearning
from graphclean.detect.find import find_label_issues
from graphclean.detect.graphcleaner import GraphCleaner
from graphclean.detect.neighbour_agreement import NeighbourAgreement
from graphclean.detect.probability import OutOfFoldDetector, ProbabilityDetector
from graphclean.detect.simple_scores import Disagreement, NormalizedMargin, SelfConfidence

__all__ = [
    "ConfidentLearning",
    "Detector",
    "Disagreement",
    "GraphCleaner",
    "NeighbourAgreement",
    "NormalizedMargin",
    "OutOfFoldDetector",
    "ProbabilityDetector",
    "SelfConfidence",
    "Verdict",
    "default_classifier",
    "find_label_issues",
]
