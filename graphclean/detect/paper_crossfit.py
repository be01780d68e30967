"""The published detector on out-of-fold predictions: every labelled node judged, none in sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.hop_evidence import of_own_fold
from graphclean.detect.paper_mode import MislabelMLP, PaperResult, flip_half, gathered
from graphclean.nn.crossfit import OutOfFold
from graphclean.noise.confident_joint import confident_joint, transition_from_joint
from graphclean.sparse import HopOperator, Propagator, one_hot_labels
from graphclean.types import spawn_seeds


def judge_paper_crossfit(
    graph: Any,
    source: OutOfFold,
    *,
    hops: int,
    draws: int,
    exclude_self: bool,
    seed: int | None,
) -> PaperResult:
    """Score every labelled node with the published steps, validation rows replaced by other folds.

    The nodes of a fold are judged by a detector whose transition matrix, synthetic mislabels and
    training rows come from the other folds; all predictions are out of fold, and those that are
    propagated for a node come from the models of its own fold. Labelled nodes of no fold, whose
    labels no model saw, are one more fold.

    Args:
        graph: Checked ``Data``.
        source: Out-of-fold probabilities of its labelled nodes.
        hops: K.
        draws: Synthetic draws whose detectors are averaged.
        exclude_self: False leaves closed walks in (ablation).
        seed: Seed of draws and detectors.
    """
    judged = labelled_mask(graph)
    y, fold = graph.y.clamp_min(0), source.fold[0]
    propagator = Propagator.from_data(graph, dtype=torch.float64)
    operator = HopOperator(propagator, hops, exclude_self=exclude_self, diagonal="exact")
    own = source.pred_probs
    distributions = [
        own,
        *(walked.float() for walked in of_own_fold(source, operator.powers, hops)),
        *(
            walked.float()
            for walked in operator.powers(
                one_hot_labels(graph.y, num_classes(graph), torch.float64)
            )
        ),
    ]
    features = gathered(distributions, y)
    sums = own.double().sum(dim=1, keepdim=True)
    probs = (own.double() / sums).numpy()
    folds = sorted(set(fold[judged].tolist()))
    score, transitions = np.zeros(len(y)), []
    fold_seeds = spawn_seeds(seed, len(folds))
    for k, fold_seed in zip(folds, fold_seeds, strict=True):
        rows = judged & (fold != k)
        held = (judged & (fold == k)).numpy()
        joint = confident_joint(graph.y[rows].numpy(), probs[rows.numpy()])
        transitions.append(transition_from_joint(joint))
        draw_seed, *mlp_seeds = spawn_seeds(fold_seed, 1 + draws)
        rng = np.random.default_rng(draw_seed)
        for mlp_seed in mlp_seeds:
            flipped, changed = flip_half(y, rows, transitions[-1], rng)
            shown = gathered(distributions, torch.where(changed, flipped, y))
            detector = MislabelMLP(random_state=mlp_seed)
            detector.fit(Data(x=shown, num_nodes=len(y)), changed.long(), rows)
            found: Tensor = detector.predict_proba(Data(x=features, num_nodes=len(y)))
            score[held] += found[:, 1].double().numpy()[held] / draws
    return PaperResult(
        mislabel_score=score,
        pred_probs=probs,
        transition=np.mean(transitions, axis=0),
        judged=judged,
    )
