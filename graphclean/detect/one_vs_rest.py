"""Out-of-fold tag probabilities from a graph: logistic regression on label-free features."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphclean.detect.embedding import node_embedding
from graphclean.nn.crossfit import one_thread
from graphclean.nn.folds import plain_folds
from graphclean.types import Seed, spawn_seeds

_STEPS = 200


def out_of_fold_tags(
    graph: Any,
    tags: Tensor,
    labelled: Tensor,
    *,
    hops: int,
    dimensions: int,
    strength: float,
    n_folds: int,
    random_state: Seed,
) -> Tensor:
    r"""Return the probability of every tag of every node, from models that saw none of its tags.

    One logistic regression per tag on :math:`[u(X), u(\hat S^K X)]`, the features alone and K hops
    around (``node_embedding``). Neither they nor the folds look at any tag, so a node's own tags
    have no way to its prediction: it stays the same to the last bit when they change.

    Args:
        graph: Checked ``Data``; ``y`` is not read.
        tags: 0 or 1 ``[N, L]``, float64; rows outside ``labelled`` are not read.
        labelled: Nodes with tags ``[N]``, bool.
        hops: K >= 1.
        dimensions: Most columns of either half of the features.
        strength: Inverse strength of the ridge, as scikit-learn's ``C``.
        n_folds: Folds >= 2.
        random_state: Seed of the folds and of the reduction of wide features.

    Returns:
        ``[N, L]``, float64 in (0, 1); nodes without tags get the mean over the models.
    """
    fold_seed, feature_seed = spawn_seeds(random_state, 2)
    with one_thread():
        views = [
            node_embedding(graph, hops=reach, dimensions=dimensions, random_state=feature_seed)
            for reach in (0, hops)
        ]
        x = _standardised(torch.cat(views, dim=1).double())
        fold = plain_folds(labelled, n_folds, fold_seed)
        probs = torch.zeros(len(x), tags.shape[1], dtype=torch.float64)
        count = int(fold.max()) + 1
        for number in range(count):
            train = labelled & (fold != number)
            weight, bias = fit_one_vs_rest(x[train], tags[train], strength)
            predicted = (x @ weight + bias).sigmoid()
            share = torch.where(fold == number, 1.0, torch.where(fold < 0, 1.0 / count, 0.0))
            probs += share.unsqueeze(1) * predicted
    return probs


def fit_one_vs_rest(x: Tensor, tags: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    r"""Fit one ridge-penalised logistic regression per tag, all at once, by L-BFGS.

    .. math::
        \min_{w, b} \; C \sum_i \mathrm{BCE}(w^\top x_i + b, t_i) + \tfrac12 \lVert w \rVert_2^2

    for each column t of the tags. A tag that all rows or none carry has no finite optimum: it gets
    the constant (k + 1) / (n + 2) of Laplace's rule.

    Args:
        x: ``[n, d]``, float64.
        tags: 0 or 1 ``[n, L]``, float64.
        strength: C > 0.

    Returns:
        Weights ``[d, L]`` and biases ``[L]``, float64.
    """
    rows, on = len(x), tags.sum(dim=0)
    bias = torch.log((on + 1.0) / (rows - on + 1.0))
    weight = torch.zeros(x.shape[1], tags.shape[1], dtype=torch.float64)
    varies = (on > 0) & (on < rows)
    if not bool(varies.any()):
        return weight, bias
    wanted = tags[:, varies]
    moving = [weight[:, varies].requires_grad_(), bias[varies].requires_grad_()]
    optimiser = torch.optim.LBFGS(
        moving,
        max_iter=_STEPS,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(
            x @ moving[0] + moving[1], wanted, reduction="sum"
        )
        loss = (loss + moving[0].square().sum() / (2.0 * strength)) / rows
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    weight[:, varies], bias[varies] = moving[0].detach(), moving[1].detach()
    return weight, bias


def _standardised(x: Tensor) -> Tensor:
    spread = x.std(dim=0, unbiased=False)
    varies = spread > 1e-9
    return torch.where(varies, (x - x.mean(dim=0)) / torch.where(varies, spread, 1.0), 0.0)
