"""What all fits on one graph share: features and adjacency, made once and free of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphclean.nn.features import Collected, Features
from graphclean.nn.matrix import SparseMatrix
from graphclean.sparse.propagator import Propagator


@dataclass(frozen=True, eq=False)
class Prepared:
    """Label-free inputs of a network; made by ``NodeClassifier.prepare``.

    Attributes:
        x: Node features ``[N, F]``, raw or propagated, or collected for a first layer.
        adj: The adjacency the network reads: an operator, a sparse matrix, a list of one per layer
            for a sample of the neighbours, or None for a network that reads each row on its own.
        basis: Directions ``[D, F]`` that raw features were reduced to, if they were.
    """

    x: Features | Collected
    adj: Propagator | SparseMatrix | list[SparseMatrix] | None = None
    basis: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes N."""
        return int(self.x.shape[0])

    @property
    def num_features(self) -> int:
        """Number of features F."""
        return int(self.x.shape[1])

    def rows(self, rows: Tensor | slice) -> Prepared:
        """Return some rows, by node id ``[n]`` or as a slice, without their adjacency."""
        return Prepared(self.x[rows] if isinstance(self.x, Tensor) else self.x.rows(rows))

    def to(self, device: torch.device | str) -> Prepared:
        """Return a copy on ``device``; the CPU copy is the object itself."""
        if torch.device(device).type == "cpu":
            return self
        adj: Any = self.adj
        return Prepared(self.x.to(device), None if adj is None else adj.to(device), self.basis)
