"""Closed-walk diagonals of an operator: computed once per graph, exactly or estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse import kernels
from graphclean.sparse.closed_walks import closed_walk_diagonal, closed_walk_work
from graphclean.sparse.product import to_torch_csr
from graphclean.sparse.propagator import Propagator, scaled
from graphclean.sparse.walk_estimate import Product, estimate_closed_walks
from graphclean.types import InputError

DiagonalMode = Literal["auto", "exact", "estimate"]

_ALWAYS_EXACT = 2
_EXACT_BY_DEFAULT = 3
_ESTIMATED_BEYOND = 5


class Diagonal(NamedTuple):
    r"""The diagonal of :math:`S^k` and, where it was estimated, its standard error.

    Attributes:
        values: ``[N]``, float64, on the CPU.
        error: ``[N]``, float64; None if ``values`` are exact.
    """

    values: Tensor
    error: Tensor | None


def walk_diagonals(
    propagator: Propagator,
    hops: Sequence[int],
    *,
    mode: DiagonalMode = "auto",
    budget: float = 2e9,
    probes: int = 64,
    seed: int = 0,
) -> list[Diagonal]:
    r"""Return :math:`\mathrm{diag}(S^k)` of an operator without self-loops for several k.

    The operators :math:`D^{-1} A` and :math:`A D^{-1}` of a symmetric A are similar to
    :math:`D^{-1/2} A D^{-1/2}` and have its diagonals. Those are kept with the adjacency and serve
    all three; a directed graph's are kept with the operator.

    Args:
        propagator: S.
        hops: Powers k >= 1.
        mode: ``"exact"``; ``"estimate"``, from the third power on; ``"auto"``, which estimates the
            fourth and fifth power if the exact ones cost more than ``budget``, and all higher ones.
        budget: Multiplications allowed per power; 1e9 take 10 to 60 seconds on one core.
        probes: Random vectors of the estimate.
        seed: Seed of the random vectors.

    Raises:
        InputError: The mode is unknown, or the estimate's options are out of range.
    """
    if mode not in get_args(DiagonalMode):
        raise InputError("diagonal", mode, "Choose 'auto', 'exact' or 'estimate'.")
    walks = _Walks(propagator)
    exact = {hop: _is_exact(walks, hop, mode, budget) for hop in hops}
    walks.estimate([hop for hop in exact if not exact[hop]], probes, seed)
    return [walks.exact(hop) if exact[hop] else walks.memo[hop, probes, seed] for hop in hops]


def _is_exact(walks: _Walks, hop: int, mode: DiagonalMode, budget: float) -> bool:
    if mode == "exact" or hop <= _ALWAYS_EXACT:
        return True
    if mode == "estimate":
        return False
    if hop <= _EXACT_BY_DEFAULT or hop in walks.memo:
        return True
    return hop <= _ESTIMATED_BEYOND and walks.work(hop) <= budget


class _Walks:
    """Closed walks of one operator, looked up in the memo of what they depend on."""

    def __init__(self, propagator: Propagator) -> None:
        self._propagator = propagator
        self._matrix: sp.csr_array | None = None
        adjacency = propagator.adjacency
        self._symmetric = bool(adjacency.is_symmetric)
        home = adjacency.memo if self._symmetric else propagator.memo
        self.memo: dict[Any, Any] = home.setdefault(
            ("closed walks", "plain" if propagator.norm == "none" else "normalised"), {}
        )

    def exact(self, hop: int) -> Diagonal:
        if hop not in self.memo:
            self.memo[hop] = Diagonal(self._diagonal(hop), None)
        found: Diagonal = self.memo[hop]
        return found

    def _diagonal(self, hop: int) -> Tensor:
        device = self._propagator.device
        if hop == 3 and self._symmetric and kernels.available(device):
            csr = to_torch_csr(self._form(), torch.float64).to(device)
            parts = (csr.crow_indices(), csr.col_indices(), csr.values())
            return kernels.triangle_diagonal(*parts).cpu()
        return torch.from_numpy(closed_walk_diagonal(self._form(), hop, symmetric=self._symmetric))

    def work(self, hop: int) -> float:
        key = ("work", hop)
        if key not in self.memo:
            self.memo[key] = closed_walk_work(self._form(), hop, symmetric=self._symmetric)
        return float(self.memo[key])

    def estimate(self, hops: Sequence[int], probes: int, seed: int) -> None:
        missing = [hop for hop in hops if (hop, probes, seed) not in self.memo]
        if not missing:
            return
        propagator = self._propagator
        found = estimate_closed_walks(
            self._product(),
            propagator.num_nodes,
            missing,
            transposed=None if self._symmetric else self._transposed_product(),
            probes=probes,
            seed=seed,
            dtype=propagator.dtype,
            device=propagator.device,
        )
        for hop, estimate in found.items():
            self.memo[hop, probes, seed] = Diagonal(*estimate)

    def _form(self) -> sp.csr_array:
        """Return S, or the symmetric matrix that it is similar to."""
        if self._matrix is None:
            propagator = self._propagator
            if self._symmetric:
                scale = np.sqrt(propagator.left * propagator.right)
                self._matrix = scaled(propagator.adjacency.matrix, scale, scale)
            else:
                self._matrix = propagator.matrix
        return self._matrix

    def _product(self) -> Product:
        propagator = self._propagator
        if propagator.is_symmetric or not self._symmetric:
            return lambda x: propagator @ x
        linked = propagator.left * propagator.right > 0
        ratio = np.divide(propagator.right, propagator.left, np.ones(len(linked)), where=linked)
        scale = torch.from_numpy(np.sqrt(ratio)).to(propagator.device, propagator.dtype)[:, None]
        return lambda x: scale * (propagator @ (x / scale))

    def _transposed_product(self) -> Product:
        """Return the product with the transpose, from SciPy: mapped operators keep no transpose."""
        transposed = self._propagator.matrix.T
        return lambda x: torch.from_numpy(transposed @ x.double().cpu().numpy()).to(x)
