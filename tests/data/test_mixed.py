from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch_geometric.data import Data

from graphclean.data import MixedTable, check, mixed, mixed_table
from graphclean.types import InputError

ALL = ("mean", "max", "min")


def graph(nodes: int = 40, seed: int = 0, gaps: float = 0.3) -> Data:
    """Every kind of column, gaps, directed and weighted edges, three nodes without an edge."""
    rng = np.random.default_rng(seed)
    hidden = rng.random((nodes, 6)) < gaps
    words = np.array(["red fox", "lazy dog", "red dog", "fox and dog", "quick hare"])
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=nodes) * 1e6,
            "town": rng.choice(["aa", "bb", "cc"], nodes),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, nodes), "D"),
            "open": rng.random(nodes) < 0.5,
            "text": [f"{text} {i}" for i, text in enumerate(rng.choice(words, nodes))],
            "code": rng.integers(0, 30, nodes).astype(float),
        }
    )
    for position, name in enumerate(frame):
        column = frame[name].astype("boolean") if name == "open" else frame[name]
        frame[name] = column.mask(hidden[:, position])
    frame["code"] = frame["code"].astype("category")
    frame["same"] = 1
    edges = torch.from_numpy(rng.integers(0, nodes - 3, (2, 3 * nodes)))
    return Data(
        y=torch.from_numpy(rng.integers(0, 3, nodes)),
        edge_index=edges,
        edge_weight=torch.from_numpy(rng.random(3 * nodes) + 0.1).float(),
        node_frame=frame,
        num_nodes=nodes,
    )


def neighbour_sets(data: Data) -> list[list[int]]:
    sets: list[set[int]] = [set() for _ in range(data.num_nodes)]
    for source, target in data.edge_index.t().tolist():
        if source != target:
            sets[source].add(target)
            sets[target].add(source)
    return [sorted(found) for found in sets]


def column(table: MixedTable, name: str) -> np.ndarray:
    return table.numeric[:, table.numeric_names.index(name)]


def test_own_columns() -> None:
    data = check(graph())
    table = mixed_table(data)
    frame = data.node_frame
    text = [name for name in table.numeric_names if name.startswith("text~")]
    assert table.numeric_names == ("size", "day", "open", *text)
    assert table.categorical_names == ("town", "code")
    assert table.numeric.dtype == np.float32
    assert table.num_rows == 40
    np.testing.assert_array_equal(column(table, "size"), frame["size"].astype(np.float32))
    days = (frame["day"] - pd.Timestamp(0)).dt.total_seconds()
    np.testing.assert_array_equal(column(table, "day"), days.astype(np.float32))
    opened = frame["open"].astype("Float32").to_numpy(dtype=np.float32, na_value=np.nan)
    np.testing.assert_array_equal(column(table, "open"), opened)
    for name, found in zip(table.categorical_names, table.categorical, strict=True):
        values = frame[name]
        spelled = values.dropna().map(lambda v: v if isinstance(v, str) else str(int(v)))
        assert [level for level in found if level is not None] == spelled.tolist()
        assert [level is None for level in found] == values.isna().tolist()
    for name in text:
        np.testing.assert_array_equal(np.isnan(column(table, name)), frame["text"].isna())


def test_text_keeps_the_similarities_of_its_words() -> None:
    data = check(graph(gaps=0.0))
    table = mixed_table(data)
    own = np.stack([column(table, n) for n in table.numeric_names if n.startswith("text~")], axis=1)
    words = TfidfVectorizer(min_df=2, sublinear_tf=True, token_pattern=r"\w+")
    matrix = words.fit_transform(data.node_frame["text"])
    assert own.shape[1] == len(words.get_feature_names_out()) <= 16
    np.testing.assert_allclose(own @ own.T, (matrix @ matrix.T).toarray(), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_equal_loops_over_nodes(seed: int) -> None:
    raw = graph(seed=seed)
    expected_sets = neighbour_sets(raw)
    for data in (raw, check(raw)):  # directed, weighted, with loops and duplicates; then checked
        table = mixed_table(data, neighbours=ALL)
        own = mixed_table(data)
        for name in own.numeric_names:
            values = column(own, name)
            for statistic in ALL:
                expected = []
                for members in expected_sets:
                    known = values[members][~np.isnan(values[members])].astype(np.float64)
                    expected.append(getattr(known, statistic)() if len(known) else np.nan)
                found = column(table, f"{name} (neighbour {statistic})")
                np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)
        shares = [name for name in table.numeric_names if name.endswith("(neighbour share)")]
        for name, levels in zip(own.categorical_names, own.categorical, strict=True):
            counts = pd.Series(levels).value_counts()
            wanted = sorted(counts.index, key=lambda level: (-counts[level], level))[:20]
            mine = [f"{name}={level} (neighbour share)" for level in wanted]
            assert [share for share in shares if share.startswith(f"{name}=")] == mine
            for level, share in zip(wanted, mine, strict=True):
                expected = []
                for members in expected_sets:
                    known_levels = [levels[j] for j in members if levels[j] is not None]
                    found_share = np.mean([v == level for v in known_levels] or [np.nan])
                    expected.append(found_share)
                np.testing.assert_allclose(column(table, share), expected, rtol=1e-6)


def test_a_rare_level_counts_below_the_line_only() -> None:
    data = graph(nodes=400, gaps=0.0)
    table = mixed_table(data, neighbours=("mean",))
    shares = [n for n in table.numeric_names if n.startswith("code=")]
    assert len(shares) == 20
    assert len(set(table.categorical[table.categorical_names.index("code")])) == 30
    total = np.stack([column(table, name) for name in shares], axis=1).sum(axis=1)
    levels = table.categorical[table.categorical_names.index("code")]
    wanted = {name.removeprefix("code=").split(" ")[0] for name in shares}
    expected = [
        np.mean([levels[j] in wanted for j in members] or [np.nan])
        for members in neighbour_sets(data)
    ]
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert np.nanmean(expected) < 0.9


def test_nodes_without_neighbours_have_gaps_and_finite_structure() -> None:
    table = mixed_table(check(graph(gaps=0.0)), neighbours=ALL, structure=True)
    around = np.array(["(neighbour" in name for name in table.numeric_names])
    assert np.isnan(table.numeric[-3:][:, around]).all()
    assert not np.isnan(table.numeric[-3:][:, ~around]).any()
    structure = ("log_degree", "log_pagerank", "core_number", "clustering")
    assert [name for name in table.numeric_names if name in structure] == list(structure)
    assert (column(table, "log_degree")[-3:] == 0).all()


def test_labels_weights_and_masks_are_not_read() -> None:
    data = check(graph())
    table = mixed_table(data, neighbours=ALL, structure=True)
    other = copy.copy(data)
    other.y = torch.full_like(data.y, -1)
    other.y_clean = torch.zeros_like(data.y)
    other.train_mask = torch.zeros(data.num_nodes, dtype=torch.bool)
    other.edge_weight = torch.ones_like(data.edge_weight)
    same_table(mixed_table(other, neighbours=ALL, structure=True), table)


def same_table(found: MixedTable, expected: MixedTable, **tolerance: float) -> None:
    assert found.numeric_names == expected.numeric_names
    assert found.categorical_names == expected.categorical_names
    np.testing.assert_allclose(found.numeric, expected.numeric, **tolerance)
    for one, other in zip(found.categorical, expected.categorical, strict=True):
        assert one.tolist() == other.tolist()


def permuted(data: Data, order: np.ndarray) -> Data:
    place = torch.from_numpy(np.argsort(order))
    return Data(
        y=data.y[order],
        x=data.x[order],
        edge_index=place[data.edge_index],
        node_frame=data.node_frame.iloc[order].reset_index(drop=True),
    )


def test_nodes_in_another_order_have_the_same_rows() -> None:
    data = check(graph())
    order = np.random.default_rng(5).permutation(data.num_nodes)
    table = mixed_table(data, neighbours=ALL, structure=True)
    other = mixed_table(check(permuted(data, order)), neighbours=ALL, structure=True)
    same_table(other, table.take(order), rtol=1e-4, atol=1e-5)


def wide(rows: int = 50, columns: int = 90, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(rows, 5)) @ rng.normal(size=(5, columns))
    return (low * (rng.random((rows, columns)) < 0.7)).astype(np.float32)


@pytest.mark.parametrize("sparse", [False, True])
def test_wide_features_are_reduced_as_by_truncated_svd(sparse: bool) -> None:
    x = wide()
    tensor = torch.from_numpy(x)
    data = Data(x=tensor.to_sparse_csr() if sparse else tensor,
                edge_index=torch.tensor([[0, 1], [1, 2]]))  # fmt: skip
    table = mixed_table(data, svd=4)
    assert table.numeric_names == ("svd0", "svd1", "svd2", "svd3")
    theirs = TruncatedSVD(4, algorithm="arpack", random_state=0).fit_transform(x)
    np.testing.assert_allclose(np.abs(table.numeric), np.abs(theirs), rtol=1e-2, atol=1e-2)
    order = np.random.default_rng(1).permutation(50)
    moved = Data(x=tensor[order], edge_index=torch.tensor([[0, 1], [1, 2]]))
    np.testing.assert_allclose(mixed_table(moved, svd=4).numeric, table.numeric[order], atol=1e-3)
    whole = mixed_table(data, svd=90)
    np.testing.assert_array_equal(whole.numeric, x)
    assert whole.numeric_names[:2] == ("x0", "x1")
    aggregated = mixed_table(data, svd=4, neighbours=("max",))
    np.testing.assert_array_equal(aggregated.numeric[0, 4:], table.numeric[1])


def test_x_is_read_where_the_frame_says_nothing() -> None:
    data = Data(
        x=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        feature_names=["p", "q"],
        edge_index=torch.tensor([[0], [1]]),
        node_frame=pd.DataFrame({"same": [1, 1], "name": ["anna", "bert"]}),
    )
    assert mixed_table(data).numeric_names == ()
    assert mixed_table(data).categorical_names == ("name",)
    del data.node_frame["name"]
    table = mixed_table(data)
    assert table.numeric_names == ("p", "q")
    np.testing.assert_array_equal(table.numeric, data.x.numpy())
    table.numeric[:] = 0  # a copy: the features of the user stay
    assert data.x[0, 0] == 1
    with pytest.raises(InputError, match="neither a node_frame"):
        mixed_table(Data(edge_index=data.edge_index, num_nodes=2))


def test_a_layout_makes_the_same_columns_of_another_graph() -> None:
    data = check(graph())
    options: dict[str, Any] = {"neighbours": ALL, "structure": True}
    table = mixed_table(data, **options)
    same_table(mixed_table(data, **options, layout=table.layout), table)
    other = graph(nodes=25, seed=9)
    other.node_frame["town"] = "new"
    other.node_frame["size"] = np.nan
    other.node_frame["text"] = "red fox of words that nobody knows"
    other.node_frame["more"] = range(25)
    found = mixed_table(check(other), **options, layout=table.layout)
    assert found.numeric_names == table.numeric_names
    assert found.categorical_names == table.categorical_names
    assert set(found.categorical[0]) == {"new"}
    # the words have the numbers that they had
    known = data.node_frame["text"].map(lambda text: str(text).split(" ")[:-1] == ["red", "fox"])
    here = found.numeric[0, found.numeric_names.index("text~0")]
    mine = column(table, "text~0")[known.to_numpy()]
    assert mine == pytest.approx(here, rel=1e-5)
    wide_table = mixed_table(Data(x=torch.from_numpy(wide()), edge_index=data.edge_index), svd=3)
    new = torch.from_numpy(wide(seed=3))
    assert wide_table.layout is not None
    np.testing.assert_allclose(
        mixed_table(Data(x=new, edge_index=data.edge_index), layout=wide_table.layout).numeric,
        new.numpy() @ wide_table.layout["basis"],
        rtol=1e-5,
    )
    json.dumps({k: v for k, v in table.layout.items() if k not in ("texts", "basis")})


def test_what_does_not_fit_the_layout_is_named() -> None:
    data = check(graph())
    layout = mixed_table(data).layout
    other = check(graph(seed=2))
    other.node_frame = other.node_frame.drop(columns="town")
    with pytest.raises(InputError, match="has no column 'town'"):
        mixed_table(other, layout=layout)
    other.node_frame = data.node_frame.assign(size="large")
    with pytest.raises(InputError, match="column 'size' holds no numbers"):
        mixed_table(other, layout=layout)
    del other.node_frame
    with pytest.raises(InputError, match="has no column 'size'"):
        mixed_table(other, layout=layout)
    narrow = Data(x=torch.ones(3, 2), edge_index=torch.zeros(2, 0, dtype=torch.long))
    fitted = mixed_table(narrow).layout
    narrow.x = torch.ones(3, 5)
    with pytest.raises(InputError, match=r"data\.x: 5 columns. Pass the 2"):
        mixed_table(narrow, layout=fitted)


def test_options_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = check(graph())
    for wrong in (("median",), "mean", ("mean", "mean")):
        with pytest.raises(InputError, match="neighbours"):
            mixed_table(data, neighbours=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="svd: 0"):
        mixed_table(data, svd=0)
    monkeypatch.setattr(mixed, "MAX_DENSE_BYTES", 100)
    sparse = Data(x=torch.eye(9).to_sparse_csr(), edge_index=data.edge_index[:, :0])
    with pytest.raises(InputError, match="Pass svd=64"):
        mixed_table(sparse)
    assert mixed_table(sparse, svd=3).numeric.shape == (9, 3)


def test_take_and_with_numeric() -> None:
    table = MixedTable(
        np.array([[1.0], [2.0], [np.nan]], dtype=np.float32),
        ("a",),
        (np.array(["p", None, "q"], dtype=object),),
        ("c",),
    )
    last = table.take(torch.tensor([2, 0]))
    np.testing.assert_array_equal(last.numeric, [[np.nan], [1.0]])
    assert last.categorical[0].tolist() == ["q", "p"]
    assert table.take(np.array([False, True, False])).categorical[0].tolist() == [None]
    more = table.with_numeric(torch.tensor([[5.0, 6.0]] * 3).double(), ["b", "d"])
    assert more.numeric_names == ("a", "b", "d")
    assert more.numeric.dtype == np.float32
    assert more.categorical[0] is table.categorical[0]
    assert table.numeric.shape == (3, 1)
    with pytest.raises(InputError, match=r"values: shape \(2, 1\)"):
        table.with_numeric(np.ones((2, 1)), ["b"])
    with pytest.raises(InputError, match="values"):
        table.with_numeric(np.ones((3, 2)), ["b"])
    with pytest.raises(InputError, match="numeric"):
        MixedTable(np.ones((3, 2)), ("a",))
    with pytest.raises(InputError, match="categorical"):
        MixedTable(np.ones((3, 1)), ("a",), (np.array(["x"], dtype=object),), ("c",))
