"""Seeded synthetic graphs with heavy-tailed degrees, at any size, for measuring speed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from graphclean.types import InputError, numpy_rng

_Draw = Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]
_RANK_OFFSET = 5.0  # bounds the largest hub: about 6,000 neighbours at 200k nodes, 4M entries
_MAX_ROUNDS = 200
_ROW_BLOCK = 65_536


def power_law_graph(num_nodes: int, num_edges: int, exponent: float = 2.6, seed: int = 0) -> Tensor:
    """Seeded Chung-Lu graph: endpoints drawn in proportion to power-law weights.

    Pr(i) ∝ (rank_i + 5)^(-1 / (exponent - 1)) with ranks in random order; loops and repeated
    pairs are redrawn until the count is met exactly.

    Args:
        num_nodes: Number of nodes, at least 2.
        num_edges: Directed entries, that is twice the undirected edges; even.
        exponent: Exponent of the degree distribution, above 2.
        seed: Seed of the draw; the same seed gives the same graph.

    Returns:
        edge_index [2, num_edges], long: undirected (both directions), no loops, no duplicates,
        sorted by row then column as PyG's loaders give it.

    Raises:
        InputError: For sizes that no simple graph can have, or an exponent of 2 or less.

    Reference: Chung & Lu, "Connected components in random graphs with given expected degree
    sequences", Annals of Combinatorics, 2002.
    """
    pairs = _check_sizes(num_nodes, num_edges, exponent)
    rng = numpy_rng(seed)
    weight = _power_law_weights(num_nodes, exponent, rng)
    cumulative = np.cumsum(weight)
    total = float(cumulative[-1])

    def draw(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ends = np.searchsorted(cumulative, rng.random(2 * count) * total, side="right")
        ends = np.minimum(ends, num_nodes - 1)
        return ends[:count], ends[count:]

    return _both_directions(_distinct_pairs(draw, num_nodes, pairs, rng), num_nodes)


def planted_graph(
    num_nodes: int,
    num_edges: int,
    num_classes: int,
    num_features: int,
    seed: int = 0,
    homophily: float = 0.8,
    exponent: float = 2.6,
    separation: float = 1.5,
) -> Data:
    """Seeded power-law graph with planted classes: homophilous edges and weak features.

    The first end of an edge is drawn by power-law weight; with probability `homophily` the second
    is drawn by weight within the first one's class, otherwise by weight among all nodes.
    x_i = mean[y_i] + N(0, I), with class means of expected squared norm separation².

    Args:
        num_nodes: Number of nodes, at least the number of classes.
        num_edges: Directed entries, that is twice the undirected edges; even.
        num_classes: Number of classes, of equal size up to one node.
        num_features: Columns of x.
        seed: Seed of the draw; the same seed gives the same graph.
        homophily: Probability in [0, 1] that an edge is drawn within a class. The share of edges
            within a class is homophily + (1 - homophily) / num_classes, less what saturated hubs
            lose to repeated pairs.
        exponent: Exponent of the degree distribution, above 2.
        separation: Distance of a class mean from the origin in units of the noise.

    Returns:
        Data with x [N, F] float32, y [N] long, edge_index [2, num_edges] long as
        `power_law_graph` gives it, and num_classes.

    Raises:
        InputError: For sizes that no simple graph can have, or a parameter out of its range.
    """
    pairs = _check_sizes(num_nodes, num_edges, exponent)
    if not 1 <= num_classes <= num_nodes:
        raise InputError("num_classes", num_classes, f"use 1 to num_nodes = {num_nodes}")
    if num_features < 1:
        raise InputError("num_features", num_features, "use at least 1")
    if not 0.0 <= homophily <= 1.0:
        raise InputError("homophily", homophily, "use a probability in [0, 1]")
    if not 0.0 <= separation < float("inf"):
        raise InputError("separation", separation, "use a finite number of at least 0")
    rng = numpy_rng(seed)
    label = rng.permutation(np.arange(num_nodes, dtype=np.int64) % num_classes)
    weight = _power_law_weights(num_nodes, exponent, rng)
    # Nodes in class order: a class is then one interval of the cumulative weights.
    order = np.argsort(label, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(weight[order])])
    bounds = cumulative[np.searchsorted(label[order], np.arange(num_classes + 1))]

    def ends(
        low: NDArray[np.float64] | float, high: NDArray[np.float64] | float, count: int
    ) -> NDArray[np.int64]:
        target = low + rng.random(count) * (high - low)
        place = np.searchsorted(cumulative, target, side="right") - 1
        picked: NDArray[np.int64] = order[np.clip(place, 0, num_nodes - 1)]
        return picked

    def draw(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = ends(0.0, float(cumulative[-1]), count)
        within = rng.random(count) < homophily
        group = label[first]
        low = np.where(within, bounds[group], 0.0)
        high = np.where(within, bounds[group + 1], cumulative[-1])
        return first, ends(low, high, count)

    edge_index = _both_directions(_distinct_pairs(draw, num_nodes, pairs, rng), num_nodes)
    scale = separation / np.sqrt(num_features)
    mean = (rng.standard_normal((num_classes, num_features)) * scale).astype(np.float32)
    features = rng.standard_normal((num_nodes, num_features), dtype=np.float32)
    for start in range(0, num_nodes, _ROW_BLOCK):  # mean[label] whole would double the memory
        stop = start + _ROW_BLOCK
        features[start:stop] += mean[label[start:stop]]
    data = Data(x=torch.from_numpy(features), y=torch.from_numpy(label), edge_index=edge_index)
    data.num_classes = num_classes
    return data


def _check_sizes(num_nodes: int, num_edges: int, exponent: float) -> int:
    if num_nodes < 2:
        raise InputError("num_nodes", num_nodes, "use at least 2 nodes")
    most = num_nodes * (num_nodes - 1) // 2
    if num_edges < 0 or num_edges % 2 or num_edges > most:
        raise InputError(
            "num_edges",
            num_edges,
            f"use an even number of directed entries from 0 to {most}, half of all pairs",
        )
    if not exponent > 2.0:
        raise InputError("exponent", exponent, "use a number above 2")
    return num_edges // 2


def _power_law_weights(
    num_nodes: int, exponent: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    weight = (np.arange(num_nodes) + _RANK_OFFSET) ** (-1.0 / (exponent - 1.0))
    shuffled: NDArray[np.float64] = rng.permutation(weight)
    return shuffled


def _distinct_pairs(
    draw: _Draw, num_nodes: int, pairs: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw until `pairs` distinct unordered pairs are there; each as the key low * N + high."""
    keys = np.empty(0, dtype=np.int64)
    for _ in range(_MAX_ROUNDS):
        missing = pairs - keys.size
        if missing <= 0:
            break
        first, second = draw(missing + missing // 4 + 16)
        low, high = np.minimum(first, second), np.maximum(first, second)
        fresh = (low * num_nodes + high)[low != high]
        keys = np.concatenate([keys, fresh])
        keys.sort()  # np.unique hashes integers, which takes 20 times as long here
        keys = keys[np.diff(keys, prepend=-1) > 0]
    else:
        raise InputError(
            "num_edges", 2 * pairs, "use fewer edges: the heaviest nodes are already saturated"
        )
    surplus = keys.size - pairs
    if surplus:
        keys = np.delete(keys, rng.choice(keys.size, size=surplus, replace=False))
    return keys


def _both_directions(keys: NDArray[np.int64], num_nodes: int) -> Tensor:
    low, high = np.divmod(keys, num_nodes)
    both = np.concatenate([keys, high * num_nodes + low])
    del low, high
    both.sort()
    edge_index = np.empty((2, both.size), dtype=np.int64)
    np.divmod(both, num_nodes, out=(edge_index[0], edge_index[1]))
    return torch.from_numpy(edge_index)
