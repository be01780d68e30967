"""How well label issues, repairs and transition estimates match the truth, where it is known."""

from graphclean.evaluate import leaderboard_tables
from graphclean.evaluate.against_truth import evaluate_issues
from graphclean.evaluate.decision_metrics import (
    calibration_curve,
    expected_over_realised,
    false_discovery_proportion,
    interval_covers,
)
from graphclean.evaluate.downstream import compare_repairs, downstream_accuracy
from graphclean.evaluate.leaderboard import leaderboard, per_setting
from graphclean.evaluate.metrics import (
    detection_scores,
    label_accuracy,
    repair_effect,
    suggestion_accuracy,
    transition_error,
)
from graphclean.evaluate.paired import averages_against
from graphclean.evaluate.rank_stability import RankStability, rank_stability
from graphclean.evaluate.repair_outcome import repair_outcome
from graphclean.evaluate.strata import by_stratum
from graphclean.evaluate.truth import JudgedTruth, judged_truth

__all__ = [
    "JudgedTruth",
    "RankStability",
    "averages_against",
    "by_stratum",
    "calibration_curve",
    "compare_repairs",
    "detection_scores",
    "downstream_accuracy",
    "evaluate_issues",
    "expected_over_realised",
    "false_discovery_proportion",
    "interval_covers",
    "judged_truth",
    "label_accuracy",
    "leaderboard",
    "leaderboard_tables",
    "per_setting",
    "rank_stability",
    "repair_effect",
    "repair_outcome",
    "suggestion_accuracy",
    "transition_error",
]
