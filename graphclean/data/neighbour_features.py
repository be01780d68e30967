"""What the neighbours of a node look like: their numbers and categories, never their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.reductions import neighbour_max, neighbour_min
from graphclean.types import InputError

NEIGHBOUR_STATISTICS = ("mean", "max", "min")

_BLOCK = 2**23
"""Nodes times columns that are worked on at once: 64 MB in double precision."""


def undirected(data: Any) -> Adjacency:
    """Return the undirected graph without self-loops, kept as long as ``data.edge_index`` lives."""
    return Adjacency.of(data).towards("both")


def check_statistics(neighbours: tuple[str, ...]) -> None:
    """Raise InputError unless every entry is one of ``"mean"``, ``"max"``, ``"min"``, once."""
    known = isinstance(neighbours, (tuple, list)) and set(neighbours) <= set(NEIGHBOUR_STATISTICS)
    if not known or len(set(neighbours)) != len(neighbours):
        raise InputError("neighbours", neighbours, "Pass some of ('mean', 'max', 'min').")


def neighbour_statistic(graph: Adjacency, values: np.ndarray, statistic: str) -> np.ndarray:
    r"""Mean, largest or smallest known value among the neighbours; edge weights play no part.

    .. math::
        m_{if} = \frac{1}{|K_{if}|} \sum_{j \in K_{if}} x_{jf}, \quad
        K_{if} = \{j \in N(i) : x_{jf} \text{ is known}\}

    and the maximum or minimum over :math:`K_{if}`.

    Args:
        graph: Row i holds the neighbours of i.
        values: Float ``[N, F]``, NaN = missing.
        statistic: ``"mean"``, ``"max"`` or ``"min"``.

    Returns:
        Float32 ``[N, F]``; NaN where no neighbour has a value.
    """
    found = np.empty(values.shape, dtype=np.float32)
    width = max(_BLOCK // max(len(values), 1), 1)
    for first in range(0, values.shape[1], width):
        block = slice(first, first + width)
        found[:, block] = _statistic(graph, values[:, block], statistic)
    return found


def neighbour_shares(graph: Adjacency, levels: np.ndarray, wanted: list[str]) -> np.ndarray:
    r"""Share of each level of a category among the neighbours whose level is known.

    .. math:: s_{il} = |\{j \in N(i) : c_j = l\}| \,/\, |\{j \in N(i) : c_j \text{ is known}\}|

    Args:
        graph: Row i holds the neighbours of i.
        levels: Object ``[N]`` of strings, None = missing.
        wanted: The ``L`` levels to count.

    Returns:
        Float32 ``[N, L]``; NaN where the level of no neighbour is known.
    """
    place = {level: number for number, level in enumerate(wanted)}
    codes = np.fromiter(
        (-1 if level is None else place.get(level, len(wanted)) for level in levels), np.int64
    )
    known = np.flatnonzero(codes >= 0)
    # One column more than wanted: all other levels, which count below the line only.
    shape = (len(levels), len(wanted) + 1)
    hot = sp.csr_array((np.ones(len(known)), (known, codes[known])), shape=shape)
    counts = (_structure(graph) @ hot).toarray()
    total = counts.sum(axis=1, keepdims=True)
    shares = counts[:, :-1] / np.maximum(total, 1.0)
    return np.where(total > 0, shares, np.nan).astype(np.float32)


def _statistic(graph: Adjacency, values: np.ndarray, statistic: str) -> np.ndarray:
    known = ~np.isnan(values)
    structure = _structure(graph)
    if known.all():
        counts = graph.degree[:, None].astype(np.float64)
    else:
        counts = structure @ known.astype(np.float64)
    if statistic == "mean":
        sums = structure @ np.where(known, values, 0.0).astype(np.float64)
        found = sums / np.maximum(counts, 1.0)
    else:
        last = np.finfo(np.float32).max  # missing values come after all others
        reduce, fill = (neighbour_max, -last) if statistic == "max" else (neighbour_min, last)
        filled = np.where(known, values, fill).astype(np.float32)
        found = reduce(graph, torch.from_numpy(filled)).numpy()
    return np.where(counts > 0, found, np.nan)


def _structure(graph: Adjacency) -> sp.csr_array:
    matrix = graph.matrix
    if not graph.weighted:
        return matrix
    ones = np.ones(len(matrix.data))
    return sp.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
