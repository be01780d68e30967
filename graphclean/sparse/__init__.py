"""Sparse scatter kernels: the normalised adjacency and what is computed with it."""

from graphclean.sparse.closed_walks import closed_walk_diagonal
from graphclean.sparse.hops import HopOperator
from graphclean.sparse.propagator import CsrProduct, Propagator, to_torch_csr

__all__ = ["CsrProduct", "HopOperator", "Propagator", "closed_walk_diagonal", "to_torch_csr"]
