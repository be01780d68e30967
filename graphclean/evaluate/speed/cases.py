"""The graphs that speed is measured on: seeded synthetic ones and named ones, as simple graphs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.utils import remove_self_loops, to_undirected

from graphclean.data import load, num_classes
from graphclean.data.raw_files import ROOT_VARIABLE
from graphclean.evaluate.speed.graphs import power_law_graph
from graphclean.recipes import DatasetCard, get_recipe
from graphclean.types import InputError, numpy_rng

SYNTHETIC: Mapping[str, tuple[int, int, int]] = {
    "pl500": (500, 4_000, 5),
    "pl2k": (2_000, 20_000, 8),
    "pl5k": (5_000, 50_000, 10),
    "pl200k": (200_000, 4_000_000, 40),
    "photo-size": (7_650, 238_162, 8),
    "arxiv-size": (169_343, 2_315_598, 40),
    "products-size": (2_449_029, 123_718_280, 47),
}
"""Power-law graphs by name: nodes, directed entries, classes."""


@dataclass(frozen=True, eq=False)
class Case:
    """An undirected simple graph.

    Attributes:
        name: Name of the synthetic graph or of the dataset's card.
        edge_index: Both directions ``[2, E]``, sorted by row, no loops, no duplicates.
        num_nodes: N.
        num_classes: C.
        seed: Seed of what is drawn on it.
    """

    name: str
    edge_index: Tensor
    num_nodes: int
    num_classes: int
    seed: int

    @property
    def num_edges(self) -> int:
        """Directed entries E."""
        return int(self.edge_index.shape[1])

    @property
    def sizes(self) -> str:
        """Nodes and directed entries in words."""
        return f"{self.num_nodes:,} nodes, {self.num_edges:,} directed entries"

    @cached_property
    def operator(self) -> sp.csr_array:
        r""":math:`D^{-1/2} A D^{-1/2}` in float64, made here and not by what is measured."""
        return _normalised(self.edge_index, self.num_nodes, loops=False)

    @cached_property
    def operator_with_loops(self) -> sp.csr_array:
        r""":math:`\hat D^{-1/2} (A + I) \hat D^{-1/2}` in float64."""
        return _normalised(self.edge_index, self.num_nodes, loops=True)

    def features(self, columns: int) -> Tensor:
        """Return Gaussian features ``[N, columns]``, float32, the same for the same seed."""
        rng = numpy_rng(self.seed)
        return torch.from_numpy(rng.standard_normal((self.num_nodes, columns), dtype=np.float32))

    def labels(self) -> Tensor:
        """Return uniform labels ``[N]``, long."""
        return torch.from_numpy(
            numpy_rng(self.seed).integers(self.num_classes, size=self.num_nodes)
        )

    def probabilities(self) -> Tensor:
        """Return class probabilities ``[N, C]``, float32."""
        return self.features(self.num_classes).softmax(dim=1)

    def onehot(self) -> Tensor:
        """Return the labels as ``[N, C]``, float32."""
        return torch.nn.functional.one_hot(self.labels(), self.num_classes).float()


class Cases:
    """Graphs by name, each made once.

    Args:
        seed: Seed of the synthetic graphs and of what is drawn on any graph.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made: dict[str, Case] = {}

    def get(self, name: str) -> Case:
        """Return a synthetic graph, or a named one made undirected and simple.

        Raises:
            InputError: The name is neither, or the raw files of the named graph are missing.
        """
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Case:
        if name in SYNTHETIC:
            nodes, entries, classes = SYNTHETIC[name]
            edge_index = power_law_graph(nodes, entries, seed=self._seed)
            return Case(name, edge_index, nodes, classes, self._seed)
        data = load(name)
        nodes = int(data.num_nodes)
        edge_index = to_undirected(remove_self_loops(data.edge_index)[0], num_nodes=nodes)
        return Case(name, edge_index, nodes, num_classes(data), self._seed)


def check_graph(name: str) -> None:
    """Refuse a name that is neither a synthetic graph nor a card.

    Raises:
        InputError: It names what there is.
    """
    if name in SYNTHETIC:
        return
    try:
        get_recipe("datasets", name)
    except InputError as error:
        raise InputError(
            "graph",
            name,
            f"Choose a synthetic graph ({', '.join(SYNTHETIC)}) or one of: graphclean list "
            "datasets.",
        ) from error


def is_at_hand(name: str) -> bool:
    """Return whether a graph can be had without a download, for the graphs of a default run."""
    if name in SYNTHETIC:
        return True
    root = os.environ.get(ROOT_VARIABLE)
    card = cast(DatasetCard, get_recipe("datasets", name))
    if not card.raw:
        return True
    if not root:
        return False
    folder = Path(root).expanduser() / card.folder
    return all((folder / file.path).exists() for file in card.raw)


def _normalised(edge_index: Tensor, num_nodes: int, loops: bool) -> sp.csr_array:
    row, col = edge_index.numpy()
    matrix = sp.coo_array((np.ones(len(row)), (row, col)), shape=(num_nodes, num_nodes)).tocsr()
    if loops:
        matrix = (matrix + sp.eye_array(num_nodes, format="csr")).tocsr()
    degree = np.asarray(matrix.sum(axis=1)).reshape(-1)
    scale = np.zeros(num_nodes)
    np.power(degree, -0.5, out=scale, where=degree > 0)
    matrix.data *= np.repeat(scale, np.diff(matrix.indptr)) * scale[matrix.indices]
    return matrix
