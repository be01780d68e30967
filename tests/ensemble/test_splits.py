"""Folds and held-out rows of a stack."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.ensemble.splits import held_out_rows, make_folds
from graphclean.nn.supervision import Supervision, supervision


def labels_of(data: Data, val_mask: Tensor | None = None) -> Supervision:
    return supervision(data, mask=data.train_mask | data.val_mask, val_mask=val_mask)


def flipped(data: Data, node: int) -> Data:
    other = data.clone()
    other.y[node] = (other.y[node] + 1) % 3
    return other


def test_folds_without_labels_stay_when_a_label_changes(noisy: Data) -> None:
    members = noisy.train_mask
    node = int(members.nonzero()[3])
    for how, repeats in (("random", 2), ("community", 2), ("stratified", 1)):
        pair = [
            make_folds(each, labels_of(each), members, how, 4, repeats, 7)
            for each in (noisy, flipped(noisy, node))
        ]
        assert pair[0].shape == (repeats, 90)
        assert torch.equal(pair[0] >= 0, members.expand(repeats, -1))
        sizes = torch.bincount(pair[0][0][members])
        assert len(sizes) == 4
        assert torch.equal(*pair) == (how != "stratified")
        if how != "community":
            assert int(sizes.max() - sizes.min()) <= 1
        if repeats == 2:
            assert not torch.equal(*pair[0])


def test_community_folds_keep_communities_together() -> None:
    """Eight cliques of five, each of which fits into a fold, and no fold is twice another."""
    clique = torch.arange(40) // 5
    rows, columns = torch.where(clique[:, None] == clique[None, :])
    keep = rows != columns
    data = Data(
        x=torch.ones(40, 1),
        edge_index=torch.stack([rows, columns])[:, keep],
        y=torch.arange(40) % 2,
    )
    every = torch.ones(40, dtype=torch.bool)
    fold = make_folds(data, supervision(data), every, "community", 4, 1, 0)[0]
    assert all(len(fold[clique == each].unique()) == 1 for each in range(8))
    assert torch.bincount(fold).tolist() == [10, 10, 10, 10]


def test_a_giant_community_is_cut(noisy: Data) -> None:
    node = torch.arange(90)
    noisy.edge_index = torch.cartesian_prod(node, node).t()
    fold = make_folds(noisy, labels_of(noisy), noisy.train_mask, "community", 3, 1, 0)[0]
    sizes = torch.bincount(fold[noisy.train_mask])
    assert len(sizes) == 3
    assert int(sizes.max() - sizes.min()) <= 3


def test_few_communities_still_fill_all_folds() -> None:
    """Three communities, four folds: the repeats agree on the number of folds."""
    clique = torch.arange(12) // 4
    rows, columns = torch.where(clique[:, None] == clique[None, :])
    edges = torch.stack([rows, columns])[:, rows != columns]
    data = Data(x=torch.ones(12, 1), edge_index=edges, y=torch.arange(12) % 2)
    every = torch.ones(12, dtype=torch.bool)
    for n_folds in (4, 5, 7):
        found = make_folds(data, supervision(data), every, "community", n_folds, 3, 0)
        assert all(len(fold.unique()) == n_folds for fold in found)


def test_never_more_folds_than_rows(noisy: Data) -> None:
    members = torch.zeros(90, dtype=torch.bool)
    members[[3, 4, 5]] = True
    for how in ("stratified", "random", "community"):
        fold = make_folds(noisy, labels_of(noisy), members, how, 5, 1, 0)
        assert sorted(fold[0, members].tolist()) == [0, 1, 2]


def test_held_out_rows_are_those_of_the_user_or_a_share(noisy: Data) -> None:
    given = labels_of(noisy, noisy.val_mask)
    assert torch.equal(held_out_rows(given, 0.1, True, 0), noisy.val_mask.nonzero().view(-1))
    alone = labels_of(noisy)
    rows = len(alone.train_index)
    for stratified in (True, False):
        held = held_out_rows(alone, 0.25, stratified, 0)
        assert len(held) == round(0.25 * rows)
        assert bool(torch.isin(held, alone.train_index).all())
        assert torch.equal(held, held.sort().values)
    assert len(held_out_rows(alone, 0.0, True, 0)) == 0


def test_rows_held_out_without_labels_stay_when_a_label_changes(noisy: Data) -> None:
    node = int(noisy.train_mask.nonzero()[3])
    before, after = (
        held_out_rows(labels_of(each), 0.25, False, 0) for each in (noisy, flipped(noisy, node))
    )
    assert torch.equal(before, after)
