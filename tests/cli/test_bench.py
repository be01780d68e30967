from __future__ import annotations

import copy
import json
from pathlib import Path

import click
import pytest
from click.testing import Result

from graphclean.cli.bench import bench

QUICK = ("bench", "speed", "--size", "small", "--rounds", "1", "--threads", "1")
ONE = (*QUICK, "--only", "softmax")


def test_json_is_one_object_on_stdout(run) -> None:
    result: Result = run(*ONE, "--only", "hops/pl500", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert set(found["ratios"]) == {"softmax/pl500/pyg", "hops/pl500/released_scipy"}
    assert found["errors"] == []
    assert found["command"] == (
        "graphclean bench speed --size small --only softmax --only hops/pl500 --rounds 1 "
        "--threads 1"
    )
    assert "task" in result.stderr  # the progress bar


def test_table_and_markdown_file_tell_the_same_numbers(run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.md"
    result: Result = run(*ONE, "--out", path)
    assert result.exit_code == 0
    page = path.read_text()
    assert page.splitlines()[2] == (
        "    graphclean bench speed --size small --only softmax --rounds 1 --threads 1"
    )
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("  pyg")]
    assert row.split()[1] in next(line for line in page.splitlines() if line.startswith("| pyg |"))
    assert str(path) in result.stderr
    assert [file.name for file in path.parent.iterdir()] == ["speed.md"]


def test_quiet_leaves_stderr_empty(run, tmp_path: Path) -> None:
    result: Result = run(*ONE, "--quiet", "--out", tmp_path / "speed.md")
    assert (result.exit_code, result.stderr) == (0, "")


def test_another_graph_can_be_named(run) -> None:
    result: Result = run(*ONE, "--graph", "digits", "--quiet")
    assert result.exit_code == 0
    assert "\nsoftmax/digits\n" in result.stdout


def test_a_wrong_path_ends_with_1_and_is_told(run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "graphclean.evaluate.speed.reductions.neighbour_softmax"
    monkeypatch.setattr(name, lambda adjacency, scores: scores)
    result: Result = run(*ONE, "--quiet", "--json")
    assert result.exit_code == 1
    assert "Error: softmax/pl500/graphclean: differs from float64" in result.stderr
    assert json.loads(result.stdout)["ratios"] == {}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--only", "nothing"], "Error: only: nothing. Choose a topic (spmm, build"),
        (["--graph", "nowhere"], "Error: graph: nowhere. Choose a synthetic graph (pl500"),
        (["--size", "huge"], "Invalid value for '--size'"),
        (["--rounds", "0"], "Invalid value for '--rounds'"),
        (["--threads", "0"], "Invalid value for '--threads'"),
    ],
)
def test_bad_input_ends_with_2(run, args: list[str], line: str) -> None:
    result: Result = run(*QUICK, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert line in result.stderr.splitlines()[-1]


def test_out_is_checked_before_the_work(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "graphclean.evaluate.speed.run_speed", lambda *args, **options: pytest.fail("it ran")
    )
    (tmp_path / "file").touch()
    result: Result = run(*ONE, "--out", tmp_path / "file" / "speed.md")
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_ctrl_c_ends_with_130(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphclean.evaluate.speed.run.measure", interrupted)
    result: Result = run(*ONE)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Stopped." in result.stderr


def test_examples_parse_and_help_shows_them(run) -> None:
    speed = bench.commands["speed"]
    shown = run("bench", "speed", "--help").stdout
    assert len(speed.examples) == 5
    for example in (*speed.examples, *bench.examples):
        program, group, command, *rest = example.split()
        assert (program, group, command) == ("graphclean", "bench", "speed")
        assert isinstance(copy.copy(speed).make_context("speed", rest), click.Context)
    assert all(f"  {example}\n" in shown for example in speed.examples)
