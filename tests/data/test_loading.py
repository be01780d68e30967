from __future__ import annotations

import gzip
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import Airports, Amazon, Planetoid
from torch_geometric.utils import homophily, is_undirected

from graphclean.data import check, load, loading, npz, raw_files
from graphclean.data import features as feature_tools
from graphclean.recipes import DatasetCard, get_recipe
from graphclean.types import InputError

# The table of the README beside the real graphs.
TABLE = [
    ("cora", 2708, 10556, 1433, 7, 0.81, 1),
    ("citeseer", 3327, 9104, 3703, 6, 0.74, 1),
    ("photo", 7650, 238162, 745, 8, 0.83, 0),
    ("dblp", 17716, 105734, 1639, 4, 0.83, 0),
    ("blogcatalog", 5196, 343486, 8189, 6, 0.40, 0),
    ("minesweeper", 10000, 78804, 7, 2, 0.68, 10),
    ("tolokers", 11758, 1038000, 10, 2, 0.60, 10),
    ("airports-brazil", 131, 1074, 131, 4, 0.47, 0),
]
AIRPORTS = get_recipe("datasets", "airports-usa")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test writes to the real cache, none reaches for the network."""
    monkeypatch.setattr(raw_files, "cache_folder", lambda: tmp_path / "cache")

    def offline(self: object) -> None:
        raise OSError("no network in tests")

    for dataset in (Airports, Amazon, Planetoid):
        monkeypatch.setattr(dataset, "download", offline)
    return tmp_path / "cache"


def airports(folder: Path) -> None:
    """Write a tiny graph in the raw format of ``airports-usa``, whose card states no checksum."""
    folder.mkdir(parents=True)
    (folder / "usa-airports.edgelist").write_text("10 20\n20 30\n30 10\n30 40\n")
    (folder / "labels-usa-airports.txt").write_text("node label\n10 0\n20 1\n30 2\n40 3\n")


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "width", "classes", "edge_homophily", "splits"), TABLE
)
def test_real_graphs(
    graph_root: Path,
    name: str,
    nodes: int,
    edges: int,
    width: int,
    classes: int,
    edge_homophily: float,
    splits: int,
) -> None:
    data = load(name, graph_root)
    assert (data.num_nodes, data.edge_index.shape[1]) == (nodes, edges)
    assert data.x.shape == (nodes, width)
    assert len(data.class_names) == classes == int(data.y.max()) + 1
    assert homophily(data.edge_index, data.y) == pytest.approx(edge_homophily, abs=0.006)
    assert data.name == name
    masks = {0: None, 1: (nodes,), 10: (nodes, 10)}[splits]
    assert (tuple(data.train_mask.shape) if "train_mask" in data else None) == masks
    statistics = get_recipe("datasets", name).content["statistics"]
    assert (statistics["nodes"], statistics["edges"]) == (nodes, edges)
    assert (statistics["features"], statistics["classes"]) == (width, classes)
    checked = check(data)
    assert is_undirected(checked.edge_index)
    assert checked.num_nodes == nodes


def test_loading_leaves_the_data_folder_as_it_is(
    graph_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    for folder in ("Planetoid/Cora/raw", "Amazon/Photo/raw"):
        shutil.copytree(graph_root / folder, root / folder)
    for path in sorted(root.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(root.rglob("*"))
    monkeypatch.setenv("GRAPHCLEAN_DATA", str(root))
    cora, photo = load("Cora"), load("PHOTO")
    assert (cora.num_nodes, photo.num_nodes) == (2708, 7650)
    assert sorted(root.rglob("*")) == before


def test_photo_equals_pyg_without_densifying(
    graph_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(graph_root / "Amazon/Photo/raw", tmp_path / "Photo/raw")
    theirs = Amazon(str(tmp_path), "Photo")[0]
    ours = load("photo", graph_root)
    assert torch.equal(ours.x, theirs.x)
    assert torch.equal(ours.y, theirs.y)
    assert torch.equal(ours.edge_index, theirs.edge_index)
    with np.load(graph_root / "Amazon/Photo/raw/amazon_electronics_photo.npz") as file:
        assert ours.class_names == file["class_names"].tolist()


def test_citeseer_labels_that_pyg_makes_up_are_unlabelled(graph_root: Path) -> None:
    data = load("citeseer", graph_root)
    invented = (data.y == -1).nonzero().view(-1)
    # the gaps in the test index of the raw files
    index = np.loadtxt(graph_root / "Planetoid/CiteSeer/raw/ind.citeseer.test.index", dtype=int)
    gaps = np.setdiff1d(np.arange(index.min(), index.max() + 1), index)
    assert invented.tolist() == gaps.tolist()
    assert torch.bincount(data.y[data.y >= 0]).tolist() == [249, 590, 668, 701, 596, 508]
    assert "15 of 3327 nodes have no label" in data.check_notes


def test_pubmed_says_which_file_is_missing_and_where(graph_root: Path, cache: Path) -> None:
    with pytest.raises(
        InputError, match=r"Planetoid lacks PubMed/raw/ind\.pubmed\.allx \(1 of 8"
    ) as error:
        load("pubmed", graph_root)
    for part in (str(graph_root), str(cache), "GRAPHCLEAN_DATA", "no network in tests"):
        assert part in str(error.value)


def test_a_missing_graph_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"lacks usa/raw/usa-airports\.edgelist"):
        load("airports-usa", tmp_path / "nowhere")
    left = [path for base in (cache, tmp_path / "nowhere") for path in base.rglob("*")]
    assert left == []


def test_the_root_argument_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHCLEAN_DATA", str(tmp_path / "elsewhere"))
    airports(tmp_path / "root/Airports/usa/raw")
    data = load("airports-usa", tmp_path / "root")
    assert data.y.tolist() == [0, 1, 2, 3]
    assert data.edge_index.tolist() == [[0, 1, 2, 2], [1, 2, 0, 3]]
    with pytest.raises(InputError, match="elsewhere"):
        load("airports-usa")
    airports(tmp_path / "elsewhere/Airports/usa/raw")
    assert load("airports-usa").num_nodes == 4


def test_download_goes_to_the_cache_and_not_to_the_environment(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Airports, "download", _fake_download)
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("GRAPHCLEAN_DATA", str(shared))
    assert load("airports-usa").num_nodes == 4
    assert list(shared.rglob("*")) == []
    assert sorted(p.name for p in cache.rglob("*") if p.is_file()) == [
        "labels-usa-airports.txt",
        "usa-airports.edgelist",
    ]
    assert load("airports-usa", tmp_path / "mine").num_nodes == 4  # already in the cache
    assert not (tmp_path / "mine").exists()


def test_download_goes_to_a_root_that_is_passed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Airports, "download", _fake_download)
    assert load("airports-usa", tmp_path / "mine").num_nodes == 4
    assert (tmp_path / "mine/Airports/usa/raw/usa-airports.edgelist").is_file()
    assert not cache.exists()


def test_an_interrupted_download_is_not_taken_for_a_graph(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Airports) -> None:
        Path(self.raw_dir, "usa-airports.edgelist").write_text("10 20\n")
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(Airports, "download", interrupted)
    with pytest.raises(InputError, match="reset by peer"):
        load("airports-usa")
    assert list(cache.rglob("*")) == []
    monkeypatch.setattr(Airports, "download", lambda self: None)
    with pytest.raises(InputError, match=r"the download has no usa/raw/usa-airports\.edgelist"):
        load("airports-usa")


def test_two_downloads_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Airports, "download", _fake_download)
    assert isinstance(AIRPORTS, DatasetCard)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: raw_files.raw_folder(AIRPORTS, None), range(8)))
    assert set(folders) == {cache / "Airports"}
    assert load("airports-usa").num_nodes == 4
    assert not list(cache.glob(".incoming-*"))


def test_a_damaged_file_is_refused(graph_root: Path, tmp_path: Path) -> None:
    raw = tmp_path / "Airports/brazil/raw"
    shutil.copytree(graph_root / "Airports/brazil/raw", raw)
    (raw / "labels-brazil-airports.txt").chmod(0o644)
    with (raw / "labels-brazil-airports.txt").open("a") as file:
        file.write("999 1\n")
    with pytest.raises(InputError, match=r"labels-brazil-airports\.txt has SHA-256 .*delete it"):
        load("airports-brazil", tmp_path)


def test_split_argument(tmp_path: Path) -> None:
    airports(tmp_path / "Airports/usa/raw")
    data = load("airports-usa", tmp_path, split="all")
    assert data.train_mask.all()
    assert not data.test_mask.any()


def test_unknown_graph() -> None:
    with pytest.raises(InputError, match="Did you mean cora"):
        load("coar")


def test_digits() -> None:
    data = load("Digits")
    assert data.x.shape == (1797, 64)
    assert (float(data.x.min()), float(data.x.max())) == (0.0, 1.0)
    assert data.class_names == [str(digit) for digit in range(10)]
    assert "train_mask" not in data
    assert is_undirected(data.edge_index)
    assert homophily(data.edge_index, data.y) > 0.95
    distance = torch.cdist(data.x[:1], data.x)[0]
    nearest = set(distance.argsort()[1:11].tolist())
    assert nearest <= set(data.edge_index[1][data.edge_index[0] == 0].tolist())
    assert torch.bincount(data.edge_index[0]).min() >= 10
    again = load("digits")
    assert torch.equal(again.edge_index, data.edge_index)
    assert check(data).edge_index.equal(data.edge_index)


def test_karate_club_is_bundled() -> None:
    data = load("karate")
    assert (data.num_nodes, data.edge_index.shape[1]) == (34, 156)
    assert data.name == "karateclub"


def test_ogb_layout_is_read_without_ogb(tmp_path: Path) -> None:
    root = tmp_path / "ogbn_arxiv"
    tables = {
        "raw/edge": "0,1\n2,1\n3,0\n",
        "raw/node-feat": "0.5,1\n0,2\n1,3\n0,4\n",
        "raw/node-label": "1\n0\n2\n1\n",
        "split/time/train": "0\n1\n",
        "split/time/valid": "2\n",
        "split/time/test": "3\n",
        "mapping/labelidx2arxivcategeory": "label idx,arxiv category\n0,arxiv cs ai\n1,NA\n2,NA\n",
    }
    for table, text in tables.items():
        path = root / f"{table}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.write(text)
    data = load("ogbn-arxiv", tmp_path)
    assert data.edge_index.tolist() == [[0, 2, 3], [1, 1, 0]]
    assert data.x.tolist() == [[0.5, 1], [0, 2], [1, 3], [0, 4]]
    assert data.y.tolist() == [1, 0, 2, 1]
    assert data.class_names == ["arxiv cs ai", "NA (1)", "NA (2)"]
    assert [
        data[f"{part}_mask"].nonzero().view(-1).tolist() for part in ("train", "val", "test")
    ] == [
        [0, 1],
        [2],
        [3],
    ]


def _card(**content: object) -> DatasetCard:
    return DatasetCard("datasets", "made-up", Path("made_up.toml"), content)


def test_labels_that_stand_for_unknown_become_unlabelled() -> None:
    card = _card(unlabelled_classes=[2], class_names=["licit", "illicit"])
    data = loading._labelled(card, Data(x=torch.ones(4, 1), y=torch.tensor([0, 2, 1, 2])))
    assert data.y.tolist() == [0, -1, 1, -1]
    assert data.class_names == ["licit", "illicit"]


@pytest.mark.parametrize("sparse", [False, True])
def test_nodes_without_content_features_become_unlabelled(sparse: bool) -> None:
    x = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    none = torch.zeros(4, dtype=torch.bool)
    data = Data(x=x.to_sparse_csr() if sparse else x, y=torch.tensor([0, 0, 0, 1]))
    data.train_mask = data.val_mask = none
    data.test_mask = torch.tensor([False, False, True, False])  # its label is real
    data = loading._labelled(_card(unlabelled_without_first_features=2), data)
    assert data.y.tolist() == [0, -1, 0, 1]


def test_large_sparse_features_stay_sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    adjacency = sp.random_array((30, 30), density=0.1, rng=rng, format="csr")
    words = sp.random_array((30, 200), density=0.02, rng=rng, format="csr")
    parts = {
        f"{key}_{part}": getattr(matrix, part)
        for key, matrix in (("adj", adjacency), ("attr", words))
        for part in ("data", "indices", "indptr", "shape")
    }
    path = tmp_path / "words.npz"
    np.savez(path, labels=np.arange(30) % 3, **parts)
    dense = npz.read_gnn_benchmark(path)
    assert torch.equal(dense.x, torch.from_numpy((words.toarray() > 0).astype(np.float32)))
    monkeypatch.setattr(feature_tools, "DENSE_BYTES", 1000)
    sparse = npz.read_gnn_benchmark(path)
    assert sparse.x.layout == torch.sparse_csr
    assert torch.equal(sparse.x.to_dense(), dense.x)
    assert torch.equal(check(sparse).x.to_dense(), dense.x)


def _fake_download(self: Airports) -> None:
    Path(self.raw_dir).rmdir()
    airports(Path(self.raw_dir))
