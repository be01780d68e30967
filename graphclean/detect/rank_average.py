"""Rank average: several detectors, each with one vote on the order of suspicion."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.members import make_members
from graphclean.detect.probability import OutOfFoldDetector, binomial_rate
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import estimator
from graphclean.types import InputError


@estimator
class RankAverage(OutOfFoldDetector):
    r"""Mean rank of a label's quality over several detectors.

    .. math::
        q_i = 1 - \frac1M \sum_{m=1}^M \frac{\mathrm{rank}_m(i) - 1}{n - 1}

    :math:`\mathrm{rank}_m(i)` is the place of node i among the n judged nodes in the order of
    suspicion of member m, 1 = least suspicious, ties averaged: the Borda count. Ranks make scores
    of any scale comparable, and a member that is confidently wrong moves a node by 1 / M at most.
    Qualities are compared as float32, so that rounding does not break ties.

    Flags as many of the lowest nodes as the median member flags, ties by the mean quality of the
    members; the noise rate is the share of the flagged. The suggested class is the one that
    the members' class probabilities favour on average. The evidence columns ``rank_<member>`` hold
    :math:`1 - (\mathrm{rank}_m(i) - 1) / (n - 1)`.

    Members run with their own defaults, and with the ``random_state`` of this detector. Those that
    read probabilities share one set of out-of-fold probabilities, which is made only if there is
    such a member. The error of a member is the error of the whole.

    Args:
        members: Names of registered detectors, each once.
        classifier: Base learner: a ``NodeClassifier`` or its registered name; None for the default.
        n_folds: Folds of the out-of-fold probabilities.
        n_repeats: Repeats of the folds, averaged.
        random_state: Seed of folds, fits and members.
        n_jobs: Processes for the folds; -1 for all cores. It does not change the result.
        progress: Whether to show progress bars.
    """

    name: ClassVar[str] = "rank_average"

    members: tuple[str, ...] = (
        "self_confidence",
        "label_dependency",
        "label_propagation",
        "relation_graph",
    )

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        members = make_members(
            self.members, Detector, random_state=self.random_state, progress=self.progress
        )
        source = self._shared(graph, pred_probs, members)
        verdicts = [
            member._judge(graph, source if member.reads_probs else None)
            for member in members.values()
        ]
        judged = labelled_mask(graph)
        rows = np.flatnonzero(judged.numpy())
        qualities = np.stack([verdict.label_quality[rows] for verdict in verdicts])
        ranks = rankdata(qualities.astype(np.float32), axis=1) - 1.0
        ranks /= len(rows) - 1
        quality = ranks.mean(axis=0)
        flags = [np.count_nonzero(verdict.is_label_issue[rows]) for verdict in verdicts]
        count = round(float(np.median(flags)))
        worst = np.lexsort((qualities.mean(axis=0), quality))[:count]
        issue = np.zeros(len(judged), dtype=bool)
        issue[rows[worst]] = True
        return Verdict(
            judged=judged,
            label_quality=_full(quality, rows, len(judged)),
            is_label_issue=issue,
            class_probs=np.mean([verdict.class_probs for verdict in verdicts], axis=0),
            pred_probs=np.mean([verdict.pred_probs for verdict in verdicts], axis=0),
            noise_rate=binomial_rate(count, len(rows)),
            evidence={
                f"rank_{name}": _full(rank, rows, len(judged))
                for name, rank in zip(members, ranks, strict=True)
            },
        )

    def _shared(
        self, graph: Any, pred_probs: Tensor | OutOfFold | None, members: dict[str, Detector]
    ) -> Tensor | OutOfFold | None:
        """Return the probabilities for the members that read some."""
        if any(member.reads_probs for member in members.values()):
            return self._out_of_fold(graph) if pred_probs is None else pred_probs
        if pred_probs is not None:
            raise InputError(
                "pred_probs", "given", f"No one of {[*members]} reads probabilities: leave it out."
            )
        return None


def _full(values: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    full = np.full(size, np.nan)
    full[rows] = values
    return full
