from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from graphclean.data import check, from_tables, load, read_graph
from graphclean.sparse import convert_edges
from graphclean.types import InputError


def tables(text: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten nodes 0..9 or p0..p9, not in order, and edges with a loop, repetitions and weights."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(10)
    ends = rng.integers(0, 10, (2, 40))
    nodes = pd.DataFrame({"v": ids * 1.5, "topic": [f"t{i % 3}" for i in ids], "key": ids})
    edges = pd.DataFrame({"source": ends[0], "target": ends[1], "w": rng.integers(1, 5, 40) / 4})
    if text:
        nodes["key"] = "p" + nodes["key"].astype(str)
        edges[["source", "target"]] = "p" + edges[["source", "target"]].astype(str)
    return nodes, edges


def by_id(data: Any) -> tuple[dict[Any, Any], dict[Any, float]]:
    """Return features and label of every node, and the edges with their weights, by ids."""
    ids, labels = data.node_ids, [data.class_names[code] for code in data.y.tolist()]
    nodes = dict(zip(ids, zip(data.x.tolist(), labels, strict=True), strict=True))
    weight = data.edge_weight.tolist() if "edge_weight" in data else [1.0] * data.num_edges
    ends = data.edge_index.T.tolist()
    return nodes, {(ids[s], ids[t]): w for (s, t), w in zip(ends, weight, strict=True)}


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_a_converted_graph_is_the_graph_of_its_tables(
    tmp_path: Path, text: bool, directed: bool, weight: str | None
) -> None:
    nodes, edges = tables(text)
    edges.to_parquet(tmp_path / "e.parquet")
    nodes.to_parquet(tmp_path / "n.parquet")
    folder = tmp_path / "graph.csr"
    convert_edges(tmp_path / "e.parquet", folder, weight=weight, directed=directed)
    data = read_graph(folder, "topic", nodes=tmp_path / "n.parquet", id="key", features="v")
    assert data.name == "graph"
    assert data.node_ids == sorted(nodes["key"])
    checked = check(data, directed=directed)
    tabled = from_tables(nodes, edges, label="topic", id="key", weight=weight, features="v")
    expected = check(tabled, directed=directed)
    assert by_id(checked) == by_id(expected)
    if not directed:
        assert torch.equal(checked.edge_index, data.edge_index)


def test_rows_are_in_the_order_of_the_nodes_already(tmp_path: Path) -> None:
    nodes, edges = tables(True)
    edges.to_csv(tmp_path / "e.csv", index=False)
    nodes.to_csv(tmp_path / "n.csv", index=False)
    convert_edges(tmp_path / "e.csv", tmp_path / "g", nodes=tmp_path / "n.csv", id="key")
    data = read_graph(tmp_path / "g", "topic", nodes=tmp_path / "n.csv", id="key")
    assert data.node_ids == list(nodes["key"])
    frame = nodes.set_index("key")
    assert (
        by_id(check(data))[1].keys()
        == by_id(check(from_tables(frame, edges, label="topic")))[1].keys()
    )


def test_numbers_in_the_folder_match_text_in_the_table(tmp_path: Path) -> None:
    nodes, edges = tables(False)
    edges.to_parquet(tmp_path / "e.parquet")
    nodes.to_csv(tmp_path / "n.csv", index=False)
    convert_edges(tmp_path / "e.parquet", tmp_path / "g.csr")
    data = read_graph(tmp_path / "g.csr", "topic", nodes=tmp_path / "n.csv", id="key")
    assert data.node_ids == [str(i) for i in range(10)]
    assert [data.class_names[code] for code in data.y] == [f"t{i % 3}" for i in range(10)]
    rows = nodes.sort_values("key").drop(columns="key").reset_index(drop=True)
    rows.to_parquet(tmp_path / "rows.parquet")
    unnamed = read_graph(tmp_path / "g.csr", "topic", nodes=tmp_path / "rows.parquet")
    assert unnamed.node_ids == list(range(10))
    assert torch.equal(unnamed.y, data.y)


def test_a_folder_alone_gives_edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, edges = tables(True)
    edges.to_parquet(tmp_path / "e.parquet")
    convert_edges(tmp_path / "e.parquet", tmp_path / "graph.csr")
    monkeypatch.chdir(tmp_path)
    for data in (load("graph.csr"), load(tmp_path / "graph.csr"), read_graph("graph.csr/")):
        assert (data.name, data.num_nodes) == ("graph", 10)
        assert data.node_ids == [f"p{i}" for i in range(10)]
        assert "y" not in data
        edge_index = check(data, require_labels=False).edge_index
        assert torch.equal(edge_index, data.edge_index)
    data.x, data.y = torch.eye(10), torch.arange(10) % 2
    assert check(data).num_nodes == 10


def test_what_does_not_fit_is_one_error(tmp_path: Path) -> None:
    nodes, edges = tables(True)
    edges.to_parquet(tmp_path / "e.parquet")
    folder = tmp_path / "graph.csr"
    convert_edges(tmp_path / "e.parquet", folder)
    other = nodes.replace({"key": {"p3": "q3", "p7": "q7"}})
    named = {"label": "topic", "nodes": other, "id": "key"}
    cases: list[tuple[dict[str, Any], str]] = [
        (
            named,
            r"nodes: 2 of 10 nodes of graph.csr have no row, such as \['p3', 'p7'\]; "
            r"2 of 10 rows are no node of graph.csr, such as \['q\d', 'q\d'\]",
        ),
        (named | {"nodes": nodes[:9]}, "nodes: 1 of 10 nodes of graph.csr have no row"),
        (named | {"nodes": pd.concat([nodes, other])}, "id: duplicates"),
        (named | {"label": None}, "label: missing"),
        ({"label": "topic"}, "nodes: missing. Pass the table of nodes that label='topic'"),
        ({"source": "source"}, "source: source. Leave it out: converted graphs"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            read_graph(folder, **arguments)
    with pytest.raises(InputError, match=r"root: .* Leave it out"):
        load(folder, tmp_path)
    with pytest.raises(InputError, match=r"folder: .*meta\.json"):
        read_graph(tmp_path)
    (folder / "indices.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"indices.npy has another size"):
        load(folder)
