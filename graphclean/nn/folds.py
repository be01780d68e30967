"""Stratified folds and validation rows: balanced, seeded, and a function of the given rows only."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from graphclean.types import InputError, Seed, numpy_rng


def stratified_folds(y: Tensor, labelled: Tensor, n_folds: int, random_state: Seed) -> Tensor:
    """Split the labelled nodes into folds that differ by at most one node, overall and per class.

    The nodes are shuffled, sorted by given label and dealt out in turn. A class with fewer nodes
    than folds is spread over different folds.

    Args:
        y: Given labels ``[N]``, long; entries outside ``labelled`` are not read.
        labelled: Nodes to split ``[N]``, bool.
        n_folds: Number of folds K, 2 to the number of labelled nodes.
        random_state: Seed.

    Returns:
        The fold of every node ``[N]``, long, 0 to K-1; -1 where not labelled.

    Raises:
        InputError: ``n_folds`` is out of range.
    """
    index = labelled.nonzero().view(-1)
    if not 2 <= n_folds <= max(len(index), 1):
        raise InputError(
            "n_folds", n_folds, f"Choose 2 to {len(index)}, the number of labelled nodes."
        )
    rng = numpy_rng(random_state)
    order = _order_by_class(y[index], rng)
    dealt = rng.permutation(n_folds)[np.arange(len(order)) % n_folds]
    fold = torch.full((len(y),), -1, dtype=torch.long)
    fold[index[order]] = torch.from_numpy(dealt)
    return fold


def plain_folds(labelled: Tensor, n_folds: int, random_state: Seed) -> Tensor:
    """Split the labelled nodes into folds of equal size without a look at any label.

    Unlike stratified folds they stay as they are when a label changes.

    Args:
        labelled: Nodes to split ``[N]``, bool.
        n_folds: Number of folds K >= 2; never more than there are labelled nodes.
        random_state: Seed.

    Returns:
        The fold of every node ``[N]``, long, 0 to K-1; -1 where not labelled.

    Raises:
        InputError: ``n_folds`` is no integer >= 2.
    """
    if not isinstance(n_folds, Integral) or n_folds < 2:
        raise InputError("n_folds", n_folds, "Pass an integer >= 2.")
    index = labelled.nonzero().view(-1)
    order = numpy_rng(random_state).permutation(len(index))
    fold = torch.full((len(labelled),), -1, dtype=torch.long)
    fold[index[order]] = torch.arange(len(index)) % min(int(n_folds), max(len(index), 1))
    return fold


def validation_rows(y: Tensor, rows: Tensor, fraction: float, random_state: Seed) -> Tensor:
    """Pick a stratified share of the training rows for early stopping.

    The pick depends on nothing but the rows, their labels and the seed. Every class keeps at least
    one training row.

    Args:
        y: Given labels of the rows ``[n]``, long.
        rows: Node ids of the rows ``[n]``, long.
        fraction: Share of the rows to pick, 0 to 0.5.
        random_state: Seed.

    Returns:
        Node ids of the picked rows, long, sorted; empty if the share rounds to none.
    """
    rng = numpy_rng(random_state)
    order = _order_by_class(y, rng)
    ranked = y[order]
    order = order[torch.bincount(ranked)[ranked] > 1] if len(ranked) else order
    count = min(round(fraction * len(rows)), len(order) // 2)
    if count == 0:
        return rows[:0]
    start = rng.random()
    ranks = np.floor((np.arange(count) + start) * len(order) / count).astype(np.int64)
    picked: Tensor = rows[order[torch.from_numpy(ranks)]].sort().values
    return picked


def _order_by_class(y: Tensor, rng: np.random.Generator) -> Tensor:
    """Return an order ``[n]`` that sorts ``y``, random within a class."""
    return torch.from_numpy(np.lexsort((rng.random(len(y)), y.cpu().numpy())))
