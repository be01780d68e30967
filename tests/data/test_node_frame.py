from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from graphclean.data import check, from_networkx, from_tables, load_npz, save_npz, to_tables
from graphclean.data.converted import from_converted
from graphclean.data.frame_columns import column_kind, levels, numbers
from graphclean.robust.training_graph import bare_graph
from graphclean.sparse import convert_edges
from graphclean.types import InputError

COLUMNS = {
    "age": [31.5, np.nan, 40.0, 22.0, 31.5],
    "kind": ["book", "note", None, "book", "note"],
    "grade": pd.Categorical([3, 1, None, 3, 1], categories=[3, 1, 2]),
    "seen": pd.to_datetime(["2020-01-01", None, "2021-05-05", "2020-01-01", "1969-12-31"]),
    "open": pd.array([True, None, False, True, True], dtype="boolean"),
    "count": pd.array([1, 2, None, 2**40, -5], dtype="Int64"),
    "band": pd.Categorical(["b", "a", None, "a", "c"], categories=["c", "b", "a", "d"]),
    "same": [7, 7, 7, 7, 7],
    "word": ["a b", "b", "c", "d", "e"],
}


def nodes() -> pd.DataFrame:
    table = pd.DataFrame({"key": list("vwxyz"), "topic": ["p", "q", None, "q", "p"], **COLUMNS})
    return table.assign(code=[0, 1, 2, 1, 0]).set_axis(range(10, 15))


EDGES = pd.DataFrame({"from": ["v", "w", "x"], "to": ["w", "x", "y"]})


def test_the_frame_holds_the_columns_as_they_were_without_id_label_and_copies() -> None:
    data = from_tables(nodes(), EDGES, label="topic", id="key")
    pd.testing.assert_frame_equal(data.node_frame, pd.DataFrame(COLUMNS))
    chosen = from_tables(nodes(), EDGES, label="topic", id="key", features=["code", "kind"])
    assert chosen.node_frame.columns.tolist() == ["code", "kind"]
    checked = check(data)
    assert checked.node_frame is data.node_frame
    assert check(checked).node_frame is data.node_frame
    assert not any("node_frame" in note for note in checked.check_notes)


def test_the_table_of_the_user_is_not_touched() -> None:
    table = nodes()
    data = from_tables(table, EDGES, label="topic", id="key")
    data.node_frame.loc[0, "age"] = -1.0
    pd.testing.assert_frame_equal(table, nodes())


def test_round_trip_through_tables() -> None:
    data = from_tables(nodes(), EDGES, label="topic", id="key")
    table, edges = to_tables(data)
    assert table.columns.tolist() == ["id", *COLUMNS, "label"]
    again = from_tables(table, edges, label="label")
    pd.testing.assert_frame_equal(again.node_frame, data.node_frame)
    assert torch.equal(again.x, data.x)
    assert again.feature_names == data.feature_names
    clashing = check(
        Data(
            y=torch.tensor([0, 1]),
            edge_index=torch.zeros(2, 0, dtype=torch.long),
            node_frame=pd.DataFrame({"id": [1, 2], "label": [3, 4]}),
        )
    )
    assert to_tables(clashing)[0].columns.tolist() == [
        "id",
        "id (feature)",
        "label (feature)",
        "label",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_round_trip_through_files(tmp_path: Path, suffix: str) -> None:
    data = from_tables(nodes(), EDGES, label="topic", id="key")
    table, edges = to_tables(data)
    for name, frame in (("n", table), ("e", edges)):
        if suffix == ".csv":
            frame.to_csv(tmp_path / f"{name}.csv", index=False)
        else:
            frame.to_parquet(tmp_path / f"{name}.parquet")
    again = from_tables(tmp_path / f"n{suffix}", tmp_path / f"e{suffix}", label="label")
    assert again.node_frame.columns.tolist() == list(COLUMNS)
    pd.testing.assert_frame_equal(again.node_frame.isna(), data.node_frame.isna())
    assert again.node_frame["kind"].dropna().tolist() == ["book", "note", "book", "note"]
    assert again.node_frame["count"].dropna().tolist() == [1, 2, 2**40, -5]
    if suffix == ".parquet":
        assert again.node_frame["band"].dtype == data.node_frame["band"].dtype
        assert again.node_frame["seen"].equals(data.node_frame["seen"])


def test_round_trip_through_npz_without_pickle(tmp_path: Path) -> None:
    data = check(from_tables(nodes(), EDGES, label="topic", id="key"))
    path = save_npz(data, tmp_path / "graph.npz")
    again = load_npz(path)
    pd.testing.assert_frame_equal(again.node_frame, data.node_frame)
    assert path.read_bytes() == save_npz(again, tmp_path / "again.npz").read_bytes()
    odd = copy.copy(data)
    odd.node_frame = pd.DataFrame({"mixed": pd.Series([1, "a", None, 2.5, True], dtype=object)})
    stored = load_npz(save_npz(odd, tmp_path / "odd.npz")).node_frame["mixed"]
    assert stored.dropna().tolist() == ["1", "a", "2.5", "True"]
    assert stored.isna().tolist() == [False, False, True, False, False]


def test_a_converted_graph_has_its_rows_in_the_order_of_its_nodes(tmp_path: Path) -> None:
    EDGES.to_csv(tmp_path / "e.csv", index=False)
    convert_edges(tmp_path / "e.csv", tmp_path / "g", source="from", target="to")
    table = nodes()[lambda frame: frame["key"] != "z"].iloc[[3, 1, 0, 2]]
    data = from_converted(tmp_path / "g", table, label="topic", id="key")
    of_key = dict(zip(table["key"], table["age"], strict=True))
    np.testing.assert_array_equal(data.node_frame["age"], [of_key[key] for key in data.node_ids])
    assert data.node_frame.index.equals(pd.RangeIndex(4))


def test_networkx_attributes_are_kept() -> None:
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: "a", 1: "b", 2: "b"}, "topic")
    nx.set_node_attributes(graph, {0: "red", 2: "blue"}, "colour")
    nx.set_node_attributes(graph, {n: [n, 2.0 * n] for n in range(3)}, "vec")
    data = from_networkx(graph, "topic")
    assert data.node_frame["colour"].isna().tolist() == [False, True, False]
    assert data.node_frame["vec[1]"].tolist() == [0.0, 2.0, 4.0]


def small(frame: Any) -> Data:
    return Data(
        x=torch.ones(3, 1),
        y=torch.tensor([0, 1, 1]),
        edge_index=torch.tensor([[0, 1], [1, 2]]),
        node_frame=frame,
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": [1, 2, 3]}, "data.node_frame: a dict. Pass a pandas DataFrame"),
        (pd.DataFrame({"a": [1, 2]}), "data.node_frame: 2 rows. Give it one row for each of the 3"),
        (pd.DataFrame([[1, 2]] * 3, columns=["a", "a"]), "two columns called 'a'"),
        (pd.DataFrame([[1, 2]] * 3, columns=[1, "1"]), "two columns called '1'"),
        (pd.DataFrame({"a": [1, np.inf, 3]}), "data.node_frame: column 'a' infinite at row 1"),
        (pd.DataFrame({"a": [1j, 2, 3]}), "column 'a' is complex"),
    ],
)
def test_check_refuses(frame: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(small(frame))


def test_check_numbers_rows_by_their_place_and_names_columns() -> None:
    frame = pd.DataFrame({3: ["x", "y", "z"]}, index=[2, 0, 1])
    checked = check(small(frame))
    assert checked.node_frame["3"].tolist() == ["x", "y", "z"]
    assert checked.node_frame.index.equals(pd.RangeIndex(3))
    assert any(note.startswith("node_frame: rows are numbered") for note in checked.check_notes)
    assert frame.columns.tolist() == [3]


def test_check_makes_x_of_the_frame_where_there_is_none() -> None:
    data = small(pd.DataFrame({"v": [1.0, 2.0, 3.0], "w": ["p", None, "p"]}))
    del data.x
    checked = check(data)
    assert checked.feature_names == ["v", "w=p", "w missing"]
    assert checked.x[:, 1].tolist() == [1, 0, 1]


def test_copies_and_views_keep_the_frame_and_a_subgraph_is_not_mistaken_for_the_whole() -> None:
    data = check(from_tables(nodes(), EDGES, label="topic", id="key"))
    assert bare_graph(data).node_frame is data.node_frame
    assert data.clone().to("cpu").node_frame.equals(data.node_frame)
    part = data.edge_subgraph(torch.tensor([True] + [False] * (data.edge_index.shape[1] - 1)))
    assert part.node_frame.equals(data.node_frame)
    with pytest.raises(InputError, match="node_frame: 5 rows"):
        check(data.subgraph(torch.tensor([3, 0])))


KINDS: list[tuple[str, Any, str | None]] = [
    ("float", [1.5, None, 2], "number"),
    ("bool", [True, False], "number"),
    ("object of numbers", pd.Series([1, None, 2.5], dtype=object), "number"),
    ("object of bools", pd.Series([True, None, False], dtype=object), "number"),
    ("nullable", pd.array([1, None], dtype="Int64"), "number"),
    ("date", pd.to_datetime(["2020-01-01", None]), "number"),
    ("date with zone", pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("CET"), "number"),
    ("object of dates", [pd.Timestamp("2020-01-01").date(), None], "number"),
    ("duration", pd.to_timedelta([1, 2], unit="s"), "number"),
    ("strings", ["a", "b", None, "a"], "category"),
    ("numbers as strings", ["1", "2", "1", "2"], "category"),
    ("category of numbers", pd.Categorical([1, 2, 1]), "category"),
    ("mixed", pd.Series([1, "a", 1, "a"], dtype=object), "category"),
    ("large category", pd.Categorical([f"l{i}" for i in range(255)]), "category"),
    ("too large category", pd.Categorical([f"l{i}" for i in range(256)]), "text"),
    ("text", [f"w{i}" for i in range(30)], "text"),
    ("51 levels, many rows", [f"w{i % 51}" for i in range(51 * 20)], "category"),
    ("51 levels, fewer rows", [f"w{i % 51}" for i in range(51 * 19)], "text"),
    ("constant", [3, 3], None),
    ("constant string", ["a", "a"], None),
    ("constant with a gap", [3, None], "number"),
    ("constant string with a gap", ["a", None], "category"),
    ("gaps", [None, None], None),
    ("gaps in numbers", [np.nan, np.nan], None),
    ("nothing", [], None),
]


@pytest.mark.parametrize(("name", "values", "kind"), KINDS, ids=[case[0] for case in KINDS])
def test_kind_of_a_column(name: str, values: Any, kind: str | None) -> None:
    assert column_kind(pd.Series(values, name=name)) == kind


def test_numbers_and_levels() -> None:
    days = pd.Series(pd.to_datetime(["1970-01-02 00:00", None, "1969-12-31 12:00"]))
    np.testing.assert_array_equal(numbers(days), [86400.0, np.nan, -43200.0])
    zoned = days.dt.tz_localize("Etc/GMT-2")  # two hours east: two hours earlier in UTC
    np.testing.assert_array_equal(numbers(zoned), [79200.0, np.nan, -50400.0])
    dates = days.dt.date.where(days.notna(), None).astype(object)
    np.testing.assert_array_equal(numbers(dates), [86400.0, np.nan, -86400.0])
    np.testing.assert_array_equal(
        numbers(pd.Series(pd.array([True, None, False], dtype="boolean"))), [1, np.nan, 0]
    )
    whole = pd.Series(pd.Categorical([5.0, None, 2.5]))
    assert levels(whole).tolist() == ["5", None, "2.5"]
    assert levels(pd.Series(["5", pd.NA, "2"], dtype="string")).tolist() == ["5", None, "2"]
