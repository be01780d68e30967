"""What a run is worth, by the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from graphclean.denoise import clean
from graphclean.evaluate.against_truth import evaluate_issues
from graphclean.evaluate.decision_metrics import false_discovery_proportion
from graphclean.evaluate.grid.graphs import NoisyGraph
from graphclean.evaluate.metrics import repair_effect
from graphclean.evaluate.repair_outcome import repair_outcome
from graphclean.issues import LabelIssues
from graphclean.issues.flags import flags

FDR_TARGET = 0.1
_PROMISED = ("expected_repaired", "expected_broken")
_OF_ALL = (
    "noise_rate",
    "estimated_noise_rate",
    "noise_rate_error",
    "noise_rate_low",
    "noise_rate_high",
    "noise_rate_covered",
    "transition_error",
)


def score_run(issues: LabelIssues, noisy: NoisyGraph, actions: Sequence[str]) -> dict[str, float]:
    """Score the issues of a detector on the scored nodes of a cell.

    Args:
        issues: What the detector found on ``noisy.blind``.
        noisy: The graph and its truth.
        actions: Repairs to carry out.

    Returns:
        What `evaluate_issues` gives on the scored nodes (noise rate and transition error: on all
        judged nodes, which is what a detector estimates) but ``fdr``, which follows from
        ``precision``, and

        - ``judged``: share of the scored nodes that the detector judged;
        - ``flagged_at_fdr``, ``realised_fdr``, ``recall_at_fdr``: of the nodes that a target
          false-discovery rate of 10 % flags, those that are scored: their number, the share of
          right labels among them and their share of the wrong ones, whether the detector is
          calibrated or not;
        - for every action `repair_effect` on the scored nodes, as ``drop_repaired``, and from
          `repair_outcome` what the plan promises: ``drop_expected_repaired``,
          ``drop_expected_broken``.
    """
    scored, everything = noisy.scored, noisy.clean >= 0
    found = evaluate_issues(issues, noisy.with_truth(scored))
    if not torch.equal(scored, everything):
        overall = evaluate_issues(issues, noisy.with_truth(everything))
        found |= {key: overall[key] for key in _OF_ALL}
    # Leaderboards make it from the precision; with it, these records and older ones would differ.
    del found["fdr"]
    node = issues.frame["node"].to_numpy()
    rows = scored.numpy()[node]
    return {
        **found,
        "judged": float(rows.sum() / max(int(scored.sum()), 1)),
        **_at_fdr(issues, noisy, rows),
        **{
            f"{action}_{key}": value
            for action in actions
            for key, value in _repaired(issues, noisy, action).items()
        },
    }


def _at_fdr(issues: LabelIssues, noisy: NoisyGraph, rows: np.ndarray) -> dict[str, float]:
    node = issues.frame["node"].to_numpy()[rows]
    wrong = (noisy.blind.y != noisy.clean).numpy()[node]
    chosen = flags(issues.frame, {"fdr": FDR_TARGET})[rows]
    total = int(wrong.sum())
    return {
        "flagged_at_fdr": int(chosen.sum()),
        "realised_fdr": false_discovery_proportion(wrong, chosen),
        "recall_at_fdr": int((chosen & wrong).sum()) / total if total else float("nan"),
    }


def _repaired(issues: LabelIssues, noisy: NoisyGraph, action: str) -> dict[str, float]:
    before, after, scored = noisy.blind.y, clean(noisy.blind, issues, action).y, noisy.scored
    effect = repair_effect(before[scored], after[scored], noisy.clean[scored])
    promised = repair_outcome(issues, noisy.with_truth(scored), action)
    return effect | {key: promised[key] for key in _PROMISED}
