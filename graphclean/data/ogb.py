"""Open Graph Benchmark node graphs, read from their CSV files without the ``ogb`` package.

The package keeps its processed graphs as pickles that current torch refuses to load; the raw files
are plain compressed CSV.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data, InMemoryDataset, download_url, extract_zip
from torch_geometric.utils import index_to_mask

_GRAPHS = {
    "ogbn-arxiv": ("arxiv", "time", "labelidx2arxivcategeory.csv.gz", False),
    "ogbn-products": ("products", "sales_ranking", "labelidx2productcategory.csv.gz", True),
}


class OgbNodes(InMemoryDataset):  # type: ignore[misc]
    """ogbn-arxiv and ogbn-products, in the folder layout of the ``ogb`` package.

    Paper: W. Hu et al., Open Graph Benchmark: Datasets for Machine Learning on Graphs, NeurIPS
    2020, https://arxiv.org/abs/2005.00687

    Args:
        root: Folder that holds, or will hold, ``ogbn_arxiv`` or ``ogbn_products``.
        name: ``"ogbn-arxiv"`` or ``"ogbn-products"``.
    """

    url = "http://snap.stanford.edu/ogb/data/nodeproppred"

    def __init__(self, root: str, name: str) -> None:
        self.name = name
        self._archive, self._split, self._names, self._one_way = _GRAPHS[name]
        super().__init__(root)
        self.load(self.processed_paths[0])

    @property
    def raw_dir(self) -> str:
        """The folder of this graph."""
        return str(Path(self.root) / self.name.replace("-", "_"))

    @property
    def raw_file_names(self) -> list[str]:
        """Edges, features, labels, the names of the classes and the official split."""
        tables = [f"raw/{table}.csv.gz" for table in ("edge", "node-feat", "node-label")]
        split = [f"split/{self._split}/{part}.csv.gz" for part in ("train", "valid", "test")]
        return [*tables, f"mapping/{self._names}", *split]

    @property
    def processed_file_names(self) -> str:
        """The file PyG would process into."""
        return "data.pt"

    def download(self) -> None:
        """Fetch and unpack the archive."""
        archive = download_url(f"{self.url}/{self._archive}.zip", self.root)
        extract_zip(archive, self.root)
        Path(archive).unlink()
        Path(self.raw_dir).rmdir()
        (Path(self.root) / self._archive).rename(self.raw_dir)

    def process(self) -> None:
        """Read the tables."""
        edge, features, labels, mapping, *parts = (Path(path) for path in self.raw_paths)
        edges = torch.from_numpy(_numbers(edge, np.int64)).t().contiguous()
        if self._one_way:
            edges = torch.cat([edges, edges.flip(0)], dim=1)
        x = torch.from_numpy(_numbers(features, np.float32))
        data = Data(x=x, edge_index=edges, y=torch.from_numpy(_numbers(labels, np.int64)).view(-1))
        for key, part in zip(("train_mask", "val_mask", "test_mask"), parts, strict=True):
            index = torch.from_numpy(_numbers(part, np.int64)).view(-1)
            data[key] = index_to_mask(index, size=len(x))
        names = pd.read_csv(mapping, keep_default_na=False).iloc[:, 1].astype(str)
        twice = names.duplicated(keep=False)
        data.class_names = [f"{n} ({i})" if twice[i] else n for i, n in enumerate(names)]
        self.save([data], self.processed_paths[0])


def _numbers(path: Path, dtype: type[np.generic]) -> np.ndarray:
    return np.array(pd.read_csv(path, header=None, dtype=dtype), dtype=dtype, order="C")
