"""The part of `check` that looks at edges and their weights."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from graphclean.types import InputError


def checked_edges(data: Data, nodes: int, directed: bool, notes: list[str]) -> Data:
    """Set simple, sorted, in-range edges on ``data`` (a copy the caller owns) and return it."""
    given = _edge_index(data, nodes)
    weight = _edge_weight(data, given)
    edges = given.long()
    if not _is_simple_undirected(given, nodes, weight):
        edges, weight = _simplified(edges, weight, nodes, directed, notes)
    if not torch.equal(edges, given):
        for key in _edge_attributes(data, nodes, given.shape[1]):
            del data[key]
            notes.append(f"edge attribute {key!r} dropped: the edge list changed")
    data.edge_index = edges
    if weight is not None:
        data.edge_weight = weight
    isolated = nodes - int(torch.bincount(edges.reshape(-1), minlength=nodes).count_nonzero())
    if isolated:
        notes.append(f"{isolated} of {nodes} nodes are isolated (no edge)")
    return data


def _edge_index(data: Data, nodes: int) -> torch.Tensor:
    if getattr(data, "edge_index", None) is None:
        raise InputError(
            "edge_index", "missing", "Set data.edge_index (long [2, E]; [2, 0] for no edges)."
        )
    edges = torch.as_tensor(data.edge_index)
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise InputError("edge_index", f"shape {list(edges.shape)}", "Pass a tensor [2, E].")
    if edges.is_floating_point() or edges.is_complex() or edges.dtype == torch.bool:
        raise InputError("edge_index", f"dtype {edges.dtype}", "Pass integers (torch.long).")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        wrong = ((edges < 0) | (edges >= nodes)).any(dim=0).nonzero().view(-1)
        first = int(wrong[0])
        raise InputError(
            "edge_index",
            f"edge {first} joins {edges[:, first].tolist()}",
            f"Number the nodes from 0 to {nodes - 1} ({len(wrong)} edges are out of range).",
        )
    return edges


def _edge_weight(data: Data, edges: torch.Tensor) -> torch.Tensor | None:
    if getattr(data, "edge_weight", None) is None:
        return None
    weight = torch.as_tensor(data.edge_weight).detach().float()
    if weight.ndim == 2 and weight.shape[1] == 1:
        weight = weight.view(-1)
    if weight.shape != edges.shape[1:]:
        raise InputError(
            "edge_weight",
            f"shape {list(weight.shape)}",
            f"Pass one weight for each of the {edges.shape[1]} edges.",
        )
    bad = (~torch.isfinite(weight) | (weight < 0)).nonzero().view(-1)
    if len(bad):
        first = int(bad[0])
        raise InputError(
            "edge_weight",
            f"{weight[first].item()} at edge {first}",
            f"Pass finite weights of at least zero ({len(bad)} are not).",
        )
    return weight


def _is_simple_undirected(
    edges: torch.Tensor, nodes: int, weight: torch.Tensor | None = None
) -> bool:
    """Tell without sorting whether the edges are what ``check`` would make of them.

    That is: in order of source and target, each once, no loop, each beside its reverse, which has
    the same positive weight.
    """
    source, target = edges.cpu().numpy()
    step = np.diff(source)
    in_order = (step > 0) | ((step == 0) & (np.diff(target) > 0))
    if not in_order.all() or (source == target).any():
        return False
    if weight is not None and not (weight > 0).all():
        return False
    values = np.ones(len(target), dtype=bool) if weight is None else weight.cpu().numpy()
    start = np.searchsorted(source, np.arange(nodes + 1))
    rows = sp.csr_array((values, target, start), shape=(nodes, nodes))
    columns = rows.T.tocsr()
    return all(
        np.array_equal(getattr(rows, part), getattr(columns, part))
        for part in ("indptr", "indices", "data")
    )


def _simplified(
    edges: torch.Tensor,
    weight: torch.Tensor | None,
    nodes: int,
    directed: bool,
    notes: list[str],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Remove self-loops and zero-weight edges, merge duplicates, add reverse edges, sort.

    Weights of duplicates are summed; of an edge and its reverse the larger counts for both.
    """
    source, target = edges.cpu().numpy()
    keep = source != target
    if not keep.all():
        notes.append(f"{_counted(int((~keep).sum()), 'self-loop')} removed")
    values = np.ones(len(source), dtype=bool)
    if weight is not None:
        values = weight.cpu().double().numpy()
        zero = keep & (values == 0)
        if zero.any():
            notes.append(f"{_counted(int(zero.sum()), 'edge')} of weight zero removed")
        keep &= ~zero
    if not keep.all():
        source, target, values = source[keep], target[keep], values[keep]
    # Rows and columns are bucketed in linear time; of bools the sum is "or".
    matrix = sp.coo_array((values, (source, target)), shape=(nodes, nodes)).tocsr()
    matrix.sum_duplicates()
    if matrix.nnz != len(source):
        merged = _counted(len(source) - matrix.nnz, "duplicate edge")
        notes.append(f"{merged} merged{'' if weight is None else ', weights summed'}")
    if not directed:
        count = matrix.nnz
        matrix = matrix.maximum(matrix.T.tocsr())
        if matrix.nnz != count:
            added = _counted(matrix.nnz - count, "reverse edge")
            notes.append(f"{added} added: the graph is treated as undirected")
    merged_edges = np.empty((2, matrix.nnz), dtype=np.int64)
    merged_edges[0] = np.repeat(np.arange(nodes, dtype=np.int32), np.diff(matrix.indptr))
    merged_edges[1] = matrix.indices
    edges = torch.from_numpy(merged_edges).to(edges.device)
    if weight is not None:
        weight = torch.from_numpy(matrix.data.astype(np.float32)).to(edges.device)
    return edges, weight


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _edge_attributes(data: Data, nodes: int, edges: int) -> list[str]:
    """Return the tensors with one row an edge, besides ends and weights."""
    return [
        key
        for key, value in data.to_dict().items()
        if isinstance(value, torch.Tensor)
        and key not in ("edge_index", "edge_weight")
        and value.shape[:1] == (edges,)
        and ("edge" in key or nodes != edges)
    ]
