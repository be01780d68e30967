"""SciPy views of a graph for the noise models: undirected adjacency and features."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.sparse import Adjacency


def undirected_adjacency(data: Any) -> sp.csr_array:
    """Return the 0/1 adjacency ``[N, N]``: symmetrised, without self-loops or duplicate edges."""
    return Adjacency.from_edges(data.edge_index, int(data.num_nodes)).towards("both").matrix


def feature_matrix(x: Tensor) -> Any:
    """Return features ``[N, d]`` in float64: CSR if at most 10 % are non-zero, else an array."""
    if x.layout != torch.strided:
        coo = x.detach().cpu().to_sparse().coalesce()
        rows, columns = coo.indices().numpy()
        values = coo.values().double().numpy()
        return sp.csr_array((values, (rows, columns)), shape=tuple(coo.shape))
    dense = x.detach().cpu().double().numpy()
    return sp.csr_array(dense) if np.count_nonzero(dense) <= 0.1 * dense.size else dense
