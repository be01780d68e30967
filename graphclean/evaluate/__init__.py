"""How well label issues, repairs and transition estimates match the truth, where it is known."""

from graphclean.evaluate.against_truth import evaluate_issues
from graphclean.evaluate.metrics import (
    detection_scores,
    label_accuracy,
    repair_effect,
    suggestion_accuracy,
    transition_error,
)

__all__ = [
    "detection_scores",
    "evaluate_issues",
    "label_accuracy",
    "repair_effect",
    "suggestion_accuracy",
    "transition_error",
]
