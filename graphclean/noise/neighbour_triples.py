"""Labels of a node and of two near ones, counted: three noisy views of one true class."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from graphclean.noise._propagated import propagated_features
from graphclean.sparse import Adjacency
from graphclean.types import InputError, Seed, numpy_rng

SUBSET_SHARE, SUBSET_NODES = 0.9, 35_000
_NEAREST = 10
"""Neighbours looked up once; a subset of 90 % holds two of them but for one node in a million."""


def neighbour_counts(graph: Any, y: Tensor, num_classes: int) -> np.ndarray:
    """Return how many neighbours of every node carry each label ``[N, C]``, float64.

    Args:
        graph: PyG ``Data``; edges count in both directions, their weights do not.
        y: Given labels ``[N]``, long, -1 = unlabelled and not counted.
        num_classes: C.
    """
    adjacency = Adjacency.of(graph).towards("both").matrix
    ones = (np.ones(adjacency.nnz), adjacency.indices, adjacency.indptr)
    known = np.flatnonzero(y.numpy() >= 0)
    entries = (np.ones(len(known)), (known, y.numpy()[known]))
    onehot = sp.csr_array(entries, shape=(len(y), num_classes))
    counted = sp.csr_array(ones, shape=adjacency.shape) @ onehot
    return np.asarray(counted.toarray(), dtype=np.float64)


def graph_triples(graph: Any, y: Tensor, num_classes: int) -> np.ndarray:
    r"""Return the expected labels of a node and of two distinct labelled neighbours.

    .. math::
        n[a, b, c] = \sum_{i : y_i = a} \frac{H_{ib} (H_{ic} - [b = c])}{d_i (d_i - 1)}

    with the labels H around node i, d in number: the mean over all ordered pairs of neighbours,
    every labelled node with two or more of them counting once. No pair is drawn.

    Args:
        graph: PyG ``Data``.
        y: Given labels ``[N]``, long, -1 = unlabelled.
        num_classes: C.

    Returns:
        ``[C, C, C]``, float64: node, first and second neighbour; zeros where no labelled node has
        two labelled neighbours.
    """
    counts = neighbour_counts(graph, y, num_classes)
    degree = counts.sum(axis=1)
    labels = y.numpy()
    triples = np.zeros((num_classes, num_classes, num_classes))
    for own in range(num_classes):
        rows = (labels == own) & (degree >= 2)
        around, pairs = counts[rows], (degree * (degree - 1.0))[rows, None]
        triples[own] = around.T @ (around / pairs)
        triples[own][np.diag_indices(num_classes)] -= (around / pairs).sum(axis=0)
    return triples.clip(min=0.0)


def checked_triples(triples: np.ndarray) -> np.ndarray:
    """Return ``triples``, or raise InputError where nothing was counted."""
    if not triples.any():
        raise InputError(
            "data", "no labelled node with two labelled neighbours", "Add labels or edges."
        )
    return triples


def knn_triples(
    graph: Any, y: Tensor, num_classes: int, *, rounds: int, components: int, seed: Seed
) -> np.ndarray:
    """Return the labels of a node and its two nearest in propagated features, counted.

    Each round takes a random subset of 90 % of the labelled nodes, 35,000 at most, and finds the
    two nearest nodes within it by cosine.

    Args:
        graph: Checked ``Data``.
        y: Given labels ``[N]``, long, -1 = unlabelled.
        num_classes: C.
        rounds: Subsets, >= 1.
        components: Dimensions of the features, >= 1.
        seed: Seed of the subsets and the features.

    Returns:
        ``[C, C, C]``, float64: node, nearest and second nearest node.

    Raises:
        InputError: A parameter is out of range, or fewer than three nodes are labelled.
    """
    if not isinstance(rounds, (int, np.integer)) or rounds < 1:
        raise InputError("rounds", rounds, "Pass an integer >= 1.")
    features = propagated_features(graph, components, seed)
    labelled = np.flatnonzero(y.numpy() >= 0)
    if len(labelled) < 3:
        raise InputError("data.y", f"{len(labelled)} labels", "Label three nodes at least.")
    rows = features[labelled]
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(length > 0, length, 1.0)
    size = min(max(round(SUBSET_SHARE * len(rows)), 3), SUBSET_NODES)
    reach = min(max(_NEAREST, round(2 * _NEAREST * len(rows) / size) - _NEAREST), len(rows) - 1)
    search = NearestNeighbors(n_neighbors=reach, algorithm="brute").fit(rows)
    near = search.kneighbors(return_distance=False)
    labels, rng = y.numpy()[labelled], numpy_rng(seed)
    triples = np.zeros(num_classes**3)
    for _ in range(rounds):
        inside = np.zeros(len(rows), dtype=bool)
        inside[rng.choice(len(rows), size, replace=False)] = True
        present = inside[near] & inside[:, None]
        rank = present.cumsum(axis=1)
        full = rank[:, -1] >= 2
        first, second = (near[full, (rank[full] >= wanted).argmax(axis=1)] for wanted in (1, 2))
        codes = (labels[full] * num_classes + labels[first]) * num_classes + labels[second]
        triples += np.bincount(codes, minlength=num_classes**3)
    return triples.reshape(num_classes, num_classes, num_classes)
