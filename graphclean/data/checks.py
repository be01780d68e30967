"""The door: one validation that turns any single-label graph into the form all methods trust."""

from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import torch
from torch_geometric.data import Data

from graphclean.data.check_edges import checked_edges
from graphclean.data.check_labels import checked_labels
from graphclean.data.encode import encode_columns
from graphclean.data.features import structural_features
from graphclean.data.node_frame import checked_frame
from graphclean.types import InputError

_MASKS = ("train_mask", "val_mask", "test_mask")
_PER_NODE = ("y_clean", "noise_mask", "node_ids")


def check(data: Data, *, directed: bool = False, require_labels: bool = True) -> Data:
    """Validate and normalise a graph; return a new one and leave the input untouched.

    What comes out: ``x`` float32, dense or ``torch.sparse_csr`` (made of ``node_frame``, else
    structural features, where there was none); ``node_frame``, if any, a pandas frame of N rows
    numbered from 0; ``edge_index`` long, sorted, without duplicates and self-loops, in both
    directions unless ``directed``; ``y`` long ``[N]`` with -1 = unlabelled; masks bool ``[N]`` or
    ``[N, splits]``; ``class_names`` (default ``"0", "1", ...``); and ``check_notes``, a list of
    sentences on everything that was changed or noticed. All other attributes are kept, except
    edge attributes that no longer fit a changed edge list. Checking twice changes nothing.

    Edge weights: those of duplicate edges are summed; when both directions are present with
    different weights the larger counts for both; edges of weight zero are removed.

    Args:
        data: A PyG ``Data`` with one label a node.
        directed: Keep the directions of the edges.
        require_labels: Refuse a graph without labels, or with a single class.

    Raises:
        InputError: Not a ``Data``; no node; NaN or infinite features or weights; negative
            weights; an edge index out of range; labels that are not whole, below -1, beyond
            ``class_names``, one-hot or multi-label; no label or one class; a mask, a frame or a
            node-level attribute of the wrong length; a frame with infinite numbers.
    """
    if not isinstance(data, Data):
        raise InputError(
            "data",
            f"a {type(data).__name__}",
            "Pass a torch_geometric.data.Data (of a HeteroData, take data.to_homogeneous()).",
        )
    out = copy.copy(data)
    notes = [str(note) for note in getattr(data, "check_notes", None) or []]
    x = _checked_features(getattr(data, "x", None))
    nodes = _count_nodes(data, x)
    out = checked_edges(out, nodes, directed, notes)
    if getattr(data, "node_frame", None) is not None:
        out.node_frame = checked_frame(data.node_frame, nodes, notes)
        if x is None:
            x, out.feature_names = encode_columns(out.node_frame, notes)
    if x is None:
        x, out.feature_names = structural_features(out.edge_index, nodes)
        notes.append("no features: log degree and a spectral embedding of the graph stand in")
    out.x = x
    out.y, out.class_names = checked_labels(data, nodes, require_labels, notes)
    for key in _MASKS:
        if getattr(data, key, None) is not None:
            out[key] = _checked_mask(data[key], key, nodes)
    for key in _PER_NODE:
        value = getattr(data, key, None)
        if value is not None and len(value) != nodes:
            raise InputError(
                key, f"{len(value)} entries", f"Give it one entry for each of the {nodes} nodes."
            )
    out.check_notes = list(dict.fromkeys(notes))
    return out


def _count_nodes(data: Data, x: torch.Tensor | None) -> int:
    stated = data.to_dict().get("num_nodes")
    if x is not None:
        nodes = x.shape[0]
    elif stated is not None:
        nodes = int(stated)
    elif getattr(data, "y", None) is not None:
        nodes = len(data.y)
    elif isinstance(getattr(data, "node_frame", None), pd.DataFrame):
        nodes = len(data.node_frame)
    else:
        raise InputError("data", "neither x, y nor num_nodes", "Set data.num_nodes.")
    if stated is not None and int(stated) != nodes:
        raise InputError("num_nodes", stated, f"x has {nodes} rows: remove data.num_nodes.")
    if nodes == 0:
        raise InputError("data", "a graph without nodes", "Pass a graph with labelled nodes.")
    return nodes


def _checked_features(given: Any) -> torch.Tensor | None:
    if given is None:
        return None
    try:
        x = torch.as_tensor(given).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError("x", f"a {type(given).__name__}", "Pass a torch tensor.") from error
    if x.is_complex():
        raise InputError("x", f"dtype {x.dtype}", "Pass real numbers.")
    if x.ndim == 1:
        x = x.view(-1, 1)
    if x.ndim != 2:
        raise InputError("x", f"shape {list(x.shape)}", "Pass a matrix [nodes, features].")
    if x.shape[1] == 0:
        return None
    if x.layout == torch.strided:
        x = x.float()
        bad = (~torch.isfinite(x)).nonzero()
    else:
        if x.layout != torch.sparse_csr or x.dtype != torch.float32:
            x = x.to_sparse(layout=torch.sparse_coo).coalesce().float().to_sparse_csr()
        at = (~torch.isfinite(x.values())).nonzero().view(-1)
        row = torch.searchsorted(x.crow_indices(), at, right=True) - 1
        bad = torch.stack([row, x.col_indices()[at]], dim=1)
    if len(bad):
        raise InputError(
            "x",
            f"NaN or infinite at row {int(bad[0, 0])}, column {int(bad[0, 1])}",
            f"Replace the {len(bad)} NaN or infinite values (from_tables imputes missing numbers).",
        )
    return x


def _checked_mask(given: Any, key: str, nodes: int) -> torch.Tensor:
    mask = torch.as_tensor(given)
    if mask.ndim not in (1, 2) or mask.shape[0] != nodes:
        raise InputError(
            key,
            f"shape {list(mask.shape)}",
            f"Pass a bool mask [{nodes}] or [{nodes}, splits] "
            "(torch_geometric.utils.index_to_mask turns indices into one).",
        )
    if mask.dtype != torch.bool:
        if not ((mask == 0) | (mask == 1)).all():
            raise InputError(key, f"values of dtype {mask.dtype}", "Pass only True and False.")
        mask = mask.bool()
    return mask
