"""S @ X, and what it takes to build S: ours, torch, scipy, PyG in all its configurations."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import SimpleConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_torch_csr_tensor

from graphclean.evaluate.speed.cases import Case
from graphclean.evaluate.speed.comparison import OURS, Comparison, Traffic
from graphclean.sparse import Propagator

_LEAST_COLUMNS = 40
"""Columns on graphs with few classes: a product of two columns tells nothing of the others."""


def spmm(case: Case, device: str) -> Comparison:
    """Compare one product of the symmetrically normalised adjacency with C columns."""
    columns = max(case.num_classes, _LEAST_COLUMNS)
    x = case.features(columns).to(device)
    found = Comparison(
        f"spmm/{case.name}",
        f"S @ X, {case.sizes}, {columns} columns, float32",
        expected=lambda: case.operator @ case.features(columns).numpy().astype(np.float64),
        traffic=product_traffic(case.num_nodes, case.num_edges, columns),
    )
    operator = found.prepare("graphclean: edges to CSR", lambda: ours(case, device))
    settle(found, lambda: operator @ x)
    found.add(OURS, lambda: operator @ x)
    weighted = found.prepare(
        "pyg: gcn_norm of edge_index", lambda: pyg_edges(case, device, loops=False)
    )
    csr = found.prepare(
        "pyg_csr: edge_index to torch CSR", lambda: pyg_csr(case.num_nodes, weighted)
    )
    conv, by_csr = SimpleConv(aggr="sum"), SimpleConv(aggr="sum")
    gathered = 2 * case.num_edges * columns * 4
    found.add("pyg", lambda: conv(x, *weighted), needs=gathered, note="edge_index, its default")
    found.add("pyg_csr", lambda: by_csr(x, csr), note="its best: torch CSR adjacency, int64")
    edges, weight = found.prepare(
        "pyg_edge_index_class: EdgeIndex.sort_by", lambda: _edge_index(case.num_nodes, weighted)
    )
    found.add(
        "pyg_edge_index_class",
        lambda: edges.matmul(x, weight, transpose=True),
        note="EdgeIndex.matmul",
    )
    if device == "cpu":
        found.add("torch_native", lambda: torch.sparse.mm(csr, x, "sum"), note="not MKL")
        matrix = found.prepare(
            "scipy: coo to csr", lambda: _scipy(case.num_nodes, weighted).astype(np.float32)
        )
        found.add("scipy", lambda: matrix @ x.numpy())
    found.add("gather_index_add", lambda: _gather_add(weighted, x), needs=gathered)
    if importlib.util.find_spec("torch_scatter") is not None:
        found.add("torch_scatter", lambda: _torch_scatter(weighted, x), needs=gathered)
    else:
        found.skipped["torch_scatter"] = "not installed"
    return found


def settle(found: Comparison, product: Callable[[], Any]) -> None:
    """Let our product find its column blocks: the first six of a shape try three widths."""
    found.prepare("graphclean: six products, to settle", lambda: [product() for _ in range(6)])


def build(case: Case) -> Comparison:
    """Compare the ways from shuffled edges to a normalised CSR matrix, on the CPU."""
    order = torch.from_numpy(np.random.default_rng(case.seed).permutation(case.num_edges))
    shuffled = case.edge_index[:, order]
    nodes = case.num_nodes
    probe = case.features(1)
    found = Comparison(
        f"build/{case.name}",
        f"unsorted edges to normalised CSR, {case.sizes}",
        expected=lambda: case.operator @ probe.numpy().astype(np.float64),
    )

    def by_pyg() -> Tensor:
        return pyg_csr(nodes, gcn_norm(shuffled, num_nodes=nodes, add_self_loops=False))

    def by_edge_index_class() -> tuple[Any, Tensor]:
        return _edge_index(nodes, gcn_norm(shuffled, num_nodes=nodes, add_self_loops=False))

    def product_of(edges: Any, weight: Tensor) -> Any:
        return edges.matmul(probe, weight, transpose=True)

    found.add(
        OURS,
        lambda: Propagator(shuffled, nodes).csr,
        check=lambda: Propagator(shuffled, nodes) @ probe,
    )
    found.add(
        "pyg_csr",
        by_pyg,
        check=lambda: by_pyg() @ probe,
        note="gcn_norm, to_torch_csr_tensor",
    )
    found.add(
        "pyg_edge_index_class",
        by_edge_index_class,
        check=lambda: product_of(*by_edge_index_class()),
        note="gcn_norm, EdgeIndex.sort_by",
    )
    return found


def product_traffic(nodes: int, entries: int, columns: int, width: int = 4) -> Traffic:
    """Return the bytes of one product: int32 indices, values and X of ``width`` bytes."""
    matrix = entries * (4 + width) + (nodes + 1) * 4
    dense = nodes * columns * width
    return Traffic(
        compulsory=matrix + 2 * dense, no_reuse=matrix + entries * columns * width + dense
    )


def ours(case: Case, device: str, *, loops: bool = False) -> Propagator:
    """Return our operator, built from the edges, with its CSR made."""
    operator = Propagator(case.edge_index, case.num_nodes, self_loops=loops)
    if device != "cpu":
        return operator.to(device)
    operator.csr  # noqa: B018  # made on first use, which belongs to the conversion
    return operator


def pyg_edges(case: Case, device: str, *, loops: bool) -> tuple[Tensor, Tensor]:
    """Return edge_index and the normalised weights, as PyG's layers cache them."""
    edges, weight = gcn_norm(
        case.edge_index.to(device), num_nodes=case.num_nodes, add_self_loops=loops
    )
    return edges, weight


def pyg_csr(nodes: int, weighted: tuple[Tensor, Tensor]) -> Tensor:
    """Return the adjacency as PyG makes a torch CSR tensor of it (transposed, int64)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)
        csr: Tensor = to_torch_csr_tensor(weighted[0].flip(0), weighted[1], size=(nodes, nodes))
    return csr


def _edge_index(nodes: int, weighted: tuple[Tensor, Tensor]) -> tuple[Any, Tensor]:
    edges = EdgeIndex(weighted[0], sparse_size=(nodes, nodes), is_undirected=True)
    by_target, order = edges.sort_by("col")
    return by_target.fill_cache_(), weighted[1] if order is None else weighted[1][order]


def _scipy(nodes: int, weighted: tuple[Tensor, Tensor]) -> sp.csr_array:
    source, target = weighted[0].cpu().numpy()
    entries = (weighted[1].cpu().numpy(), (target, source))
    return sp.coo_array(entries, shape=(nodes, nodes)).tocsr()


def _gather_add(weighted: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    (source, target), weight = weighted
    return torch.zeros_like(x).index_add_(0, target, weight.unsqueeze(1) * x[source])


def _torch_scatter(weighted: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    from torch_scatter import scatter

    (source, target), weight = weighted
    product: Tensor = scatter(
        weight.unsqueeze(1) * x[source], target, dim=0, dim_size=len(x), reduce="sum"
    )
    return product
