"""What an ensemble of node classifiers promises."""

from __future__ import annotations

from graphclean.nn.classifier import NodeClassifier


class EnsembleClassifier(NodeClassifier, family="ensemble"):
    """A node classifier that is made of other learners; a ``name`` registers it.

    What one learner predicts for a node is input of another, spread over the graph or not. The
    promise of every ensemble here is that no such input of a training row comes from a model that
    was fitted on the label of that row, unless its own documentation says otherwise. Like every
    classifier it reads the labels of training rows, and those of validation rows to stop, choose
    and check, as they were given: no clean and no test label.
    """
