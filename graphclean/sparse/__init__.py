"""Sparse scatter kernels: the normalised adjacency and what is computed with it."""

from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.backend import backend_for, backend_info, spmm, use_backend
from graphclean.sparse.closed_walks import closed_walk_diagonal
from graphclean.sparse.hops import HopOperator
from graphclean.sparse.product import CsrProduct, to_torch_csr
from graphclean.sparse.propagator import Propagator

__all__ = [
    "Adjacency",
    "CsrProduct",
    "HopOperator",
    "Propagator",
    "backend_for",
    "backend_info",
    "closed_walk_diagonal",
    "spmm",
    "to_torch_csr",
    "use_backend",
]
