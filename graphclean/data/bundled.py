"""The graph that needs no file: scikit-learn's handwritten digits as a nearest-neighbour graph."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph
from torch_geometric.data import Data


def digits(neighbours: int = 10) -> Data:
    """Return 1,797 images of digits, each joined to its nearest neighbours.

    Features are the 64 pixels scaled to [0, 1]; two images are joined if either is among the
    ``neighbours`` nearest of the other in Euclidean distance.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998 (CC BY 4.0), as shipped with scikit-learn.
    """
    bunch = load_digits()
    x = bunch.data.astype(np.float32) / 16.0
    nearest = kneighbors_graph(x, neighbours, mode="connectivity", include_self=False)
    either = nearest.maximum(nearest.T).tocoo()
    edges = np.stack([either.row, either.col]).astype(np.int64)
    order = np.lexsort((edges[1], edges[0]))
    return Data(
        x=torch.from_numpy(x),
        edge_index=torch.from_numpy(edges[:, order]),
        y=torch.from_numpy(bunch.target.astype(np.int64)),
        feature_names=[str(name) for name in bunch.feature_names],
    )
