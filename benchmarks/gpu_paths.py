"""What gpu.py measures: a graph on a device, and the ways to compute each thing on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.nn import SimpleConv
from torch_geometric.nn.models import LabelPropagation

from graphclean.evaluate.speed.graphs import power_law_graph
from graphclean.sparse import HopOperator, Propagator, kernels, spmm
from graphclean.sparse.neighbourhoods import one_hot_labels
from graphclean.sparse.solvers import label_propagation

SIZES = {
    "tiny": (2_000, 20_000, 8),
    "arxiv": (169_343, 2_315_598, 40),
    "products": (2_449_029, 123_718_280, 47),
}
"""Nodes, directed edges, classes."""


@dataclass
class Variant:
    """One way to compute something.

    Attributes:
        name: What the table calls it.
        run: Computes it once.
        gigabytes: Traffic if no row is fetched twice from cache.
        reference: Float64 result; None where there is nothing to compare.
        tolerance: Largest absolute error allowed.
        sample: Rows that the reference has; None for all.
    """

    name: str
    run: Callable[[], Tensor]
    gigabytes: float | None = None
    reference: Callable[[], Tensor] | None = None
    tolerance: float = 2e-6
    sample: Tensor | None = None


@dataclass
class Bench:
    """A graph, its operator and right-hand sides on one device."""

    size: str
    device: torch.device
    seed: int

    def __post_init__(self) -> None:
        self.nodes, self.edges, self.classes = SIZES[self.size]
        with self.stage("generate graph"):
            self.edge_index = power_law_graph(self.nodes, self.edges, seed=self.seed)
        with self.stage("build CSR"):
            host = Propagator(self.edge_index, self.nodes)
            _ = host.csr
        with self.stage("move to device"):
            self.propagator = host.to(self.device)
            self.edge_index = self.edge_index.to(self.device)
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.nodes, self.classes)
        self.x = torch.rand(shape, generator=generator).softmax(dim=1).to(self.device)
        labels = torch.randint(self.classes, (self.nodes,), generator=generator)
        self.labels = labels.to(self.device)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block once, on a line of its own."""
        began = time.perf_counter()
        yield
        self.synchronise()
        print(f"  {name}: {time.perf_counter() - began:.2f} s", flush=True)

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @cached_property
    def exact(self) -> Propagator:
        """The operator in float64."""
        adjacency = self.propagator.adjacency
        return Propagator.from_adjacency(adjacency, dtype=torch.float64).to(self.device)

    @cached_property
    def pyg_weight(self) -> Tensor:
        """Edge weights of S in the order of ``edge_index``."""
        source, target = self.edge_index
        scale = torch.from_numpy(self.propagator.left).float().to(self.device)
        return scale[source] * scale[target]

    def traffic(self, columns: int, value: int = 4, index: int = 4) -> float:
        """Gigabytes of a product that fetches every neighbour's row, in sectors of 32 bytes."""
        row = -(-columns * value // 32) * 32
        per_edge = index + value + row
        return (self.edges * per_edge + self.nodes * (index + columns * value)) / 1e9

    def bandwidth(self) -> list[Variant]:
        """Return a copy and a gather of random rows."""
        rows = min(self.edges, 20_000_000)
        generator = torch.Generator().manual_seed(self.seed + 1)
        index = torch.randint(self.nodes, (rows,), generator=generator).to(self.device)
        source = torch.empty(min(self.edges * 8, 2**30), device=self.device).normal_()
        target = torch.empty_like(source)
        row = self.classes * 4
        return [
            Variant("copy", lambda: target.copy_(source), 2 * source.numel() * 4 / 1e9),
            Variant(
                "random row gather",
                lambda: self.x.index_select(0, index),
                rows * (8 + row + -(-row // 32) * 32) / 1e9,
            ),
        ]

    def product(self) -> list[Variant]:
        """Return the ways to multiply S by N x C."""
        matrix, x = self.propagator.csr, self.x
        crow, column, values = matrix.crow_indices(), matrix.col_indices(), matrix.values()

        def csr(index: torch.dtype, value: torch.dtype) -> Tensor:
            return torch.sparse_csr_tensor(
                crow.to(index),
                column.to(index),
                values.to(value),
                size=matrix.shape,
                check_invariants=False,
            )

        wide, half = csr(torch.int64, torch.float32), csr(torch.int32, torch.bfloat16)
        x_half = x.bfloat16()
        padded = torch.nn.functional.pad(x, (0, -self.classes % 8))
        layer, weight = SimpleConv(aggr="sum"), self.pyg_weight
        exact = self.exact @ x.double()

        def reference() -> Tensor:
            return exact

        c = self.classes
        gather_scatter = (self.traffic(c, index=8) * 1e9 + 4 * self.edges * c * 4) / 1e9
        return [
            Variant("CSR int32", lambda: spmm(matrix, x), self.traffic(c), reference),
            Variant("CSR int64", lambda: spmm(wide, x), self.traffic(c, index=8), reference),
            Variant(
                "CSR bfloat16",
                lambda: spmm(half, x_half),
                self.traffic(c, value=2),
                reference,
                tolerance=5e-2,
            ),
            Variant(
                "CSR padded",
                lambda: spmm(matrix, padded)[:, :c],
                self.traffic(padded.shape[1]),
                reference,
            ),
            Variant(
                "PyG gather-scatter",
                lambda: layer(x, self.edge_index, weight),
                gather_scatter,
                reference,
            ),
        ]

    def agreement(self) -> list[Variant]:
        """Return one hop of label agreement: by edge scalars, and by a product with one-hot."""
        entries = self.csr_parts(self.propagator)
        hot = one_hot_labels(self.labels, self.classes)
        at = self.labels.unsqueeze(1)

        def reference() -> Tensor:
            return (self.exact @ hot.double()).gather(1, at).squeeze(1)

        scalars = (self.edges * (4 + 4 + 32) + self.nodes * 16) / 1e9
        return [
            Variant(
                "edge scalars",
                lambda: kernels.label_agreement(*entries, self.labels, self.labels),
                scalars,
                reference,
            ),
            Variant(
                "product and gather",
                lambda: spmm(self.propagator.csr, hot).gather(1, at).squeeze(1),
                self.traffic(self.classes),
                reference,
            ),
        ]

    def last_hop(self) -> list[Variant]:
        """Return the queried entries of S [L|P]: one hop's output that nothing propagates on."""
        entries, c = self.csr_parts(self.propagator), self.classes
        both = torch.cat([one_hot_labels(self.labels, c), self.x], dim=1)
        at = torch.stack([self.labels, self.labels + c], dim=1)

        def reference() -> Tensor:
            return (self.exact @ both.double()).gather(1, at)

        scalars = (self.edges * (4 + 4 + 64) + self.nodes * 28) / 1e9
        return [
            Variant(
                "edge scalars",
                lambda: kernels.hop_entry(*entries, both, at),
                scalars,
                reference,
            ),
            Variant(
                "product and gather",
                lambda: spmm(self.propagator.csr, both).gather(1, at),
                self.traffic(2 * c),
                reference,
            ),
        ]

    def hop_features(self) -> list[Variant]:
        """Return GraphCleaner's features; the closed walks are found once, before."""
        with self.stage("closed walks for K = 3"):
            hops = HopOperator(self.propagator, 3)
        exact = HopOperator(self.exact, 3)
        layer, weight = SimpleConv(aggr="sum"), self.pyg_weight
        both = torch.cat([self.x, one_hot_labels(self.labels, self.classes)], dim=1)
        at = torch.stack([self.labels, self.labels + self.classes], dim=1)

        def reference() -> Tensor:
            return exact.features(self.labels, self.x.double(), self.labels)

        def gather_scatter() -> Tensor:
            walked, found = both, []
            for diagonal in hops.diagonals:
                walked = layer(walked, self.edge_index, weight)
                found.append((walked - diagonal.unsqueeze(1) * both).gather(1, at))
            return torch.stack(found, dim=2).flatten(1)

        return [
            Variant(
                "graphclean",
                lambda: hops.features(self.labels, self.x, self.labels),
                3 * self.traffic(2 * self.classes),
                reference,
            ),
            Variant("PyG gather-scatter", gather_scatter, None, reference),
        ]

    def propagation(self) -> list[Variant]:
        """Return 50 steps of label propagation without an early stop."""
        hot = one_hot_labels(self.labels, self.classes)
        peer = LabelPropagation(num_layers=50, alpha=0.9)
        exact = label_propagation(self.exact, hot, steps=50, tol=None).values
        step = self.traffic(self.classes) + 3 * self.nodes * self.classes * 4 / 1e9

        def ours() -> Tensor:
            return label_propagation(self.propagator, hot, steps=50, tol=None).values

        return [
            Variant("graphclean", ours, 50 * step, lambda: exact),
            Variant(
                "PyG gather-scatter",
                lambda: peer(hot, self.edge_index, edge_weight=self.pyg_weight),
                None,
                lambda: exact,
            ),
        ]

    def closed_walks(self) -> list[Variant]:
        """Return the diagonal of the cube; the largest hubs and some nodes are checked."""
        entries = self.csr_parts(self.propagator)
        hubs = torch.from_numpy(self.propagator.adjacency.degree).topk(min(32, self.nodes)).indices
        generator = torch.Generator().manual_seed(self.seed + 2)
        others = torch.randint(self.nodes, (32,), generator=generator)
        sample = torch.cat([hubs, others]).to(self.device)

        def reference() -> Tensor:
            unit = torch.zeros(self.nodes, len(sample), dtype=torch.float64, device=self.device)
            unit[sample, torch.arange(len(sample), device=self.device)] = 1.0
            once = self.exact @ unit
            return (once * (self.exact @ once)).sum(dim=0)

        def ours() -> Tensor:
            return kernels.triangle_diagonal(*entries)

        return [Variant("graphclean", ours, None, reference, sample=sample)]

    @staticmethod
    def csr_parts(propagator: Propagator) -> tuple[Tensor, Tensor, Tensor]:
        """Return row pointer, columns and values."""
        matrix = propagator.csr
        return matrix.crow_indices(), matrix.col_indices(), matrix.values()


GROUPS: dict[str, Callable[[Bench], list[Variant]]] = {
    "bandwidth": Bench.bandwidth,
    "S @ X": Bench.product,
    "label agreement": Bench.agreement,
    "last hop": Bench.last_hop,
    "hop features, K = 3": Bench.hop_features,
    "50 propagation steps": Bench.propagation,
    "diag(S^3)": Bench.closed_walks,
}
"""Paths to compare, by the name of the group; a group is set up when it is due."""
