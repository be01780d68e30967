"""Regression trees of several outputs as plain arrays: fitted by scikit-learn, kept without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

_COLUMNS = ("feature", "threshold", "left", "right", "missing_left", "value")


@dataclass(frozen=True, eq=False)
class RegressionTree:
    """One tree; its nodes are numbered from the root, 0.

    Attributes:
        feature: Column that a node splits ``[m]``, int64; -1 for a leaf.
        threshold: A row goes left if its number is at most this ``[m]``, float64.
        left: Child on the left ``[m]``, int64; -1 for a leaf.
        right: Child on the right ``[m]``, int64; -1 for a leaf.
        missing_left: Whether a missing number goes left ``[m]``, bool.
        value: What a leaf says ``[m, C]``, float64.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return what the tree says of the rows of ``x`` ``[n, F]``, NaN = missing: ``[n, C]``."""
        at = np.zeros(len(x), dtype=np.int64)
        rows = np.flatnonzero(self.feature[at] >= 0)
        while len(rows):
            node = at[rows]
            number = x[rows, self.feature[node]]
            goes_left = np.where(
                np.isnan(number), self.missing_left[node], number <= self.threshold[node]
            )
            at[rows] = np.where(goes_left, self.left[node], self.right[node])
            rows = rows[self.feature[at[rows]] >= 0]
        found: np.ndarray = self.value[at]
        return found

    def times(self, factor: float) -> RegressionTree:
        """Return the tree with its values multiplied."""
        return replace(self, value=self.value * factor)


def fit_tree(
    x: np.ndarray,
    target: np.ndarray,
    *,
    max_depth: int,
    min_samples_leaf: int,
    max_features: float,
    seed: int,
) -> RegressionTree:
    """Fit one tree for all outputs by least squares.

    Args:
        x: Rows ``[n, F]``, float32, NaN = missing.
        target: ``[n, C]``.
        max_depth: Splits from the root to a leaf at most.
        min_samples_leaf: Rows of a leaf at least.
        max_features: Share of the columns that are tried at a split.
        seed: Seed of their choice.
    """
    from sklearn.tree import DecisionTreeRegressor

    model = DecisionTreeRegressor(
        max_depth=max_depth,
        min_samples_leaf=min_samples_leaf,
        max_features=max_features,
        random_state=seed,
    )
    tree = model.fit(x, np.asarray(target, dtype=np.float64)).tree_
    return RegressionTree(
        feature=np.where(tree.children_left < 0, -1, tree.feature).astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        missing_left=tree.missing_go_to_left.astype(bool),
        value=tree.value[:, :, 0].astype(np.float64),
    )


class TreeSum:
    """A sum of trees.

    Args:
        trees: The trees.
        outputs: Number of outputs C.
    """

    def __init__(self, trees: Sequence[RegressionTree], outputs: int) -> None:
        self.trees, self.outputs = list(trees), outputs

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return what the trees say of the rows of ``x`` in all ``[n, C]``, float64."""
        total = np.zeros((len(x), self.outputs))
        for tree in self.trees:
            total += tree(x)
        return total

    def to_arrays(self) -> dict[str, Any]:
        """Return all trees one after the other, as arrays, for saving."""
        return {
            "outputs": self.outputs,
            "sizes": np.array([len(tree.feature) for tree in self.trees], dtype=np.int64),
            **{key: self._joined(key) for key in _COLUMNS},
        }

    def _joined(self, key: str) -> np.ndarray:
        parts = [getattr(tree, key) for tree in self.trees]
        return np.concatenate(parts) if parts else np.zeros(0)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Return what `to_arrays` gave."""
        ends = np.cumsum(arrays["sizes"])
        trees = [
            RegressionTree(**{key: arrays[key][end - size : end] for key in _COLUMNS})
            for size, end in zip(arrays["sizes"], ends, strict=True)
        ]
        return cls(trees, int(arrays["outputs"]))
