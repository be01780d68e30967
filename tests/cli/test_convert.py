from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from graphclean.sparse.storage import open_csr, read_csr


def test_a_table_becomes_a_graph(run, tmp_path: Path) -> None:
    edges = tmp_path / "edges.csv"
    edges.write_text("source,target,count\n0,1,2\n1,0,1\n1,2,0.5\n2,2,9\n1,2,0.5\n")
    out = tmp_path / "graph.csr"
    result: Result = run("convert", edges, out, "--weight", "count", "--num-nodes", 4, "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Read 5 edges (1 self-loops dropped)" in result.stdout
    assert f"Wrote 4 nodes and 4 entries, both directions, to {out}" in result.stdout
    assert open_csr(out).matrix.toarray().tolist() == [
        [0, 2, 0, 0],
        [2, 0, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    again: Result = run("convert", edges, out, "--directed", "--overwrite", "--memory", "32MiB")
    assert again.exit_code == 0
    assert "directed, to" in again.stdout
    assert "reading" in again.stderr
    assert "writing" in again.stderr
    assert open_csr(out).matrix.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_the_tables_of_the_user(run, tables, tmp_path: Path) -> None:
    out = tmp_path / "graph.csr"
    nodes, edges = tables.folder / "n.csv", tables.folder / "e.csv"
    options = ("--nodes", nodes, "--id", "paper", "--source", "citing", "--target", "cited")
    assert run("convert", edges, out, *options).exit_code == 0
    graph = read_csr(out)
    assert graph.ids() == [node["paper"] for node in tables.nodes]
    assert json.loads((out / "meta.json").read_text())["symmetric"] is True
    row = graph.adjacency().matrix[[0]].toarray()[0]
    assert row.nonzero()[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.csv", "g.csr"], "edges: none.csv. There is no such file."),
        (["e.csv", "g.csr", "--source", "citting"], "Did you mean 'citing'?"),
        (["e.csv", "g.csr", "--memory", "2 GiBs"], "memory: 2 GiBs"),
        (["e.csv", "g.csr", "--nodes", "n.csv"], "id: missing. Pass nodes and id together."),
        (["e.csv", "g.csr", "--num-nodes", "0"], "0 is not in the range"),
        (["e.csv", "taken"], "out: taken. It exists"),
        (["e.csv", "taken", "--overwrite"], "It is no folder that convert wrote"),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(
    run, tables, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tables.folder)
    Path("taken").mkdir()
    result: Result = run("convert", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]
    assert {path.name for path in Path().iterdir()} == {"n.csv", "e.csv", "taken"}
