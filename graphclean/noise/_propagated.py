"""Features smoothed over two hops and reduced, with no look at a label."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from graphclean.noise._graph import feature_matrix
from graphclean.sparse import Propagator
from graphclean.types import InputError, Seed, numpy_rng

_SPARE, _ROUNDS = 10, 4
"""Extra directions and subspace iterations of the randomised decomposition."""


def propagated_features(graph: Any, components: int, seed: Seed) -> np.ndarray:
    r"""Return the leading principal directions of :math:`\hat S^2 X`.

    :math:`\hat S = \tilde D^{-1/2} (A + I) \tilde D^{-1/2}`; the truncated singular value
    decomposition (Halko et al., 2011) multiplies with the sparse factors, so that neither a dense X
    nor :math:`\hat S^2 X` is made.

    Args:
        graph: Checked ``Data``.
        components: Directions k >= 1; at most as many as features and nodes are kept.
        seed: Seed of the decomposition.

    Returns:
        :math:`U_k \Sigma_k` ``[N, k]``, float64.

    Raises:
        InputError: ``components`` is not a positive integer.
    """
    if not isinstance(components, (int, np.integer)) or components < 1:
        raise InputError("components", components, "Pass an integer >= 1.")
    x = feature_matrix(graph.x)
    smooth = Propagator.from_data(
        graph, norm="sym", self_loops=True, direction="both", dtype=torch.float64
    ).matrix
    size = min(int(components) + _SPARE, *x.shape)
    basis = numpy_rng(seed).standard_normal((x.shape[1], size))
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(basis)
        basis = x.T @ (smooth @ (smooth @ (smooth @ (smooth @ (x @ basis)))))
    basis, _ = np.linalg.qr(basis)
    left, singular, _ = np.linalg.svd(smooth @ (smooth @ (x @ basis)), full_matrices=False)
    return np.asarray((left * singular)[:, : int(components)], dtype=np.float64)
