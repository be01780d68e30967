"""A graph's edges as one CSR matrix, built once per graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from graphclean.types import InputError

Direction = Literal["in", "out", "both"]

_ROUNDING = 1e-12
"""Weights that differ less, relative to the larger one, count as equal in both directions."""


class Adjacency:
    """Adjacency matrix A ``[N, N]``: row i holds the sources of the edges that point at i.

    Self-loops are removed: through them a node's own label would judge itself. Parallel edges are
    merged: weights add up, unweighted edges count once.

    Args:
        matrix: Square CSR array without loops and duplicates, columns sorted; it is kept, not
            copied.
        weighted: False if every entry is 1.
        is_symmetric: Whether A is its own transpose; None to find out when it is first asked for.

    Attributes:
        matrix: A as ``scipy.sparse.csr_array``, float64, int32 indices where they fit.
        weighted: Whether there are other entries than 1.
        memo: Results that depend on the graph alone, by a key of their own.
    """

    def __init__(
        self, matrix: sp.csr_array, *, weighted: bool, is_symmetric: bool | None = None
    ) -> None:
        self.matrix = matrix
        self.weighted = weighted
        self.memo: dict[Any, Any] = {}
        if is_symmetric is not None:
            self.__dict__["is_symmetric"] = is_symmetric

    @classmethod
    def from_edges(
        cls, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None
    ) -> Self:
        """Build from edges ``[2, E]`` (source, target) and non-negative weights ``[E]``.

        Raises:
            InputError: An edge names a node outside ``0..num_nodes - 1``.
        """
        if edge_index.shape[1]:
            low, high = (int(extreme) for extreme in edge_index.aminmax())
            if low < 0 or high >= num_nodes:
                wrong = low if low < 0 else high
                raise InputError("edge_index", wrong, f"Number the nodes 0..{num_nodes - 1}.")
        small: Any = np.int32 if max(num_nodes, edge_index.shape[1]) < 2**31 else np.int64
        source, target = edge_index.detach().cpu().numpy().astype(small)
        keep = source != target
        weight = np.ones(int(keep.sum()))
        if edge_weight is not None:
            weight = edge_weight.detach().cpu().double().numpy().reshape(-1)[keep]
        entries = (weight, (target[keep], source[keep]))
        matrix = sp.coo_array(entries, shape=(num_nodes, num_nodes)).tocsr()
        if edge_weight is None:
            matrix.data[:] = 1.0
        else:
            matrix.eliminate_zeros()
        matrix.sort_indices()
        return cls(matrix, weighted=edge_weight is not None)

    @classmethod
    def of(cls, data: Any) -> Self:
        """Return the adjacency of a PyG ``Data``; the same object for the same edge tensors.

        It is kept as long as ``data.edge_index`` lives and forgotten when torch changes the edges
        or weights in place. A change behind torch's back, through a NumPy view, is not seen.
        """
        return cls.and_operators(data)[0]

    @classmethod
    def and_operators(cls, data: Any) -> tuple[Self, dict[Any, Any]]:
        """Return ``of(data)`` and the operators that were made of it, by their options.

        They are not held by the adjacency, which they hold: all go with the edge tensor at once.
        """
        edges, weight = data.edge_index, data.edge_weight if "edge_weight" in data else None
        size = int(data.num_nodes)
        state = (size, _version(edges), _version(weight))
        known = _built.get(edges)
        if known is not None and known.state == state and known.weight() is weight:
            return known.adjacency, known.operators
        adjacency = cls.from_edges(edges, size, weight)
        operators: dict[Any, Any] = {}
        if None not in state:
            held = _none if weight is None else weakref.ref(weight)
            _built[edges] = _Built(state, held, adjacency, operators)
        return adjacency, operators

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return int(self.matrix.shape[0])

    @property
    def num_edges(self) -> int:
        """Number of entries: every undirected edge counts twice."""
        return int(self.matrix.nnz)

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of edges that point at every node ``[N]``, int64."""
        degree: np.ndarray = np.diff(self.matrix.indptr).astype(np.int64)
        return degree

    @cached_property
    def transposed(self) -> sp.csr_array:
        r""":math:`A^\top` as CSR; ``matrix`` itself if A is symmetric."""
        return self.matrix if self.is_symmetric else self._transpose

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether every edge runs both ways with the same weight."""
        other, own = self._transpose, self.matrix
        symmetric = (
            np.array_equal(own.indptr, other.indptr)
            and np.array_equal(own.indices, other.indices)
            and (not self.weighted or np.allclose(own.data, other.data, rtol=_ROUNDING, atol=0.0))
        )
        if symmetric:
            del self.__dict__["_transpose"]
        return bool(symmetric)

    @cached_property
    def _transpose(self) -> sp.csr_array:
        transpose = self.matrix.T.tocsr()
        transpose.sort_indices()
        return transpose

    def towards(self, direction: Direction) -> Adjacency:
        """Return A (``"in"``), its transpose (``"out"``) or the undirected graph (``"both"``).

        The undirected graph of a directed one has :math:`A + A^T`, without weights each edge once.

        Raises:
            InputError: The direction is unknown.
        """
        if direction not in ("in", "out", "both"):
            raise InputError("direction", direction, "Choose 'in', 'out' or 'both'.")
        if direction == "in" or self.is_symmetric:
            return self
        if direction not in self.memo:
            self.memo[direction] = self._turned(direction)
        turned: Adjacency = self.memo[direction]
        return turned

    def with_loops(self) -> sp.csr_array:
        """Return A + I as CSR."""
        if "loops" not in self.memo:
            looped = (self.matrix + sp.eye_array(self.num_nodes, format="csr")).tocsr()
            looped.sort_indices()
            self.memo["loops"] = looped
        return self.memo["loops"]

    def _turned(self, direction: Direction) -> Adjacency:
        if direction == "out":
            return Adjacency(self.transposed, weighted=self.weighted, is_symmetric=False)
        merged = (self.matrix + self.transposed).tocsr()
        merged.sort_indices()
        if not self.weighted:
            merged.data[:] = 1.0
        return Adjacency(merged, weighted=self.weighted, is_symmetric=True)

    def __getstate__(self) -> dict[str, Any]:
        # What was derived is made again where it is needed rather than sent along.
        return {**self.__dict__, "memo": {}}

    def __repr__(self) -> str:
        return (
            f"Adjacency(num_nodes={self.num_nodes}, num_edges={self.num_edges}, "
            f"weighted={self.weighted})"
        )


@dataclass(frozen=True, eq=False)
class _Built:
    """What one edge tensor was turned into, and the state that it was in."""

    state: tuple[int | None, ...]
    weight: Callable[[], Tensor | None]
    adjacency: Any
    operators: dict[Any, Any]


_built: Any = WeakIdKeyDictionary()


def _version(tensor: Tensor | None) -> int | None:
    """Return how often torch changed a tensor in place; None where torch does not count."""
    if tensor is None:
        return 0
    return None if tensor.is_inference() else int(tensor._version)


def _none() -> None:
    """Stand in for a weak reference to no weights."""
