"""k-hop neighbourhood distributions that exclude the node itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from graphclean.sparse.propagator import Propagator
from graphclean.sparse.walk_diagonals import DiagonalMode, walk_diagonals
from graphclean.types import InputError

_WORKING_BYTES = 1 << 30
"""Memory that the columns which walk together may take."""

_BUFFERS = 4
"""Matrices of the size of a block that are alive at once: input, walk, product and difference."""

_Columns = Callable[[int, int], Tensor]


class HopOperator:
    r"""Self-excluded powers :math:`M_k = S^k - \mathrm{diag}(S^k)` for k = 1..K, matrix-free.

    .. math::
        M_k X = S(S(\dots S X)) - \mathrm{diag}(S^k) \circ X

    A walk that returns to its start would hand a node its own label; removing the diagonal is what
    keeps a neighbourhood score free of the label that it judges (GraphCleaner, arXiv 2306.00015).
    No power of S is ever stored. The diagonals depend on the graph alone: they are computed once
    and kept with it, for all operators, labels and seeds.

    An estimated diagonal :math:`\hat d_k` with standard error e leaves
    :math:`(d_k - \hat d_k) \circ X` in the result: an entry :math:`(i, c)` is off by about
    :math:`e_i X_{ic}`, so that much of a node's own label still reaches its own score.

    Args:
        propagator: The operator S, without self-loops.
        hops: K >= 1.
        exclude_self: False keeps the diagonal. This exists for the ablation that shows the leak;
            never use it to judge labels.
        variant: ``"exact"``, or ``"official"`` for what the authors' code computes at k = 4 and 5:
            :math:`M_4 = S M_3 - \mathrm{diag}(S^4)`, and the same again for k = 5.
        diagonal: ``"auto"``: exact up to k = 3, for k = 4 and 5 while the exact ones take at most
            ``budget`` multiplications, else estimated. ``"exact"``, whatever it costs.
            ``"estimate"``: estimated from k = 3 on.
        budget: Multiplications per power; 1e9 take 10 to 60 seconds on one core, once per graph.
        probes: Random vectors of the estimate. 64 leave some 10 % of an even power's diagonal, and
            of an odd power's, which is mostly far smaller, an error of about that size.
        seed: Seed of the random vectors.

    Attributes:
        diagonals: K tensors ``[N]`` that are subtracted, in the operator's dtype, on its device.
        diagonal_errors: K standard errors ``[N]``, likewise; None where the diagonal is exact.

    Raises:
        InputError: A propagator with self-loops, ``hops`` < 1 or, as published, > 5, an unknown
            variant or diagonal, or fewer than two probes to estimate with.
    """

    def __init__(
        self,
        propagator: Propagator,
        hops: int = 3,
        *,
        exclude_self: bool = True,
        variant: Literal["exact", "official"] = "exact",
        diagonal: DiagonalMode = "auto",
        budget: float = 2e9,
        probes: int = 64,
        seed: int = 0,
    ) -> None:
        if hops < 1:
            raise InputError("hops", hops, "Pass a positive integer.")
        if variant not in ("exact", "official"):
            raise InputError("variant", variant, "Choose 'exact' or 'official'.")
        if variant == "official" and hops > 5:
            raise InputError("hops", hops, "The official code has at most 5: use variant='exact'.")
        if propagator.self_loops:
            raise InputError(
                "propagator", "has self-loops", "Build it with self_loops=False: they leak labels."
            )
        self.propagator = propagator
        self.hops = hops
        self.exclude_self = exclude_self
        self.variant = variant
        powers = list(range(1, hops + 1))
        if variant == "official" and hops == 5:
            powers[4] = 4
        found = walk_diagonals(
            propagator, powers, mode=diagonal, budget=budget, probes=probes, seed=seed
        )
        device, dtype = propagator.device, propagator.dtype
        self.diagonals = [each.values.to(device, dtype) for each in found]
        self.diagonal_errors = [
            None if each.error is None else each.error.to(device, dtype) for each in found
        ]

    def powers(self, x: Tensor) -> Iterator[Tensor]:
        r"""Yield :math:`M_1 X, \dots, M_K X` for ``X`` ``[N, F]``, each ``[N, F]``."""
        return self._walk(x, None)

    def at(self, x: Tensor, query: Tensor, *, column_block: int | None = None) -> Tensor:
        """Return the entries of :math:`M_k X` at each node's queried columns.

        Args:
            x: Dense ``[N, C]``: one-hot labels or class probabilities.
            query: Columns per node ``[N]`` or ``[N, Q]``, long, in ``0..C-1``.
            column_block: Columns that walk together; None takes as many as fit into 1 GiB. The
                result does not depend on it.

        Returns:
            ``[N, K]`` or ``[N, K, Q]``, same dtype as ``x``.

        Raises:
            InputError: A queried column does not exist, or a shape or block size is wrong.
        """
        return self._entries([lambda a, b: x[:, a:b]], x, query, column_block)

    def features(
        self, labels: Tensor, probs: Tensor, query: Tensor, *, column_block: int | None = None
    ) -> Tensor:
        r"""Return how far neighbours' predictions and labels agree with the queried labels.

        GraphCleaner's features of hops 1..K, :math:`(M_k P)_{i, q_i}` and :math:`(M_k Y)_{i, q_i}`;
        labels and predictions share one product per hop.

        Args:
            labels: Given labels ``[N]``, long, -1 = unlabelled, or one-hot ``[N, C]``, float.
            probs: Class probabilities P ``[N, C]``.
            query: Labels to judge, ``[N]`` or several per node ``[N, Q]``, long, in ``0..C-1``.
            column_block: Classes that walk together; None takes as many as fit into 1 GiB.

        Returns:
            ``[N, 2K]`` or ``[N, 2K, Q]``, same dtype as ``probs``: predictions at hops 1..K, then
            labels at hops 1..K.

        Raises:
            InputError: A label or queried column does not exist, or a shape or block size is wrong.
        """
        if labels.dim() == 1:
            _check_range("labels", labels, -1, probs.shape[1])

        def label_columns(start: int, stop: int) -> Tensor:
            if labels.dim() == 2:
                return labels[:, start:stop].to(probs.dtype)
            classes = torch.arange(start, stop, device=labels.device)
            return (labels.unsqueeze(1) == classes).to(probs.dtype)

        sources: list[_Columns] = [lambda a, b: probs[:, a:b], label_columns]
        return self._entries(sources, probs, query, column_block)

    def _entries(
        self, sources: Sequence[_Columns], like: Tensor, query: Tensor, column_block: int | None
    ) -> Tensor:
        """Return the queried entries of several matrices ``[N, C]``, given by column blocks."""
        nodes, width = like.shape
        if query.dim() not in (1, 2) or len(query) != nodes:
            raise InputError("query", f"shape {tuple(query.shape)}", f"Pass [{nodes}, Q].")
        _check_range("query", query, 0, width)
        if column_block is None:
            per_column = _BUFFERS * len(sources) * max(nodes, 1) * like.element_size()
            column_block = max(1, _WORKING_BYTES // per_column)
        if column_block < 1:
            raise InputError("column_block", column_block, "Pass a positive integer, or None.")
        columns = query if query.dim() == 2 else query.unsqueeze(1)
        found = like.new_zeros(nodes, len(sources), self.hops, columns.shape[1])
        for start in range(0, width, column_block):
            stop = min(start + column_block, width)
            block = torch.cat([source(start, stop) for source in sources], dim=1)
            inside = (columns >= start) & (columns < stop)
            local = (columns - start).clamp(0, stop - start - 1)
            place = torch.cat([local + i * (stop - start) for i in range(len(sources))], dim=1)
            entries = torch.stack(list(self._walk(block, place)), dim=1)
            entries = entries.view(nodes, self.hops, len(sources), columns.shape[1]).transpose(1, 2)
            found = torch.where(inside[:, None, None, :], entries, found)
        found = found.flatten(1, 2)
        return found if query.dim() == 2 else found.squeeze(2)

    def _walk(self, x: Tensor, columns: Tensor | None) -> Iterator[Tensor]:
        """Yield every hop's result ``[N, F]``, or only its entries at ``columns`` ``[N, Q]``."""
        distinct = min(self.hops, 4) if self.variant == "official" else self.hops
        own = x if columns is None else x.gather(1, columns)
        walked = x
        for hop in range(1, distinct + 1):
            if columns is not None and hop == distinct:
                found = self.propagator.entries(walked, columns)
            else:
                walked = self.propagator @ walked
                found = walked if columns is None else walked.gather(1, columns)
            found = self._without_self(found, hop, own)
            yield found
            if self.variant == "official" and hop == 3:
                walked = self._without_self(walked, hop, x)
        for _ in range(distinct, self.hops):
            yield found

    def _without_self(self, walked: Tensor, hop: int, x: Tensor) -> Tensor:
        if not self.exclude_self:
            return walked
        return walked - self.diagonals[hop - 1].unsqueeze(1) * x


def _check_range(argument: str, labels: Tensor, lowest: int, classes: int) -> None:
    wrong = labels[(labels < lowest) | (labels >= classes)]
    if len(wrong):
        raise InputError(argument, int(wrong[0]), f"Number the columns {lowest}..{classes - 1}.")
