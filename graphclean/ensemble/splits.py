"""Folds and held-out rows of a stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphclean.denoise.communities import communities
from graphclean.nn.folds import plain_folds, stratified_folds, validation_rows
from graphclean.nn.supervision import Supervision
from graphclean.sparse import Adjacency
from graphclean.types import InputError, numpy_rng, spawn_seeds

FOLDS = ("stratified", "random", "community")


def held_out_rows(labels: Supervision, fraction: float, stratified: bool, seed: int) -> Tensor:
    """Return the rows that no model of the stack is fitted on ``[m]``, long, sorted.

    These are the validation rows of the fit; without any, a share of the training rows, drawn
    without a look at the labels unless ``stratified``.
    """
    rows = labels.train_index
    if len(labels.val_index) or fraction == 0:
        return labels.val_index
    if stratified:
        return validation_rows(_hard(labels)[rows], rows, fraction, seed)
    count = min(round(fraction * len(rows)), len(rows) // 2)
    drawn = numpy_rng(seed).permutation(len(rows))[:count]
    return rows[torch.from_numpy(np.sort(drawn))]


def make_folds(
    graph: Any,
    labels: Supervision,
    members: Tensor,
    folds: str | Any,
    n_folds: int,
    n_repeats: int,
    seed: int,
) -> Tensor:
    """Return the fold of every node in every repeat ``[R, N]``, long, -1 where not a member.

    Args:
        graph: The graph.
        labels: Targets; read by stratified folds only.
        members: Rows to fold ``[N]``, bool, at least two.
        folds: A name of `FOLDS`, or given folds ``[N]`` or ``[R, N]``, -1 for rows left out, which
            say how many folds and repeats there are.
        n_folds: Folds of a repeat; never more than there are members.
        n_repeats: Repeats.
        seed: Seed.

    Raises:
        InputError: There are fewer than two members, or the given folds do not fit.
    """
    count = int(members.sum())
    if count < 2:
        raise InputError("mask", f"{count} labelled training row", "A stack needs two or more.")
    if not isinstance(folds, str):
        return _given(folds, members)
    n_folds, seeds = min(n_folds, count), spawn_seeds(seed, n_repeats)
    if folds == "stratified":
        hard = _hard(labels)
        return torch.stack([stratified_folds(hard, members, n_folds, each) for each in seeds])
    if folds == "random":
        return torch.stack([plain_folds(members, n_folds, each) for each in seeds])
    return torch.stack([_community_folds(graph, members, n_folds, each) for each in seeds])


def _community_folds(graph: Any, members: Tensor, n_folds: int, seed: int) -> Tensor:
    """Deal out whole communities, the largest first, each to the smallest fold so far.

    A community of more rows than a fold should have is cut at random, and so is the largest while
    they are fewer than the folds.
    """
    index = members.nonzero().view(-1).numpy()
    community_seed, cut_seed = spawn_seeds(seed, 2)
    found = communities(Adjacency.of(graph), random_state=community_seed)[index]
    order = np.lexsort((numpy_rng(cut_seed).random(len(index)), found))
    most = -(-len(index) // n_folds)
    starts = np.flatnonzero(np.diff(found[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    piece = np.cumsum((rank % most) == 0) - 1
    sizes = np.bincount(piece)
    while len(sizes) < n_folds:  # Communities of few rows do not fill all folds.
        largest = np.flatnonzero(piece == sizes.argmax())
        piece[largest[len(largest) // 2 :]] = len(sizes)
        sizes = np.bincount(piece)
    load, home = np.zeros(n_folds), np.empty(len(sizes), dtype=np.int64)
    for each in np.argsort(-sizes, kind="stable"):
        home[each] = load.argmin()
        load[home[each]] += sizes[each]
    fold = torch.full((len(members),), -1, dtype=torch.long)
    fold[torch.from_numpy(index[order])] = torch.from_numpy(home[piece])
    return fold


def _given(folds: Any, members: Tensor) -> Tensor:
    fold = torch.as_tensor(folds).long().cpu()
    fold = fold.view(1, -1) if fold.dim() == 1 else fold
    if fold.dim() != 2 or fold.shape[1] != len(members):
        raise InputError("folds", tuple(fold.shape), f"Pass [{len(members)}] or [R, N].")
    if bool((fold[:, members] < 0).any()):
        raise InputError("folds", "-1 for a training row", "Give every training row a fold.")
    fold = torch.where(members, fold, -1)
    used = [torch.bincount(each[members]) for each in fold]
    if any(len(each) < 2 or len(each) != len(used[0]) or bool((each == 0).any()) for each in used):
        raise InputError("folds", "an empty fold", "Number two or more folds from 0, none empty.")
    return fold


def _hard(labels: Supervision) -> Tensor:
    return labels.target if labels.target.dim() == 1 else labels.target.argmax(dim=1)
