"""Synthetic mislabels with exact counts: noise models, the published protocol, a PyG transform."""

from graphclean.noise.base import FixedRateNoise, NoiseModel, NoiseSample
from graphclean.noise.class_conditional import ClassConditionalNoise
from graphclean.noise.confusion import ConfusionNoise, flip_distribution
from graphclean.noise.feature_dependent import FeatureDependentNoise
from graphclean.noise.flip_labels import FlipLabels
from graphclean.noise.neighbourhood import NeighbourhoodNoise
from graphclean.noise.pair import PairNoise
from graphclean.noise.parse import parse_noise
from graphclean.noise.protocol import GraphCleanerProtocol, graphcleaner_protocol
from graphclean.noise.random_pair import RandomPairNoise
from graphclean.noise.transition import check_transition, realised_transition
from graphclean.noise.uniform import UniformNoise

__all__ = [
    "ClassConditionalNoise",
    "ConfusionNoise",
    "FeatureDependentNoise",
    "FixedRateNoise",
    "FlipLabels",
    "GraphCleanerProtocol",
    "NeighbourhoodNoise",
    "NoiseModel",
    "NoiseSample",
    "PairNoise",
    "RandomPairNoise",
    "UniformNoise",
    "check_transition",
    "flip_distribution",
    "graphcleaner_protocol",
    "parse_noise",
    "realised_transition",
]
