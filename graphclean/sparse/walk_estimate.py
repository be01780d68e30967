"""Estimated diagonals of matrix powers, where exact ones cost too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graphclean.types import InputError, torch_rng

_PROBE_BLOCK = 16
"""Probes that walk together; fixed, so that results do not depend on the memory at hand."""

Product = Callable[[Tensor], Tensor]


def estimate_closed_walks(
    product: Product,
    num_nodes: int,
    hops: Sequence[int],
    *,
    transposed: Product | None = None,
    probes: int = 64,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> dict[int, tuple[Tensor, Tensor]]:
    r"""Estimate :math:`\mathrm{diag}(S^k)` for several k, with standard errors.

    With independent random signs :math:`z \in \{-1, 1\}^N`, a = ceil(k / 2), b = floor(k / 2),

    .. math::
        \hat d_i = \frac{1}{m} \sum_{z} (S^a z)_i \, ((S^\top)^b z)_i, \qquad
        E[\hat d_i] = \sum_j (S^a)_{ij} (S^b)_{ji} = (S^k)_{ii}

    For even k of a symmetric S every term is a square: its relative spread is at most
    :math:`\sqrt 2`, whereas Hutchinson's :math:`z_i (S^k z)_i` drowns small diagonals in noise.
    The standard error is the probes' sample deviation over :math:`\sqrt m`.

    Args:
        product: ``S @ x`` for ``x`` ``[N, m]``.
        num_nodes: N.
        hops: Powers k >= 1.
        transposed: ``S^T @ x``; None if S is symmetric.
        probes: m >= 2; the error falls with its square root.
        seed: Seed of the probes; the same on every device.
        dtype: Of the vectors that walk; sums are float64.
        device: Of the vectors that walk.

    Returns:
        For every k the estimate and its standard error, ``[N]`` each, float64 on the CPU.

    Raises:
        InputError: Fewer than two probes, or a power below one.
    """
    if probes < 2:
        raise InputError("probes", probes, "Pass at least 2: one has no standard error.")
    if min(hops) < 1:
        raise InputError("hops", min(hops), "Pass positive integers.")
    generator = torch_rng(seed)
    zeros = torch.zeros(num_nodes, dtype=torch.float64, device=device)
    sums = {hop: (zeros.clone(), zeros.clone()) for hop in hops}
    for start in range(0, probes, _PROBE_BLOCK):
        shape = (min(_PROBE_BLOCK, probes - start), num_nodes)
        signs = torch.randint(0, 2, shape, generator=generator).to(device=device, dtype=dtype)
        left = right = (2.0 * signs - 1.0).T.contiguous()
        for hop in range(1, max(hops) + 1):
            if hop % 2:
                left = product(left)
            else:
                right = left if transposed is None else transposed(right)
            if hop in sums:
                terms = left.double() * right.double()
                sums[hop][0].add_(terms.sum(dim=1))
                sums[hop][1].add_((terms**2).sum(dim=1))
    return {hop: _mean_and_error(*sums[hop], probes) for hop in hops}


def _mean_and_error(total: Tensor, squares: Tensor, probes: int) -> tuple[Tensor, Tensor]:
    mean = total / probes
    variance = (squares / probes - mean**2).clamp_min(0.0) / (probes - 1)
    return mean.cpu(), variance.sqrt().cpu()
