from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from graphclean.data import (
    check,
    from_networkx,
    from_scipy,
    load_graphml,
    read_graph,
    save_npz,
    to_tables,
)
from graphclean.types import InputError

HOSTILE = "<script>alert('ü & \"x\"')</script>"


def graph(kind: type = nx.Graph) -> Any:
    g = kind(name="toy")
    g.add_node("a b", topic=HOSTILE, size=1.0, text="x")
    g.add_node(HOSTILE, topic="math", size=2.0, text="y")
    g.add_node("ß", size=4.0, text="x")
    g.add_node("lonely", topic="math", size=1.0, text="x")
    g.add_edge("a b", HOSTILE, strength=2.5)
    g.add_edge(HOSTILE, "ß")
    return g


def test_networkx_nodes_labels_and_attributes() -> None:
    data = from_networkx(graph(), "topic")
    assert data.node_ids == ["a b", HOSTILE, "ß", "lonely"]
    assert data.class_names == sorted([HOSTILE, "math"])
    assert data.y.tolist() == [0, 1, -1, 1]
    assert sorted(data.edge_index.t().tolist()) == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert data.feature_names == ["size", "text=x", "text=y"]
    assert data.name == "toy"
    assert not any("reverse edges" in note for note in check(data).check_notes)


def test_networkx_directions_weights_parallels_and_odd_ids() -> None:
    directed = from_networkx(graph(nx.DiGraph), "topic", weight="strength")
    assert directed.edge_index.tolist() == [[0, 1], [1, 2]]
    assert directed.edge_weight.tolist() == [2.5, 1.0]
    multi = graph(nx.MultiGraph)
    multi.add_edge("a b", HOSTILE, strength=0.5)
    checked = check(from_networkx(multi, "topic", weight="strength"))
    assert checked.edge_weight.tolist() == [3.0, 3.0, 1.0, 1.0]
    odd = nx.Graph([((0, 1), 7), (7, "x")])
    nx.set_node_attributes(odd, {(0, 1): 0, 7: 1, "x": 0}, "y")
    data = from_networkx(odd, "y")
    assert data.node_ids == [(0, 1), 7, "x"]
    assert data.edge_index.shape == (2, 4)


def test_networkx_vectors_become_columns() -> None:
    g = nx.path_graph(3)
    nx.set_node_attributes(g, {0: "a", 1: "b", 2: "a"}, "y")
    nx.set_node_attributes(g, {0: [1.0, 0], 1: [0, 1.0], 2: [1.0, 1]}, "vec")
    data = from_networkx(g, "y", "vec")
    assert data.feature_names == ["vec[0]", "vec[1]"]
    assert data.x.tolist() == [[1, 0], [0, 1], [1, 1]]
    g.nodes[0]["vec"] = [1.0]
    with pytest.raises(InputError, match="vectors of lengths"):
        from_networkx(g, "y", "vec")


def test_networkx_refuses_what_is_not_there() -> None:
    with pytest.raises(InputError, match="label: no node attribute 'class'"):
        from_networkx(graph(), "class")
    with pytest.raises(InputError, match="features: no node attribute 'age'"):
        from_networkx(graph(), "topic", ["age"])
    with pytest.raises(InputError, match="graph: a list"):
        from_networkx([], "topic")


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.coo_matrix])
def test_scipy(kind: Any) -> None:
    dense = np.array([[0, 2.0, 0], [0, 0, 1], [1, 0, 0]])
    data = from_scipy(
        kind(dense),
        np.arange(6).reshape(3, 2),
        ["ä", "b", None],
        node_ids=["x", "y", "z"],
        feature_names=["f", "g"],
        name="mine",
    )
    rebuilt = torch.zeros(3, 3)
    rebuilt[tuple(data.edge_index)] = data.edge_weight
    assert rebuilt.tolist() == dense.tolist()
    assert data.x.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (data.y.tolist(), data.class_names) == ([1, 0, -1], ["b", "ä"])
    assert (data.node_ids, data.feature_names, data.name) == (["x", "y", "z"], ["f", "g"], "mine")


def test_scipy_without_features_and_with_sparse_ones() -> None:
    ring = sp.csr_matrix(np.roll(np.eye(5), 1, axis=1))
    bare = check(from_scipy(ring, labels=[0, 1, 0, 1, 0]))
    assert "edge_weight" not in bare
    assert bare.feature_names[0] == "log_degree"
    words = sp.csr_matrix(np.eye(5))
    assert torch.equal(from_scipy(ring, words, [0, 1, 0, 1, 0]).x, torch.eye(5))


def test_scipy_shapes_must_fit() -> None:
    with pytest.raises(InputError, match="square"):
        from_scipy(np.ones((2, 3)))
    with pytest.raises(InputError, match="features: shape"):
        from_scipy(np.eye(3), np.ones((2, 2)))
    with pytest.raises(InputError, match="labels: 2 labels"):
        from_scipy(np.eye(3), labels=[0, 1])


def test_graphml(tmp_path: Path) -> None:
    path = tmp_path / "toy.graphml"
    nx.write_graphml(graph(), path)
    data = load_graphml(path, "topic")
    expected = from_networkx(graph(), "topic")
    assert data.node_ids == expected.node_ids
    assert data.class_names == expected.class_names
    assert torch.equal(data.y, expected.y)
    assert torch.equal(data.x, expected.x)
    assert data.name == "toy"
    assert load_graphml(path, "topic", "size", weight="strength").edge_weight.sum() == 7.0
    path.write_text("<graphml><broken")
    with pytest.raises(InputError, match="not valid GraphML"):
        load_graphml(path, "topic")
    with pytest.raises(InputError, match="no such file"):
        load_graphml(tmp_path / "none.graphml", "topic")


def test_read_graph_by_suffix(tmp_path: Path, tiny_data: Data) -> None:
    nodes, edges = to_tables(tiny_data)
    nodes.to_csv(tmp_path / "n.csv.gz", index=False)
    edges.to_parquet(tmp_path / "e.parquet")
    save_npz(tiny_data, tmp_path / "g.npz")
    nx.write_graphml(graph(), tmp_path / "g.graphml")
    table = read_graph(tmp_path / "n.csv.gz", "label", edges=tmp_path / "e.parquet", id="id")
    assert table.name == "n"
    assert table.class_names == tiny_data.class_names
    assert torch.equal(check(table).edge_index, check(tiny_data).edge_index)
    assert torch.equal(read_graph(tmp_path / "g.npz").y, tiny_data.y)
    assert read_graph(str(tmp_path / "g.graphml"), "topic", features=["size"]).x.shape == (4, 1)


def test_read_graph_says_what_is_missing_or_unused(tmp_path: Path, tiny_data: Data) -> None:
    save_npz(tiny_data, tmp_path / "g.npz")
    pd.DataFrame({"label": ["a"]}).to_csv(tmp_path / "n.csv")
    nx.write_graphml(graph(), tmp_path / "g.graphml")
    (tmp_path / "g.pt").touch()
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("g.npz", {"label": "y"}, "label: y. Leave it out"),
        ("g.graphml", {"label": "topic", "id": "id"}, "id: id. Leave it out"),
        ("g.graphml", {}, "label: missing"),
        ("n.csv", {"label": "label"}, "edges: missing"),
        ("g.pt", {"label": "y"}, "save_npz"),
        ("none.csv", {"label": "y"}, "no such file"),
    ]
    for file, arguments, message in cases:
        with pytest.raises(InputError, match=message):
            read_graph(tmp_path / file, **arguments)
