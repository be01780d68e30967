"""Named graphs whose nodes have a table: files ``X.csv.gz``, ``y.csv.gz`` and ``edges.csv.gz``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from graphclean.data.encode import encode_columns
from graphclean.data.frame_columns import levels
from graphclean.data.node_frame import node_frame


def tabular_set(folder: Path, *, label: str, categories: Sequence[str]) -> Data:
    """Read a graph with numbers, categories and gaps on its nodes.

    Args:
        folder: Holds the three files: a row a node in the same order in ``X`` and ``y``; a row an
            undirected edge, numbers of nodes, in ``edges``.
        label: Column of ``y`` with the class, 0, 1, ...
        categories: Columns of ``X`` whose values are names, also where they are written as numbers.

    Returns:
        A graph with ``node_frame``, ``x`` as of `encode_columns`, ``y`` and every edge in both
        directions.
    """
    frame = pd.read_csv(folder / "X.csv.gz")
    for name in categories:
        frame[name] = pd.Categorical(levels(frame[name]))
    x, names = encode_columns(frame, [])
    ends = pd.read_csv(folder / "edges.csv.gz").to_numpy(dtype=np.int64)
    edges = torch.from_numpy(np.ascontiguousarray(ends.T))
    data = Data(x=x, edge_index=to_undirected(edges, num_nodes=len(frame)))
    data.y = torch.tensor(pd.read_csv(folder / "y.csv.gz")[label].tolist())
    data.feature_names, data.node_frame = names, node_frame(frame)
    return data
