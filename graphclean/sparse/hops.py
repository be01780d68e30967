"""k-hop neighbourhood distributions that exclude the node itself."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from graphclean.sparse.closed_walks import closed_walk_diagonal
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError


class HopOperator:
    r"""Self-excluded powers :math:`M_k = S^k - \mathrm{diag}(S^k)` for k = 1..K, matrix-free.

    .. math::
        M_k X = S(S(\dots S X)) - \mathrm{diag}(S^k) \circ X

    A walk that returns to its start would hand a node its own label; removing the diagonal is what
    keeps a neighbourhood score free of the label that it judges (GraphCleaner, arXiv 2306.00015).
    The diagonals depend on the graph alone and are computed once.

    Args:
        propagator: The operator S, without self-loops.
        hops: K >= 1.
        exclude_self: False keeps the diagonal. This exists for the ablation that shows the leak;
            never use it to judge labels.

    Raises:
        InputError: ``hops`` < 1 or a propagator with self-loops.
    """

    def __init__(self, propagator: Propagator, hops: int = 3, *, exclude_self: bool = True) -> None:
        if hops < 1:
            raise InputError("hops", hops, "Pass a positive integer.")
        if propagator.self_loops:
            raise InputError(
                "propagator", "has self-loops", "Build it with self_loops=False: they leak labels."
            )
        self.propagator = propagator
        self.hops = hops
        self.exclude_self = exclude_self
        self.diagonals = [
            torch.from_numpy(closed_walk_diagonal(propagator.matrix, k)).to(propagator.dtype)
            for k in range(1, hops + 1)
        ]

    def powers(self, x: Tensor) -> Iterator[Tensor]:
        r"""Yield :math:`M_1 X, \dots, M_K X` for ``X`` ``[N, F]``, each ``[N, F]``."""
        walked = x
        for diagonal in self.diagonals:
            walked = self.propagator @ walked
            yield walked - diagonal.unsqueeze(1) * x if self.exclude_self else walked

    def at(self, x: Tensor, query: Tensor) -> Tensor:
        """Return the entries of :math:`M_k X` at each node's queried column.

        Args:
            x: Dense ``[N, C]``: one-hot labels or class probabilities.
            query: Column per node ``[N]``, long, in ``0..C-1``.

        Returns:
            ``[N, K]``, same dtype as ``x``.
        """
        column = query.unsqueeze(1)
        return torch.cat([power.gather(1, column) for power in self.powers(x)], dim=1)
