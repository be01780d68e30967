"""Learned stack: the votes of several detectors as evidence for GraphCleaner's judgement."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.detect.base import Verdict
from graphclean.detect.crossfit_mode import judge_crossfit
from graphclean.detect.decision import f1_threshold
from graphclean.detect.graphcleaner import GraphCleaner
from graphclean.detect.members import make_members
from graphclean.detect.probability import OutOfFoldDetector
from graphclean.detect.vote import VoteDetector
from graphclean.nn.params import estimator
from graphclean.stages import stage
from graphclean.types import InputError, spawn_seeds


@estimator
class LearnedStack(OutOfFoldDetector):
    r"""GraphCleaner with the votes of further detectors among its evidence.

    GraphCleaner (Li et al., ICML 2023, arXiv 2306.00015) learns from synthetic mislabels how much
    every piece of evidence about a label is worth on this graph. Here the evidence of its crossfit
    mode is joined by the votes :math:`v^{(m)}_i \in \Delta^C` of every member m: what the member
    has found to speak for every class of node i, the node's own label left out. All of it is
    stacked through the estimated label noise T and judged as there, so that a member that is of no
    use on a graph gets no weight, and ``1 - label_quality`` is the calibrated probability of a
    mislabel. Flagged is the set with the best expected F1 (``f1_threshold``). The evidence columns
    ``vote_<member>`` hold the vote for the given class.

    Members run with their own defaults, and with the ``random_state`` of this detector. Those that
    read probabilities share those of the hop evidence; of a list of ``OutOfFold`` they read the
    first, and the others are evidence as in GraphCleaner. From a plain ``[N, C]`` of your own,
    whose models are unknown, no predictions are propagated and no MLP is trained.

    Args:
        members: Names of registered detectors that vote, each once.
        hops: Hops of the evidence, >= 1.
        draws: Synthetic draws of every kind to average, >= 1.
        feature_view: Train a further model for evidence, as GraphCleaner does: an MLP that ignores
            the edges. Off: the stack knows the shared probabilities and the members, no more.
        classifier: Base learner: a ``NodeClassifier`` or its registered name; None for the default.
        n_folds: Folds of the out-of-fold probabilities.
        n_repeats: Repeats of the folds, averaged.
        random_state: Seed of folds, fits, members and draws.
        n_jobs: Processes for the folds; -1 for all cores. It does not change the result.
        progress: Whether to show progress bars.
    """

    name: ClassVar[str] = "learned_stack"
    calibrated: ClassVar[bool] = True
    reads_views: ClassVar[bool] = True

    members: tuple[str, ...] = (
        "label_dependency",
        "label_propagation",
        "simifeat",
        "relation_graph",
        "flow_diffusion",
        "neighbour_view",
    )
    hops: int = 3
    draws: int = 3
    feature_view: bool = False

    def _judge(self, graph: Any, pred_probs: Any) -> Verdict:
        members = make_members(
            self.members, VoteDetector, random_state=self.random_state, progress=self.progress
        )
        cleaner = self._cleaner()
        views = self._out_of_fold(graph) if pred_probs is None else pred_probs
        source = views[0] if isinstance(views, list) else views
        evidence, fold = cleaner.gather(graph, views)
        votes: dict[str, Tensor] = {}
        for name, member in members.items():
            with stage(f"Votes of {name}"):
                said = member.votes(graph, source if member.reads_probs else None)
            votes[f"vote_{name}"] = said.share.double()
        seed = spawn_seeds(self.random_state, 2)[1]
        found = judge_crossfit(graph, evidence.with_views(**votes), fold, int(self.draws), seed)
        wrong = found.mislabel_probability
        judged = labelled_mask(graph)
        limit = f1_threshold(wrong[judged.numpy()])
        given = graph.y.clamp_min(0).unsqueeze(1)
        return Verdict(
            judged=judged,
            label_quality=1.0 - wrong,
            is_label_issue=wrong > limit,
            class_probs=found.class_probs,
            pred_probs=found.stack_probs,
            noise_rate=found.noise_rate,
            transition=found.transition,
            evidence={
                name: share.gather(1, given).squeeze(1).numpy() for name, share in votes.items()
            },
            meta={"transition_mixes_confusion": False, "flag_threshold": limit},
        )

    def _cleaner(self) -> GraphCleaner:
        """Return the detector whose evidence is extended; it checks the parameters they share."""
        if self.draws is None:
            raise InputError("draws", self.draws, "Pass an integer >= 1.")
        cleaner = GraphCleaner(
            hops=self.hops,
            draws=self.draws,
            feature_view=self.feature_view,
            label_view=False,
            relation_view=False,
            n_folds=self.n_folds,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            progress=self.progress,
        )
        cleaner.check_parameters()
        return cleaner
