from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from click.testing import Result

from graphclean.data import load_npz, read_graph

VOTE = ("--detector", "neighbour_agreement", "--quiet")


@pytest.fixture
def converted(run, tables) -> Path:
    """The graph of the tables, whose nodes stand the other way round in another table."""
    folder: Path = tables.folder / "graph.csr"
    ends = ("--source", "citing", "--target", "cited", "--quiet")
    assert run("convert", tables.folder / "e.csv", folder, *ends).exit_code == 0
    with (tables.folder / "backwards.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(tables.nodes[0]))
        writer.writeheader()
        writer.writerows(reversed(tables.nodes))
    return folder


@pytest.mark.parametrize("action", ["drop", "weight"])
def test_a_converted_graph_is_cleaned_with_its_table_of_nodes(
    run, tables, converted: Path, tmp_path: Path, action: str
) -> None:
    backwards = tables.folder / "backwards.csv"
    source = ("--graph", converted, "--nodes", backwards, "--label", "topic", "--id", "paper")
    out = tmp_path / "out"
    result: Result = run("clean", *source, *VOTE, "--action", action, "--out", out)
    assert result.exit_code == 0, result.output
    plain = tmp_path / "plain"
    assert run("clean", *tables.options, *VOTE, "--action", action, "--out", plain).exit_code == 0

    cleaned, expected = load_npz(out / "cleaned.npz"), load_npz(plain / "cleaned.npz")
    assert cleaned.node_ids == expected.node_ids
    assert torch.equal(cleaned.y, expected.y)
    assert (out / "issues.csv").read_text() == (plain / "issues.csv").read_text()
    assert not (out / "cleaned_edges.csv").exists()
    assert (out / "cleaned_targets.csv").exists() == (action == "weight")
    rows = (out / "cleaned_nodes.csv").read_text().splitlines()
    assert rows[0] == "paper,title,year,topic"
    assert rows[1:] == (plain / "cleaned_nodes.csv").read_text().splitlines()[:0:-1]
    again = read_graph(converted, "topic", nodes=out / "cleaned_nodes.csv", id="paper")
    if action == "drop":
        assert torch.equal(again.y, cleaned.y)


def test_noise_takes_a_converted_graph(run, tables, converted: Path, tmp_path: Path) -> None:
    source = ("--graph", converted, "--nodes", tables.folder / "n.csv", "--label", "topic")
    out = tmp_path / "noisy"
    result: Result = run("noise", *source, "--id", "paper", "--kind", "uniform", "--out", out)
    assert result.exit_code == 0, result.output
    assert load_npz(out / "noisy.npz").node_ids == [node["paper"] for node in tables.nodes]


LABELS = "graph.csr has none, only edges. Pass --graph graph.csr --nodes FILE --label COLUMN"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--graph", "graph.csr"], LABELS),
        (["--graph", "graph.csr", "--label", "topic"], LABELS),
        (["graph.csr"], LABELS),
        (["graph.csr", "--nodes", "n.csv"], "Got a name and --nodes: choose one."),
        (["--graph", "graph.csr", "--nodes", "n.csv"], "label: missing"),
        (["--graph", "e.csv", "--nodes", "n.csv", "--label", "topic"], "--graph FOLDER --nodes"),
        (["--graph", "graph.csr", "--nodes", "n.csv", "--edges", "e.csv"], "--edges goes with"),
        (
            ["--graph", "graph.csr", "--nodes", "n.csv", "--label", "topic", "--weight", "w"],
            "weight: w. Leave it out",
        ),
        (
            ["--graph", "graph.csr", "--nodes", "n.csv", "--label", "topic", "--id", "title"],
            "36 of 36 nodes of graph.csr have no row",
        ),
        (["--graph", "."], "Write it again with graphclean convert"),
    ],
)
def test_what_is_missing_or_too_much_is_said(
    run, tables, converted: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tables.folder)
    result: Result = run("clean", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]
