"""GraphCleaner as published: one model, a held-out validation split, a fixed threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.models import MLP as PyGMLP

from graphclean.data import labelled_mask, num_classes
from graphclean.nn.gcn import GCN
from graphclean.nn.neural import Epoch, NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.noise.confident_joint import confident_joint, transition_from_joint
from graphclean.sparse import HopOperator, Propagator, one_hot_labels
from graphclean.types import InputError, spawn_seeds

_SAMPLE_RATE = 0.5


@dataclass(frozen=True, eq=False)
class PaperResult:
    """What the published method finds: its detector's probabilities and their ingredients."""

    mislabel_score: np.ndarray
    pred_probs: np.ndarray
    transition: np.ndarray
    judged: Tensor


def published_classifier() -> GCN:
    """Return the published base model: three GCN layers of 256, 200 epochs of Adam at 1e-3."""
    return GCN(
        hidden=256,
        num_layers=3,
        dropout=0.5,
        lr=1e-3,
        weight_decay=5e-4,
        epochs=200,
        patience=None,
        monitor="val_accuracy",
    )


def judge_paper(
    graph: Any,
    *,
    classifier: NeuralClassifier,
    hops: int,
    draws: int,
    epoch: Epoch,
    exclude_self: bool,
    seed: int | None,
) -> PaperResult:
    """Score every labelled node outside the training and validation rows.

    Args:
        graph: Checked ``Data`` with ``train_mask`` and ``val_mask`` ``[N]``.
        classifier: Base model that keeps its best and last epoch.
        hops: K.
        draws: Synthetic draws whose detectors are averaged; the paper draws once.
        epoch: Epoch whose probabilities become features: ``"best"`` on the validation rows, or
            ``"last"`` as the released code does. T always comes from the best one.
        exclude_self: False leaves closed walks in, which hands nodes their own label (ablation).
        seed: Seed of fit, draws and detector.
    """
    train, val = _masks(graph)
    fit_seed, draw_seed, *mlp_seeds = spawn_seeds(seed, 2 + draws)
    model = clone(classifier).set_params(random_state=fit_seed)
    prepared = model.prepare(graph)
    model.fit(graph, mask=train, val_mask=val, prepared=prepared)
    best = model.predict_proba(graph, prepared=prepared, epoch="best")
    probs = model.predict_proba(graph, prepared=prepared, epoch=epoch)

    y = graph.y.clamp_min(0)
    held_out = best[val].double()
    joint = confident_joint(
        graph.y[val].numpy(), (held_out / held_out.sum(1, keepdim=True)).numpy()
    )
    transition = transition_from_joint(joint)
    columns = AgreementFeatures(graph, probs, hops, exclude_self)
    features = columns.of(y)
    rng = np.random.default_rng(draw_seed)
    scores = []
    for mlp_seed in mlp_seeds:
        flipped, changed = flip_half(y, val, transition, rng)
        judged_as = torch.where(changed, flipped, y)
        detector = MislabelMLP(random_state=mlp_seed)
        detector.fit(Data(x=columns.of(judged_as), num_nodes=len(y)), changed.long(), val)
        scores.append(detector.predict_proba(Data(x=features, num_nodes=len(y)))[:, 1])
    return PaperResult(
        mislabel_score=torch.stack(scores).mean(0).double().numpy(),
        pred_probs=best.double().numpy(),
        transition=transition,
        judged=labelled_mask(graph) & ~train & ~val,
    )


def _l1(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
    return (logits.softmax(dim=1)[:, 1] - target).abs()


@estimator
class MislabelMLP(NeuralClassifier):
    """The published detector: linear, ReLU, batch norm, linear; L1 loss; 500 epochs of Adam."""

    hidden: int = 32
    epochs: int = 500
    lr: float = 1e-3
    patience: int | None = None
    val_fraction: float = 0.0
    loss: Any = _l1

    def _adjacency(self, data: Any) -> None:
        return None

    def _prepare(self, data: Any) -> Prepared:
        return Prepared(data.x)

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        return _IgnoreEdges(
            PyGMLP([inputs.num_features, self.hidden, 2], act_first=True, norm="batch_norm")
        )


class _IgnoreEdges(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, adj: None = None) -> Tensor:
        logits: Tensor = self.body(x)
        return logits


class AgreementFeatures:
    """The 2K + 1 agreement features of a node under any label; neighbours keep theirs."""

    def __init__(self, graph: Any, probs: Tensor, hops: int, exclude_self: bool) -> None:
        operator = HopOperator(
            Propagator.from_data(graph), hops, exclude_self=exclude_self, diagonal="exact"
        )
        onehot = one_hot_labels(graph.y, num_classes(graph))
        self.distributions = [
            probs,
            *operator.powers(probs),
            *operator.powers(onehot),
        ]

    def of(self, labels: Tensor) -> Tensor:
        """Return the features ``[N, 2K + 1]`` of the nodes if these were their labels."""
        return gathered(self.distributions, labels)


def gathered(distributions: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return what every distribution ``[N, C]`` says about these labels: ``[N, M]``."""
    column = labels.unsqueeze(1)
    return torch.cat([d.gather(1, column) for d in distributions], dim=1)


def flip_half(
    y: Tensor, val: Tensor, transition: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Flip half of the validation labels by T's off-diagonal; classes without one stay."""
    off = transition * (1.0 - np.eye(len(transition)))
    can_flip = off.sum(axis=1) > 0
    rows = np.flatnonzero(val.numpy())
    rows = rows[can_flip[y.numpy()[rows]]]
    chosen = rng.choice(rows, size=int(len(rows) * _SAMPLE_RATE), replace=False)
    flipped, changed = y.clone(), torch.zeros(len(y), dtype=torch.bool)
    for label in np.unique(y.numpy()[chosen]):
        nodes = torch.from_numpy(chosen[y.numpy()[chosen] == label])
        share = off[label] / off[label].sum()
        flipped[nodes] = torch.from_numpy(rng.choice(len(share), size=len(nodes), p=share))
        changed[nodes] = True
    return flipped, changed


def _masks(graph: Any) -> tuple[Tensor, Tensor]:
    fix = "Use data.split(data, 'random' or 'fractions'), or mode='crossfit'."
    found = []
    for name in ("train_mask", "val_mask"):
        mask = getattr(graph, name, None)
        if mask is None or mask.dim() != 1:
            shape = "missing" if mask is None else f"shape {tuple(mask.shape)}"
            raise InputError(name, shape, f"Paper mode needs one split [N]. {fix}")
        mask = mask & labelled_mask(graph)
        if not bool(mask.any()):
            raise InputError(name, "selects no labelled node", fix)
        found.append(mask)
    train, val = found
    if int(val.sum()) < 2:
        raise InputError("val_mask", "selects a single labelled node", f"Select more. {fix}")
    if not bool((labelled_mask(graph) & ~train & ~val).any()):
        raise InputError(
            "train_mask",
            "leaves no labelled node to judge: val_mask takes the rest",
            f"Paper mode judges the labelled nodes of neither mask. {fix}",
        )
    return train, val
