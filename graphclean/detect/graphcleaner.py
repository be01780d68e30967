"""GraphCleaner: learn what a mislabel looks like from synthetic ones and the neighbourhood."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.base import Verdict
from graphclean.detect.base_learner import (
    feature_view_classifier,
    is_large,
    resolve_classifier,
)
from graphclean.detect.crossfit_mode import judge_crossfit
from graphclean.detect.decision import f1_threshold
from graphclean.detect.hop_evidence import HopEvidence, hop_evidence, spread_predictions
from graphclean.detect.label_dependency import LabelDependency
from graphclean.detect.paper_crossfit import judge_paper_crossfit
from graphclean.detect.paper_mode import PaperResult, judge_paper, published_classifier
from graphclean.detect.probability import OutOfFoldDetector, binomial_rate
from graphclean.detect.relation_graph import RelationGraph
from graphclean.nn.crossfit import OutOfFold, cross_fit
from graphclean.nn.folds import stratified_folds
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import check_params, estimator
from graphclean.stages import stage
from graphclean.types import InputError, spawn_seeds

_CERTAIN = 0.9
"""Mislabel probability above which a node is flagged however thin its evidence."""


@estimator
class GraphCleaner(OutOfFoldDetector):
    r"""Neighbourhood-aware mislabel detection (Li et al., ICML 2023, arXiv 2306.00015).

    From the agreement of a label with predictions and given labels k hops away,

    .. math::
        \hat p_i(l), \quad [(S^k - \mathrm{diag}\,S^k) \hat P]_{il}, \quad
        [(S^k - \mathrm{diag}\,S^k) \tilde Y]_{il}, \qquad k = 1..K

    a detector learns to tell given labels from synthetic mislabels, which are drawn from an
    estimated transition matrix.

    ``mode="crossfit"`` (default) judges every labelled node out of sample: predictions come from
    fold models, those that are propagated from the node's own fold (no label leaks back through
    neighbours), evidence is stacked through the label noise (``NoiseStack``), several synthetic
    draws are averaged and their 50 % prevalence is corrected to the estimated one, which makes
    ``1 - label_quality`` a probability. Flagged is the set with the best expected F1; another
    ``threshold``, ``LabelIssues.flagged(fdr=...)`` or ``(budget=...)`` draws the line elsewhere.

    ``mode="paper"`` is the published method: one model trained on ``train_mask``, detector and T
    from ``val_mask``, S symmetric, threshold .97; it judges the labelled nodes of neither mask, and
    isolated nodes, whose features are all zero, look mislabelled to it. It has no folds:
    ``n_folds``, ``n_repeats``, ``n_jobs`` and ``progress`` have no meaning there. Given an
    ``OutOfFold`` it takes the published steps fold by fold instead and judges every labelled node.

    Args:
        mode: ``"crossfit"`` or ``"paper"``.
        hops: K >= 1.
        draws: Synthetic draws to average; None for 3 (crossfit) or 1 (paper).
        threshold: Flag above this probability; None for `f1_threshold` (crossfit) or 0.97 (paper).
            0.5 flags what is more likely wrong than right.
        features_epoch: Paper mode: epoch whose probabilities become features, ``"best"`` on the
            validation rows or ``"last"`` as in the released code.
        feature_view: Crossfit mode: add the out-of-fold predictions of an MLP that ignores the
            edges as evidence, as they are and spread over the neighbourhood. Left out where
            ``pred_probs`` is a plain ``[N, C]``: then nothing is trained on the features. The
            second of a list of ``OutOfFold`` takes the MLP's place.
        label_view: Crossfit mode: add what `LabelDependency` learns of labels from labels.
        relation_view: Crossfit mode: add the votes of `RelationGraph`, which compares a node with
            those of like features and predictions. Left out on large graphs, and where
            ``pred_probs`` is a plain ``[N, C]``.
        min_class_size: Crossfit mode: a label that fewer nodes carry is too rare to be judged:
            like an isolated node, such a node is flagged only above .9 (column ``abstained``).
        exclude_self: False leaves closed walks in, so that labels vouch for themselves. Only for
            the ablation that shows the leak.
    """

    name: ClassVar[str] = "graphcleaner"
    reads_views: ClassVar[bool] = True

    mode: Literal["crossfit", "paper"] = "crossfit"
    hops: int = 3
    draws: int | None = None
    threshold: float | None = None
    features_epoch: Literal["best", "last"] = "best"
    feature_view: bool = True
    label_view: bool = True
    relation_view: bool = True
    min_class_size: int = 10
    exclude_self: bool = True

    @property
    def calibrated(self) -> bool:  # type: ignore[override]
        """Whether the mislabel probability is calibrated: in crossfit mode."""
        return self.mode == "crossfit"

    def _judge(self, graph: Any, pred_probs: Any) -> Verdict:
        self.check_parameters()
        if self.mode == "paper":
            return self._judge_paper(graph, pred_probs)
        evidence, fold = self.gather(graph, pred_probs)
        seed = spawn_seeds(self.random_state, 2)[1]
        found = judge_crossfit(graph, evidence, fold, self.draws or 3, seed)
        wrong = found.mislabel_probability
        judged = labelled_mask(graph)
        limit = self.threshold
        if limit is None:
            limit = f1_threshold(wrong[judged.numpy()])
        abstained = self._thin(graph, evidence.degree) & (wrong < _CERTAIN)
        return Verdict(
            judged=judged,
            label_quality=1.0 - wrong,
            is_label_issue=(wrong > limit) & ~abstained,
            class_probs=found.class_probs,
            pred_probs=found.stack_probs,
            noise_rate=found.noise_rate,
            transition=found.transition,
            evidence={"abstained": abstained, **_agreement_columns(graph, evidence)},
            meta={
                "transition_mixes_confusion": False,
                "flag_threshold": limit,
                "flip_shares": {
                    "by_class": found.flip_shares[0],
                    "to_neighbours": found.flip_shares[1],
                },
            },
        )

    def _thin(self, graph: Any, degree: Tensor) -> np.ndarray:
        """Return the nodes ``[N]`` about which there is too little evidence for a flag."""
        given = graph.y.clamp_min(0)
        carriers = torch.bincount(given[graph.y >= 0], minlength=num_classes(graph))
        return ((degree == 0) | (carriers[given] < self.min_class_size)).numpy()

    def gather(self, graph: Any, pred_probs: Any) -> tuple[HopEvidence, Tensor]:
        """Return the evidence of crossfit mode about a checked graph, and the folds ``[N]``."""
        views = list(pred_probs) if isinstance(pred_probs, list) else []
        if not self.feature_view:
            self._refuse_more_than(1, views, "Set feature_view=True, or pass one OutOfFold.")
        source = views[0] if views else pred_probs
        if source is None:
            source = self._out_of_fold(graph)
        if isinstance(source, OutOfFold):
            fold = self._folded(graph, source).fold[0]
        else:
            fold = stratified_folds(
                graph.y, labelled_mask(graph), self._folds_of(graph), self.random_state
            )
        with stage("Hop evidence"):
            found = hop_evidence(graph, source, self.hops, exclude_self=self.exclude_self)
        if self.feature_view and isinstance(source, OutOfFold):
            with stage("Feature view"):
                view = views[1] if len(views) > 1 else self._features_alone(graph, source)
                found = found.with_views(
                    x0=view.pred_probs.double(), xs=spread_predictions(graph, view)
                )
        for position, view in enumerate(views[2:], start=1):
            found = found.with_views(**{f"v{position}": view.pred_probs.double()})
        if self.label_view:
            with stage("Label view"):
                labels = LabelDependency(
                    n_folds=self._folds_of(graph), random_state=self.random_state
                ).votes(graph, None)
            found = found.with_views(y=labels.share)
        if self.relation_view and isinstance(source, OutOfFold) and not is_large(graph):
            with stage("Relation view"):
                related = RelationGraph(random_state=self.random_state).votes(graph, source)
            found = found.with_views(r=related.share)
        return found, fold

    def _features_alone(self, graph: Any, source: OutOfFold) -> OutOfFold:
        return cross_fit(
            feature_view_classifier(graph),
            graph,
            mask=source.fold[0] >= 0,
            folds=source.fold,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            progress=self.progress,
        )

    def _judge_paper(self, graph: Any, pred_probs: Any) -> Verdict:
        found = self._paper_result(graph, pred_probs)
        issue = found.mislabel_score > (0.97 if self.threshold is None else self.threshold)
        judged = found.judged.numpy()
        return Verdict(
            judged=found.judged,
            label_quality=1.0 - found.mislabel_score,
            is_label_issue=issue,
            class_probs=found.pred_probs,
            pred_probs=found.pred_probs,
            noise_rate=binomial_rate(float(issue[judged].sum()), int(judged.sum())),
            transition=found.transition,
            meta={"transition_mixes_confusion": True},
        )

    def _paper_result(self, graph: Any, pred_probs: Any) -> PaperResult:
        shared: dict[str, Any] = {
            "hops": self.hops,
            "draws": self.draws or 1,
            "exclude_self": self.exclude_self,
            "seed": self.random_state,
        }
        if pred_probs is not None:
            views = pred_probs if isinstance(pred_probs, list) else [pred_probs]
            self._refuse_more_than(1, views, "Paper mode reads one learner: pass one OutOfFold.")
            source = views[0]
            if not isinstance(source, OutOfFold):
                raise InputError(
                    "pred_probs",
                    "a matrix",
                    "Paper mode takes an OutOfFold (nn.cross_fit), or trains its own model.",
                )
            return judge_paper_crossfit(graph, self._folded(graph, source), **shared)
        model: Any = published_classifier()
        if self.classifier is not None:
            model = resolve_classifier(self.classifier, graph)
        if not isinstance(model, NeuralClassifier):
            raise InputError(
                "classifier",
                repr(self.classifier),
                "Paper mode needs one of graphclean's neural classifiers, or None.",
            )
        return judge_paper(
            graph,
            classifier=model,
            epoch=self.features_epoch,
            **shared,
        )

    def _refuse_more_than(self, most: int, views: list[Any], fix: str) -> None:
        if len(views) > most:
            raise InputError("pred_probs", f"a list of {len(views)} OutOfFold", fix)

    def _folded(self, graph: Any, source: OutOfFold) -> OutOfFold:
        """Return the out-of-fold probabilities, or raise InputError: folds are needed here."""
        if len(set(source.fold[0][labelled_mask(graph)].tolist()) - {-1}) < 2:
            raise InputError(
                "pred_probs",
                "an OutOfFold without folds of the labelled nodes",
                "Make it with cross_fit on this graph, over the nodes to be judged.",
            )
        return source

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        if self.mode not in ("crossfit", "paper"):
            raise InputError("mode", self.mode, "Use 'crossfit' or 'paper'.")
        if self.features_epoch not in ("best", "last"):
            raise InputError("features_epoch", self.features_epoch, "Use 'best' or 'last'.")
        check_params({"hops": self.hops})
        if not isinstance(self.min_class_size, Integral) or self.min_class_size < 0:
            raise InputError("min_class_size", self.min_class_size, "Pass an integer >= 0.")
        if self.draws is not None and not (isinstance(self.draws, Integral) and self.draws >= 1):
            raise InputError("draws", self.draws, "Pass an integer >= 1, or None.")
        limit = self.threshold
        if limit is not None and not (isinstance(limit, Real) and 0.0 <= float(limit) <= 1.0):
            raise InputError("threshold", self.threshold, "Pass a number in [0, 1], or None.")


def _agreement_columns(graph: Any, evidence: HopEvidence) -> dict[str, np.ndarray]:
    """Return how strongly every piece of evidence speaks for the given label ``[N]``."""
    given = graph.y.clamp_min(0).unsqueeze(1)
    return {
        f"agreement_{name}": share.gather(1, given).squeeze(1).numpy()
        for name, share in zip(evidence.names, evidence.distributions, strict=True)
    }
