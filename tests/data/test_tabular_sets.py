from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.utils import homophily, is_undirected

from graphclean.data import check, load, mixed_table, raw_files
from graphclean.data.tabular_sets import tabular_set
from graphclean.recipes import DatasetCard, get_recipe
from graphclean.types import InputError

SETS = {
    # name: label, categories, gaps
    "county_election": ("margin5", 5, 16),
    "california_housing": ("price5", 1, 207),
    "german_credit": ("GoodCustomer", 2, 0),
}


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_files, "cache_folder", lambda: tmp_path / "cache")


@pytest.mark.parametrize("name", SETS)
def test_the_graph_is_what_the_files_and_the_card_say(graph_root: Path, name: str) -> None:
    label, categories, gaps = SETS[name]
    folder = graph_root / "tabular" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    data = load(name, graph_root)
    statistics = get_recipe("datasets", name).content["statistics"]
    assert statistics == {
        "nodes": data.num_nodes,
        "edges": data.edge_index.shape[1],
        "features": data.x.shape[1],
        "classes": len(data.class_names),
        "edge_homophily": round(homophily(data.edge_index, data.y), 2),
    }
    assert is_undirected(data.edge_index)
    table = pd.read_csv(folder / "X.csv.gz")
    frame = data.node_frame
    assert frame.columns.tolist() == table.columns.tolist()
    assert int(frame.isna().sum().sum()) == gaps
    kinds = [isinstance(frame[column].dtype, pd.CategoricalDtype) for column in frame]
    assert sum(kinds) == categories
    for column, is_category in zip(frame, kinds, strict=True):
        if not is_category:
            pd.testing.assert_series_equal(frame[column], table[column])
    assert data.y.tolist() == pd.read_csv(folder / "y.csv.gz")[label].tolist()
    checked = check(data)
    assert checked.node_frame is frame
    mixed = mixed_table(checked)
    assert len(mixed.categorical_names) == categories
    varied = [column for column in table if table[column].nunique() > 1]
    assert len(mixed.numeric_names) == len(varied) - categories


def test_county_codes_are_names(graph_root: Path) -> None:
    data = load("county-election", graph_root)
    codes = data.node_frame["Economic_typology_2015"]
    assert sorted(codes.cat.categories) == ["0", "1", "2", "3", "4", "5"]
    assert data.node_frame["State"].nunique() == 50
    wins = pd.read_csv(graph_root / "tabular/county_election/y.csv.gz")["dem_win"].to_numpy()
    share = [wins[data.y.numpy() == number].mean() for number in range(5)]
    assert share[0] == 0  # the class is called the most Republican fifth
    assert share[4] > 0.5


def test_tolokers_is_a_table_in_x(graph_root: Path) -> None:
    data = check(load("tolokers", graph_root))
    mixed = mixed_table(data, neighbours=("mean",), structure=True)
    assert mixed.categorical == ()
    assert mixed.numeric_names[:10] == tuple(f"x{number}" for number in range(10))
    np.testing.assert_array_equal(mixed.numeric[:, :10], data.x.numpy())
    assert mixed.numeric.shape == (11758, 10 + 4 + 10)
    assert np.isfinite(mixed.numeric).all()
    node = 77
    at = data.edge_index[1][data.edge_index[0] == node]
    np.testing.assert_allclose(mixed.numeric[node, 14:], data.x[at].mean(dim=0), rtol=1e-5)
    np.testing.assert_allclose(mixed.numeric[node, 10], np.log1p(len(at)), rtol=1e-6)


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.write(text)


def test_reader(tmp_path: Path) -> None:
    write(
        tmp_path / "set",
        X="code,size,town\n1,2.5,a\n,3,\n0,,b\n1,1,b\n",
        y="other,best\n0,1\n0,0\n0,1\n0,2\n",
        edges="src,dst\n2,0\n0,1\n",
    )
    data = tabular_set(tmp_path / "set", label="best", categories=["code"])
    assert data.y.tolist() == [1, 0, 1, 2]
    assert data.edge_index.tolist() == [[0, 0, 1, 2], [1, 2, 0, 0]]
    code = data.node_frame["code"]
    assert code.isna().tolist() == [False, True, False, False]
    assert code.dropna().tolist() == ["1", "0", "1"]
    assert data.feature_names[:3] == ["code=0", "code=1", "code missing"]
    assert data.x.shape == (4, len(data.feature_names))
    assert data.y.dtype == torch.long


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"german_credit lacks X\.csv\.gz.*cannot be downloaded"):
        load("german-credit", tmp_path)
    assert list(tmp_path.rglob("*")) == []
    write(tmp_path / "tabular/german_credit", X="a\n1\n", y="GoodCustomer\n1\n", edges="s,t\n0,0\n")
    with pytest.raises(InputError, match=r"X\.csv\.gz has SHA-256"):
        load("german-credit", tmp_path)


def test_the_checksums_of_the_cards_are_those_of_the_files(graph_root: Path) -> None:
    for name in SETS:
        card = get_recipe("datasets", name)
        assert isinstance(card, DatasetCard)
        assert [raw.path for raw in card.raw] == ["X.csv.gz", "y.csv.gz", "edges.csv.gz"]
        for raw in card.raw:
            content = (graph_root / card.folder / raw.path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == raw.sha256
