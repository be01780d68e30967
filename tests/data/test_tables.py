from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check, encode_labels, from_tables, to_tables
from graphclean.data import encode as encoding
from graphclean.types import InputError

NODES = pd.DataFrame(
    {
        "paper": ["p-1", "007", 'naïve, "x"', "四", "p-5"],
        "topic": ["Théorie", None, "AI", "AI", "Théorie"],
        "pages": [10.0, 12.0, np.nan, 8.0, 10.0],
        "kind": ["book", "note", "book", None, "note"],
        "open": [1, 0, 0, 1, 1],
        "same": [3, 3, 3, 3, 3],
    }
)
EDGES = pd.DataFrame(
    {
        "citing": ["p-1", "007", "四", "p-5"],
        "cited": ["007", "四", 'naïve, "x"', "p-1"],
        "weight": [1.0, 2, 3, 4],
    }
)


def expected_features() -> dict[str, list[float]]:
    pages = np.array([10.0, 12, 10, 8, 10])
    return {
        "pages": list((pages - pages.mean()) / pages.std()),
        "pages missing": [0, 0, 1, 0, 0],
        "kind=book": [1, 0, 1, 0, 0],
        "kind=note": [0, 1, 0, 0, 1],
        "kind missing": [0, 0, 0, 1, 0],
        "open": [1, 0, 0, 1, 1],
    }


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.mark.parametrize("suffix", ["frame", ".csv", ".tsv", ".csv.gz", ".parquet"])
def test_string_ids_and_labels_survive(tmp_path: Path, suffix: str) -> None:
    nodes: Any = NODES
    edges: Any = EDGES
    if suffix != "frame":
        nodes = write(NODES, tmp_path / f"nodes{suffix}")
        edges = str(write(EDGES, tmp_path / f"edges{suffix}"))
    data = from_tables(nodes, edges, label="topic", id="paper", name="mine")
    assert data.node_ids == NODES["paper"].tolist()
    assert data.class_names == ["AI", "Théorie"]
    assert data.y.tolist() == [1, -1, 0, 0, 1]
    assert data.edge_index.tolist() == [[0, 1, 3, 4], [1, 3, 2, 0]]
    assert "edge_weight" not in data
    assert data.name == "mine"
    assert data.feature_names == list(expected_features())
    assert np.allclose(data.x, np.stack(list(expected_features().values()), axis=1))
    assert data.check_notes == [
        "edge column 'weight' is not used: pass weight='weight' to use it",
        "1 of 5 nodes have no label",
        "column 'same' left out: it is constant, or no word occurs twice",
    ]
    assert set(data.check_notes) <= set(check(data).check_notes)


def test_round_trip_through_tables_and_files(tmp_path: Path) -> None:
    data = check(from_tables(NODES, EDGES, label="topic", id="paper", weight="weight"))
    nodes, edges = to_tables(data)
    assert nodes["id"].tolist() == data.node_ids
    assert nodes["label"].tolist()[2:] == ["AI", "AI", "Théorie"]
    assert nodes["label"].isna().tolist() == [False, True, False, False, False]
    assert len(edges) == 4  # once, though the checked graph has both directions
    for suffix in (".csv", ".parquet"):
        again = from_tables(
            write(nodes, tmp_path / f"n{suffix}"),
            write(edges, tmp_path / f"e{suffix}"),
            label="label",
            weight="weight",
        )
        again = check(again)
        assert (again.node_ids, again.class_names) == (data.node_ids, data.class_names)
        assert torch.equal(again.y, data.y)
        assert torch.equal(again.edge_index, data.edge_index)
        assert torch.equal(again.edge_weight, data.edge_weight)
        assert torch.allclose(again.x, data.x, atol=1e-6)


def test_to_tables_keeps_directions_and_default_names(six_nodes: Data) -> None:
    six_nodes.edge_index = torch.tensor([[0, 1], [1, 2]])
    nodes, edges = to_tables(six_nodes)
    assert nodes.columns.tolist() == ["id", "x0", "x1", "label"]
    assert edges.to_numpy().tolist() == [[0, 1], [1, 2]]
    six_nodes.feature_names = ["id", "label"]
    assert to_tables(six_nodes)[0].columns.tolist() == [
        "id",
        "id (feature)",
        "label (feature)",
        "label",
    ]


def test_default_columns() -> None:
    nodes = pd.DataFrame({"Node_ID": [5, 6, 7], "label": ["a", "b", "a"], "v": [1, 2, 4]})
    edges = pd.DataFrame({"w": [1, 1], "to": [6, 7], "from": [5, 6]})
    data = from_tables(nodes, edges, label="label")
    assert data.node_ids == [5, 6, 7]
    assert data.edge_index.tolist() == [[0, 1], [1, 2]]
    assert data.feature_names == ["v"]
    first_two = from_tables(nodes, pd.DataFrame({"a": [5], "b": [7]}), label="label")
    assert first_two.edge_index.tolist() == [[0], [2]]
    indexed = nodes.drop(columns="Node_ID").set_axis(["x", "y", "z"])
    by_index = from_tables(indexed, pd.DataFrame({"a": ["x"], "b": ["z"]}), label="label")
    assert by_index.node_ids == ["x", "y", "z"]
    only = from_tables(nodes.assign(u=[9, 8, 1]), edges, label="label", features=["u"])
    assert only.feature_names == ["u"]


def test_numbers_in_one_table_match_strings_in_the_other() -> None:
    nodes = pd.DataFrame({"id": [10, 20], "label": ["a", "b"]})
    data = from_tables(nodes, pd.DataFrame({"a": ["10"], "b": ["20"]}), label="label")
    assert data.edge_index.tolist() == [[0], [1]]
    assert data.node_ids == [10, 20]


def test_a_renamed_copy_of_the_label_is_left_out() -> None:
    nodes = pd.DataFrame(
        {"label": ["a", "b", "a", None, "c"], "code": [7, 3, 7, 3, 5], "v": [1, 2, 1, 2, 1]}
    )
    edges = pd.DataFrame({"a": [0], "b": [1]})
    data = from_tables(nodes, edges, label="label")
    assert data.feature_names == ["v"]
    assert "column 'code' left out: it repeats the label under another name" in data.check_notes
    assert from_tables(nodes, edges, label="label", features=["code"]).feature_names == ["code"]


def test_a_copy_of_the_label_is_one_on_every_row() -> None:
    label = ["a", "b", "c"] * 500
    nodes = pd.DataFrame({"label": label, "copy": [{"a": 3, "b": 1, "c": 2}[v] for v in label]})
    nodes["near"] = nodes["copy"].where(nodes.index != 1400, 9)
    nodes.loc[1400, "label"] = "a"
    nodes.loc[1400, "copy"] = 3
    nodes["coarse"] = nodes["copy"].clip(upper=2)
    edges = pd.DataFrame({"source": [0], "target": [1]})
    data = from_tables(nodes, edges, label="label")
    assert data.feature_names == ["near", "coarse"]


def test_without_columns_the_structure_stands_in() -> None:
    nodes = pd.DataFrame({"id": list("abcd"), "label": ["x", "y", "x", "y"]})
    data = from_tables(nodes, pd.DataFrame({"s": list("abc"), "t": list("bcd")}), label="label")
    assert torch.allclose(data.x[:, 0], torch.log1p(torch.tensor([1.0, 2, 2, 1])))
    assert data.feature_names[0] == "log_degree"
    assert any("no features" in note for note in data.check_notes)


def test_encoding_of_dates_categories_bools_and_text() -> None:
    words = ["graph noise", "graph label", "noise label", "label graph", "graph noise", "odd one"]
    table = pd.DataFrame(
        {
            "day": pd.to_datetime(
                ["2020-01-01", "2020-01-03", None, "2020-01-05"] + ["2020-01-03"] * 2
            ),
            "level": pd.Categorical([1, 2, 1, 1, 2, 2]),
            "flag": [True, False, True, True, False, False],
            "text": [f"{word} {i}" for i, word in enumerate(words)],
            "alone": [f"word{i}" for i in range(6)],
        }
    )
    notes: list[str] = []
    x, names = encoding.encode_columns(table, notes)
    assert x is not None
    assert names is not None
    columns = dict(zip(names, x.t().tolist(), strict=True))
    day = np.array([0.0, 2, 2, 4, 2, 2])
    assert columns["day"] == pytest.approx((day - day.mean()) / day.std())
    assert columns["day missing"] == [0, 0, 1, 0, 0, 0]
    assert [1 - v for v in columns["level=1"]] == columns["level=2"] == [0, 1, 0, 0, 1, 1]
    assert columns["flag"] == [1, 0, 1, 1, 0, 0]
    assert [value > 0 for value in columns["text:graph"]] == [True, True, False, True, True, False]
    assert {name for name in names if name.startswith("text")} == {
        "text:graph",
        "text:label",
        "text:noise",
    }
    assert notes == ["column 'alone' left out: it is constant, or no word occurs twice"]


def test_text_that_does_not_fit_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.choice(90, 12)) for _ in range(100)]
    table = pd.DataFrame({"text": texts})
    whole, _ = encoding.encode_columns(table, [])
    monkeypatch.setattr(encoding, "DENSE_BYTES", 1000)
    reduced, names = encoding.encode_columns(table, [])
    assert whole is not None
    assert reduced is not None
    assert names is not None
    assert reduced.shape == (100, 64)
    assert names[0] == "text~0"
    assert torch.allclose(reduced @ reduced.t(), whole @ whole.t(), atol=0.3)


def test_what_counts_as_missing_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("id,label,v\nNA,None,1\nb,NA,null\nc,,3\nd,x,4\n")
    (tmp_path / "e.csv").write_text("a,b\nNA,b\nc,d\n")
    data = from_tables(tmp_path / "n.csv", tmp_path / "e.csv", label="label", features="v")
    assert data.node_ids == ["NA", "b", "c", "d"]
    assert data.class_names == ["None", "x"]
    assert data.y.tolist() == [0, -1, -1, 1]
    assert data.feature_names == ["v", "v missing"]
    (tmp_path / "e.csv").write_text("a,b\nNA,\n")
    with pytest.raises(InputError, match="target: 1 of 1 edges"):
        from_tables(tmp_path / "n.csv", tmp_path / "e.csv", label="label")


def test_a_file_with_labels_only_and_one_without_rows(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("id,label\na,x\nb,y\n")
    (tmp_path / "e.csv").write_text("a,b\na,b\n")
    data = check(from_tables(tmp_path / "n.csv", tmp_path / "e.csv", label="label"))
    assert data.feature_names[0] == "log_degree"
    (tmp_path / "n.csv").write_text("id,label\n")
    (tmp_path / "e.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="without nodes"):
        check(from_tables(tmp_path / "n.csv", tmp_path / "e.csv", label="label"))


LABELS: list[tuple[list[Any], list[int], list[str]]] = [
    (["b", "a", None, "", "  ", "b"], [1, 0, -1, -1, -1, 1], ["a", "b"]),
    ([2, 10, 1, -1, 2], [1, 2, 0, -1, 1], ["1", "2", "10"]),
    (["2", "10", "1", "-1", "2"], [1, 2, 0, -1, 1], ["1", "2", "10"]),
    ([1.0, float("nan"), 3.0, pd.NA, np.float32(1)], [0, -1, 1, -1, 0], ["1", "3"]),
    ([-1, 1, 1, -1], [0, 1, 1, 0], ["-1", "1"]),
    ([True, False, np.True_], [1, 0, 1], ["False", "True"]),
    (["é", "e", "<b>", "a\nb"], [3, 2, 0, 1], ["<b>", "a\nb", "e", "é"]),
    ([], [], []),
]


@pytest.mark.parametrize(("labels", "codes", "names"), LABELS)
def test_encode_labels(labels: list[Any], codes: list[int], names: list[str]) -> None:
    y, found, notes = encode_labels(labels)
    assert y.tolist() == codes
    assert y.dtype == torch.long
    assert found == names
    missing = codes.count(-1)
    assert (f"{missing} of {len(labels)} nodes have no label" in notes) == (missing > 0)


@pytest.mark.parametrize("value", [0.5, float("inf")])
def test_a_measured_quantity_is_no_label(value: float) -> None:
    with pytest.raises(InputError, match="at row 1 is not a class"):
        encode_labels([1.0, value])


def good() -> dict[str, Any]:
    return {
        "nodes": pd.DataFrame({"id": ["a", "b", "c"], "label": ["x", "y", "x"], "v": [1, 2, 3]}),
        "edges": pd.DataFrame({"s": ["a", "b"], "t": ["b", "c"], "w": ["1", "2"]}),
        "label": "label",
    }


BAD: list[tuple[dict[str, Any], str]] = [
    ({"label": "lable"}, "label: no column 'lable'. Did you mean 'label'"),
    ({"id": "key"}, "id: no column 'key'"),
    ({"source": "from"}, "source: no column 'from'"),
    ({"weight": "weight"}, "weight: no column 'weight'"),
    ({"features": ["u"]}, "features: no column 'u'"),
    ({"features": ["label"]}, "features: label"),
    ({"source": "t", "target": "t"}, "both ends from column 't'"),
    ({"nodes": good()["nodes"].assign(id=["a", "b", "a"])}, r"duplicates such as \['a'\]"),
    ({"nodes": good()["nodes"].assign(id=["a", None, "c"])}, "id: missing at row 1"),
    ({"nodes": good()["nodes"].assign(v=[1, np.inf, 3])}, "column 'v': infinite at row 1"),
    ({"edges": good()["edges"].assign(t=["b", "zz"])}, r"1 of 2 edges .* such as \['zz'\]"),
    ({"edges": good()["edges"].assign(t=["b", None])}, "1 of 2 edges"),
    ({"edges": good()["edges"][["s"]]}, "1 column"),
    ({"edges": good()["edges"].assign(w=["1", "much"]), "weight": "w"}, "weight: 'much' at row 1"),
    ({"nodes": pd.concat([good()["nodes"]] * 2, axis=1)}, "two columns called 'id'"),
    ({"nodes": "no/such/file.csv"}, "nodes: no/such/file.csv. There is no such file"),
    ({"edges": 3}, "edges: a int"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_tables(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_tables(**{**good(), **arguments})


def test_unreadable_files(tmp_path: Path) -> None:
    for name, message in (
        ("n.csv", "cannot be read"),
        ("n.parquet", "cannot be read"),
        ("n.xlsx", "suffix"),
    ):
        (tmp_path / name).write_bytes(b"" if name == "n.csv" else b"\xff\xfe\x00")
        with pytest.raises(InputError, match=message):
            from_tables(tmp_path / name, EDGES, label="topic")


@pytest.mark.parametrize(
    ("name", "label", "nodes", "edges"),
    [
        ("county_election", "margin5", 3112, 9242),
        ("german_credit", "GoodCustomer", 1000, 21742),
        ("california_housing", "price5", 20640, 64993),
    ],
)
def test_real_tables(
    graph_root: Path, tmp_path: Path, name: str, label: str, nodes: int, edges: int
) -> None:
    folder = graph_root / "tabular" / name
    table = pd.read_csv(folder / "X.csv.gz").assign(y=pd.read_csv(folder / "y.csv.gz")[label])
    table.to_csv(tmp_path / "nodes.csv", index=False)
    data = check(from_tables(tmp_path / "nodes.csv", folder / "edges.csv.gz", label="y"))
    assert (data.num_nodes, data.edge_index.shape[1]) == (nodes, 2 * edges)
    assert data.class_names == [str(i) for i in range(int(data.y.max()) + 1)]
    assert data.y.tolist() == table["y"].tolist()
    assert len(data.feature_names) == data.x.shape[1]
    missing = [feature for feature in data.feature_names if feature.endswith(" missing")]
    assert bool(missing) == bool(table.isna().any().any())
