"""Train, validation and test masks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch_geometric.data import Data

from graphclean.data.labels import labelled_mask
from graphclean.types import InputError, Seed, numpy_rng

SplitKind = Literal["public", "random", "fractions", "all"]

_KEYS = ("train_mask", "val_mask", "test_mask")


def split(
    data: Data,
    kind: SplitKind = "public",
    *,
    per_class: int = 20,
    num_val: int = 500,
    num_test: int = 1000,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    stratify: bool = True,
    index: int = 0,
    random_state: Seed | np.random.Generator = 0,
) -> Data:
    """Return a new graph with disjoint bool masks ``[N]`` over its labelled nodes.

    - ``"public"``: the masks that came with the graph; of masks ``[N, splits]`` the column
      ``index``. A missing validation or test mask is empty.
    - ``"random"``: ``per_class`` training nodes of each class (of a class with fewer than twice
      that, at most half, rounded up), then ``num_val`` and ``num_test`` of the other nodes (in
      that proportion where they do not suffice).
    - ``"fractions"``: the given shares for training, validation and test, within each class
      unless ``stratify`` is off; what the shares leave over stays unused.
    - ``"all"``: every labelled node is a training node.

    Args:
        data: A graph with ``y`` ``[N]``, -1 = unlabelled.
        kind: How to split.
        per_class: Training nodes of each class, for ``"random"``.
        num_val: Validation nodes, for ``"random"``.
        num_test: Test nodes, for ``"random"``.
        fractions: Three shares with a sum of at most 1, for ``"fractions"``.
        stratify: Whether ``"fractions"`` keeps the class proportions.
        index: Which column of masks ``[N, splits]``, for ``"public"``.
        random_state: Seed of ``"random"`` and ``"fractions"``.

    Raises:
        InputError: If the graph has no labels or no public masks, or an argument is out of range.
    """
    if getattr(data, "y", None) is None:
        raise InputError("data", "a graph without y", "Splits are made of labelled nodes.")
    labelled = labelled_mask(data)
    y = data.y.view(-1).cpu().numpy()
    rng = numpy_rng(random_state)
    if kind == "public":
        masks = [_public(data, key, index) & labelled for key in _KEYS]
    elif kind == "all":
        masks = [labelled.clone(), torch.zeros_like(labelled), torch.zeros_like(labelled)]
    elif kind == "random":
        masks = _masks(_random(y, per_class, num_val, num_test, rng), labelled)
    elif kind == "fractions":
        masks = _masks(_by_fraction(y, _shares(fractions), stratify, rng), labelled)
    else:
        raise InputError("kind", kind, "Choose 'public', 'random', 'fractions' or 'all'.")
    if not masks[0].any():
        raise InputError("kind", f"{kind!r} leaves no training node", "Choose another split.")
    out = copy.copy(data)
    for key, mask in zip(_KEYS, masks, strict=True):
        out[key] = mask
    return out


def _public(data: Data, key: str, index: int) -> torch.Tensor:
    mask = getattr(data, key, None)
    if mask is None:
        if key == "train_mask":
            raise InputError("kind", "'public', but the graph has no masks", "Use kind='random'.")
        return torch.zeros(data.num_nodes, dtype=torch.bool, device=data.y.device)
    mask = torch.as_tensor(mask)
    columns = 1 if mask.ndim == 1 else mask.shape[1]
    several = data.train_mask.ndim == 2 and mask.ndim == 1  # one test mask shared by all splits
    if not 0 <= index < columns and not several:
        raise InputError("index", index, f"{key} has {columns} split(s), numbered from 0.")
    return (mask if mask.ndim == 1 else mask[:, index]).bool()


def _masks(parts: list[np.ndarray], like: torch.Tensor) -> list[torch.Tensor]:
    masks = []
    for part in parts:
        mask = torch.zeros_like(like)
        mask[torch.from_numpy(part).to(like.device)] = True
        masks.append(mask)
    return masks


def _random(
    y: np.ndarray, per_class: int, num_val: int, num_test: int, rng: np.random.Generator
) -> list[np.ndarray]:
    for name, value, least in (
        ("per_class", per_class, 1),
        ("num_val", num_val, 0),
        ("num_test", num_test, 0),
    ):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise InputError(name, value, f"Pass a whole number of at least {least}.")
    order = rng.permutation(np.flatnonzero(y >= 0))
    taken = np.zeros(len(y), dtype=bool)
    for label in np.unique(y[order]):
        members = order[y[order] == label]
        taken[members[: min(per_class, (len(members) + 1) // 2)]] = True
    train, rest = order[taken[order]], order[~taken[order]]
    wanted = num_val + num_test
    if wanted > len(rest):
        num_val = len(rest) * num_val // wanted
        num_test = len(rest) - num_val
    return [train, rest[:num_val], rest[num_val : num_val + num_test]]


def _shares(fractions: Sequence[float]) -> np.ndarray:
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not (shares >= 0).all() or shares.sum() > 1 + 1e-9:
        raise InputError(
            "fractions",
            fractions,
            "Pass three shares (train, validation, test) of at most 1 in sum.",
        )
    return shares


def _by_fraction(
    y: np.ndarray, shares: np.ndarray, stratify: bool, rng: np.random.Generator
) -> list[np.ndarray]:
    order = rng.permutation(np.flatnonzero(y >= 0))
    groups = [order[y[order] == label] for label in np.unique(y[order])] if stratify else [order]
    parts: list[list[np.ndarray]] = [[], [], []]
    for group in groups:
        start = 0
        for part, count in zip(parts, _counts(len(group), shares), strict=True):
            part.append(group[start : start + count])
            start += count
    return [np.concatenate([*part, np.empty(0, dtype=np.int64)]) for part in parts]


def _counts(total: int, shares: np.ndarray) -> list[int]:
    """Whole numbers nearest to ``total * shares`` (largest remainders; ties go to training)."""
    exact = total * shares
    counts = np.floor(exact + 1e-9).astype(int)
    left = round(float(exact.sum())) - int(counts.sum())
    for position in np.argsort(counts - exact, kind="stable")[:left]:
        counts[position] += 1
    return [int(count) for count in counts]
