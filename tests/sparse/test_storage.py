"""Tables of edges become mapped CSR: entry for entry the graph that plain loops make."""

import json
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphclean.data import check, from_tables
from graphclean.sparse import external_sort
from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.convert import convert_edges, parse_memory
from graphclean.sparse.external_sort import EdgeSorter
from graphclean.sparse.storage import open_csr, read_csr
from graphclean.types import InputError


def random_table(seed, nodes, edges, weighted=False):
    rng = np.random.default_rng(seed)
    columns = {"source": rng.integers(0, nodes, edges), "target": rng.integers(0, nodes, edges)}
    if weighted:
        columns["weight"] = rng.integers(0, 4, edges) * rng.uniform(0.1, 1.0, edges)
    return pd.DataFrame(columns)


def expected(table, nodes, weighted, directed):
    """Return A by plain loops: weights of duplicates add, the larger direction counts for both."""
    total = {}
    for row in table.itertuples():
        if row.source != row.target:
            key = (row.target, row.source)
            total[key] = total.get(key, 0.0) + (row.weight if weighted else 1.0)
    dense = np.zeros((nodes, nodes))
    for key, weight in total.items():
        dense[key] = weight if weighted else 1.0
    return dense if directed else np.maximum(dense, dense.T)


def write(table, path):
    if ".parquet" in path.name:
        table.to_parquet(path, row_group_size=7)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


def dense(adjacency):
    return adjacency.matrix.toarray()


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(2, 30),
    edges=st.integers(0, 300),
    weighted=st.booleans(),
    directed=st.booleans(),
    capacity=st.sampled_from([2, 5, 64, 1000]),
    stride=st.sampled_from([1, 4, 1024]),
)
def test_the_sorter_merges_runs_into_the_matrix(
    seed, nodes, edges, weighted, directed, capacity, stride, tmp_path
):
    table = random_table(seed, nodes, edges, weighted)
    table = table[table.source != table.target]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "_STRIDE", stride)
        entry = external_sort._BYTES_PER_ENTRY[weighted]
        sorter = EdgeSorter(tmp_path, capacity * entry, weighted=weighted)
        for part in np.array_split(np.arange(len(table)), 3):
            rows = table.iloc[part]
            weight = rows.weight.to_numpy() if weighted else None
            sorter.add(rows.target.to_numpy(), rows.source.to_numpy(), weight, not directed)
        blocks = list(sorter.merged())
    found = np.zeros((nodes, nodes))
    keys = []
    for row, column, weight in blocks:
        keys += (row * nodes + column).tolist()
        found[row, column] = 1.0 if weight is None else weight
    assert keys == sorted(set(keys))
    reference = expected(table, nodes, weighted, directed)
    np.testing.assert_allclose(found, reference, rtol=1e-12)
    assert len(keys) == np.count_nonzero(reference)
    if not directed:
        np.testing.assert_array_equal(found, found.T)
    if capacity < 100 and edges > 200:
        assert len(sorter._runs) > 1
    assert sorter.done == sorter.entries


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".csv.gz"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("directed", [False, True])
def test_every_kind_of_file(suffix, weighted, directed, tmp_path):
    table = random_table(1, 20, 120, weighted)
    path = write(table, tmp_path / f"edges{suffix}")
    out = tmp_path / "graph.csr"
    graph = convert_edges(
        path, out, weight="weight" if weighted else None, directed=directed, num_nodes=22
    )
    reference = expected(table, 22, weighted, directed)
    adjacency = open_csr(out)
    np.testing.assert_allclose(dense(adjacency), reference, rtol=1e-12)
    assert (adjacency.weighted, adjacency.is_symmetric) == (weighted, not directed)
    assert adjacency.matrix.indices.dtype == np.int32
    assert isinstance(adjacency.matrix.indices, np.memmap)
    assert adjacency.num_edges == np.count_nonzero(reference) == graph.meta["num_edges"]
    assert adjacency.degree.tolist() == (reference > 0).sum(1).tolist()
    loops = int((table.source == table.target).sum())
    assert graph.meta["read"] == {"rows": 120, "self_loops": loops}
    assert graph.ids() is None
    assert {file.name for file in tmp_path.iterdir()} == {path.name, out.name}
    if not weighted:
        assert adjacency.matrix.data.strides == (0,)


def test_it_is_the_graph_of_tables_and_check(tmp_path):
    table = random_table(2, 15, 60, weighted=True)
    path = write(table, tmp_path / "edges.parquet")
    nodes = pd.DataFrame({"id": range(15), "size": np.arange(15.0) ** 2, "topic": [0, 1, 2] * 5})
    data = check(from_tables(nodes, table, label="topic", id="id", weight="weight"))
    mapped = convert_edges(path, tmp_path / "g.csr", weight="weight", num_nodes=15).adjacency()
    np.testing.assert_allclose(dense(mapped), dense(Adjacency.of(data)), rtol=1e-6)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_ids_of_any_kind(suffix, tmp_path):
    table = pd.DataFrame({"citing": ["b", "007", "ü"], "cited": ["007", "b", "b"]})
    path = write(table, tmp_path / f"edges{suffix}")
    graph = convert_edges(path, tmp_path / "g.csr")
    assert graph.ids() == ["007", "b", "ü"]
    assert dense(graph.adjacency()).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    nodes = write(pd.DataFrame({"key": ["ü", "alone", "007", "b"]}), tmp_path / f"nodes{suffix}")
    listed = convert_edges(path, tmp_path / "listed.csr", nodes=nodes, id="key", directed=True)
    assert listed.ids() == ["ü", "alone", "007", "b"]
    assert np.argwhere(dense(listed.adjacency())).tolist() == [[2, 3], [3, 0], [3, 2]]


def test_large_integers_are_renumbered_or_looked_up(tmp_path):
    table = pd.DataFrame({"a": [10**15, 5, -3], "b": [5, -3, 10**15]})
    path = write(table, tmp_path / "edges.parquet")
    assert convert_edges(path, tmp_path / "g.csr", renumber=True).ids() == [-3, 5, 10**15]
    nodes = write(pd.DataFrame({"id": [5, 10**15, -3, 8]}), tmp_path / "nodes.parquet")
    graph = convert_edges(path, tmp_path / "n.csr", nodes=nodes, id="id")
    assert graph.ids() == [5, 10**15, -3, 8]
    assert graph.adjacency().degree.tolist() == [2, 2, 2, 0]
    text = write(pd.DataFrame({"id": ["5", str(10**15), "-3"]}), tmp_path / "nodes.csv")
    assert convert_edges(path, tmp_path / "t.csr", nodes=text, id="id").adjacency().num_edges == 6


def test_columns_are_found_by_name_or_place(tmp_path):
    table = pd.DataFrame({"weight": [0.5], "To": [1], "other": [2], "src": [0]})
    path = write(table, tmp_path / "edges.csv")
    found = convert_edges(path, tmp_path / "a.csr", directed=True, num_nodes=3).adjacency()
    assert np.argwhere(dense(found)).tolist() == [[1, 0]]
    given = {"source": "other", "target": "src", "weight": "weight"}
    found = convert_edges(path, tmp_path / "b.csr", directed=True, **given).adjacency()
    assert dense(found)[0, 2] == 0.5


def test_a_graph_without_edges(tmp_path):
    path = write(pd.DataFrame({"a": [1], "b": [1]}), tmp_path / "edges.parquet")
    adjacency = convert_edges(path, tmp_path / "g.csr", num_nodes=3).adjacency()
    assert (adjacency.num_nodes, adjacency.num_edges) == (3, 0)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [0, -1], "b": [1, 2]}, {}, "source: -1. Pass ids 0..2147483646"),
        ({"a": [0, 1], "b": [1, 2**40]}, {}, f"target: {2**40}. Pass ids"),
        ({"a": [0, 1], "b": [1, 10**6]}, {}, "2 edges with ids up to 1000000. Pass renumber"),
        ({"a": [0, 7], "b": [1, 2]}, {"num_nodes": 5}, "source: 7. Pass ids 0..4"),
        ({"a": [0.0, None], "b": [1, 2]}, {}, "column 'a' holds floating-point numbers"),
        ({"a": ["x", None], "b": ["y", "z"]}, {}, "'a' is missing at row 1"),
        ({"a": ["x", "y"], "b": ["", "z"]}, {}, "'b' is missing at row 0"),
        ({"a": [0, 1], "b": [1, 2], "w": [1.0, -1.0]}, {"weight": "w"}, "-1.0 at row 1"),
        ({"a": [0, 1], "b": [1, 2], "w": [np.inf, 1]}, {"weight": "w"}, "inf at row 0"),
        ({"a": [0], "b": [1]}, {"weight": "w"}, "weight: no column 'w'. Columns: a, b."),
        ({"a": [0], "b": [1]}, {"source": "b"}, "both ends from column 'b'"),
        ({"a": [0]}, {}, "1 column(s). Two are needed"),
        ({"0": [0], "1": [1]}, {}, "the first line 0 1 is an edge"),
        ({"a": [0], "b": [1]}, {"id": "a"}, "Pass nodes and id together"),
        ({"a": ["x"], "b": ["y"]}, {"num_nodes": 4}, "num_nodes: 4. Leave it out"),
        ({"a": [0], "b": [1]}, {"memory": "1 MB"}, "Pass at least 16MiB"),
        ({"a": [0], "b": [1]}, {"memory": "lots"}, "memory: lots. Pass a number of bytes"),
        ({"a": [1], "b": [1]}, {"num_nodes": 0}, "num_nodes: 0. Pass a number from 1"),
        ({"a": np.array([], int), "b": np.array([], int)}, {}, "edges: no edges. Pass num_nodes"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(columns, options, message, tmp_path):
    path = write(pd.DataFrame(columns), tmp_path / "edges.parquet")
    with pytest.raises(InputError) as caught:
        convert_edges(path, tmp_path / "g.csr", **options)
    assert message in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["x", "y"], "target: ids of no node, such as ['z']"),
        (["x", "y", "z", "x"], "id: duplicates such as ['x']"),
        (["x", None, "z"], "'id' is missing at row 1"),
    ],
)
def test_bad_nodes(ids, message, tmp_path):
    path = write(pd.DataFrame({"a": ["x", "y"], "b": ["y", "z"]}), tmp_path / "edges.parquet")
    nodes = write(pd.DataFrame({"id": ids}), tmp_path / "nodes.parquet")
    with pytest.raises(InputError) as caught:
        convert_edges(path, tmp_path / "g.csr", nodes=nodes, id="id")
    assert message in str(caught.value)
    assert not (tmp_path / "g.csr").exists()


def test_bad_files(tmp_path):
    for name, content in (("e.parquet", b"PAR1"), ("e.csv", b"a,b\n0,1\n1\n"), ("e.xlsx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="edges"):
            convert_edges(tmp_path / name, tmp_path / "g.csr")
    with pytest.raises(InputError, match="no such file"):
        convert_edges(tmp_path / "none.csv", tmp_path / "g.csr")


def test_a_late_cell_that_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr("graphclean.sparse.edge_tables._BLOCK_BYTES", 64)
    path = tmp_path / "late.csv"
    path.write_text("a,b\n" + "0,1\n" * 100 + "1,two\n")
    with pytest.raises(InputError, match=r"late\.csv\. It cannot be read: .*two"):
        convert_edges(path, tmp_path / "g.csr")
    assert convert_edges(path, tmp_path / "g.csr", renumber=True).ids() == ["0", "1", "two"]


def test_overwrite_replaces_only_what_convert_wrote(tmp_path):
    first = write(random_table(3, 5, 9), tmp_path / "first.parquet")
    second = write(random_table(4, 8, 20), tmp_path / "second.parquet")
    out = tmp_path / "g.csr"
    convert_edges(first, out, num_nodes=5)
    with pytest.raises(InputError, match="overwrite=True"):
        convert_edges(second, out, num_nodes=8)
    assert convert_edges(second, out, num_nodes=8, overwrite=True).num_nodes == 8
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no folder that convert wrote"):
        convert_edges(first, out, num_nodes=5, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_an_error_while_writing_keeps_what_was_there(tmp_path, monkeypatch):
    path = write(random_table(3, 5, 9), tmp_path / "edges.parquet")
    out = tmp_path / "g.csr"
    before = dense(convert_edges(path, out, num_nodes=5).adjacency())

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("graphclean.sparse.storage.CsrWriter.append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_edges(path, out, num_nodes=9, overwrite=True)
    np.testing.assert_array_equal(dense(open_csr(out)), before)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["edges.parquet", "g.csr"]


@pytest.fixture
def folder(tmp_path):
    path = write(random_table(5, 9, 40, weighted=True), tmp_path / "edges.parquet")
    return convert_edges(path, tmp_path / "g.csr", weight="weight", num_nodes=9).path


def test_what_is_damaged_is_refused(folder, tmp_path):
    def damaged(name, change):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        change(copy / name)
        with pytest.raises(InputError, match="Write it again with graphclean convert"):
            open_csr(copy)

    def meta(**changes):
        def change(path):
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

        return change

    damaged("indices.npy", lambda path: path.unlink())
    damaged("weights.npy", lambda path: path.write_bytes(path.read_bytes()[:-8]))
    damaged("meta.json", lambda path: path.write_text("{"))
    damaged("meta.json", meta(version=2))
    damaged("meta.json", meta(num_nodes=8))
    damaged("meta.json", meta(symmetric="yes"))
    damaged("indptr.npy", lambda path: np.save(path, np.zeros(10, dtype=np.int64)))
    damaged("indptr.npy", lambda path: np.save(path, np.array([object()] * 10), allow_pickle=True))
    with pytest.raises(InputError, match="no such folder"):
        read_csr(tmp_path / "nowhere")


def test_the_arrays_are_plain_and_need_no_pickle(folder):
    meta = json.loads((folder / "meta.json").read_text())
    assert set(meta["files"]) == {"indptr.npy", "indices.npy", "weights.npy"}
    arrays = {name: np.load(folder / name, allow_pickle=False) for name in meta["files"]}
    assert arrays["indptr.npy"].dtype == np.int64
    assert len(arrays["indices.npy"]) == len(arrays["weights.npy"]) == meta["num_edges"]


def test_the_edges_in_memory(tmp_path):
    table = pd.DataFrame({"a": ["x", "y", "z"], "b": ["y", "z", "y"], "w": [1.0, 2.0, 0.5]})
    path = write(table, tmp_path / "edges.parquet")
    graph = convert_edges(path, tmp_path / "g.csr", weight="w", directed=True)
    data = graph.to_data()
    assert data.node_ids == ["x", "y", "z"]
    edges = zip(*data.edge_index.tolist(), data.edge_weight.tolist(), strict=True)
    assert sorted(edges) == [(0, 1, 1.0), (1, 2, 2.0), (2, 1, 0.5)]
    np.testing.assert_array_equal(dense(Adjacency.of(data)), dense(graph.adjacency()))
    plain = convert_edges(path, tmp_path / "p.csr").to_data()
    assert "edge_weight" not in plain
    assert plain.num_nodes == 3
    assert check(plain, require_labels=False).edge_index.shape == (2, 4)


def test_memory_sizes():
    sizes = {"2GiB": 2**31, "512 mib": 2**29, "1.5gb": 1_500_000_000, 2**25: 2**25}
    assert {given: parse_memory(given) for given in sizes} == sizes


def test_ctrl_c_leaves_nothing_half_written(tmp_path, monkeypatch):
    path = write(random_table(6, 9, 40), tmp_path / "edges.parquet")
    add = EdgeSorter.add

    def stopped(*args):
        add(*args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EdgeSorter, "add", stopped)
    # A shell starts what runs in its background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            convert_edges(path, tmp_path / "g.csr")
    finally:
        signal.signal(signal.SIGINT, before)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
