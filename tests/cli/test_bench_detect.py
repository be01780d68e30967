from __future__ import annotations

import copy
import csv
import json
import shlex
import sys
from pathlib import Path

import click
import pytest
from click.testing import Result

from graphclean.cli.bench_detect import FILES, MEASURED, detect

GRID = """
[[grid]]
graphs = ["karateclub"]
noise = ["uniform", "pair"]
rates = [0.1]
seeds = [0]

[learners.sgc]
params = { epochs = 10, val_fraction = 0.0, patience = "none" }

[[method]]
detector = "self_confidence"
probs = "best"

[[method]]
name = "votes"
detector = "neighbour_agreement"
"""
ESTIMATORS = """
[[estimator]]
estimator = "verified"
params = { verified_share = 1.0 }

[[estimator]]
estimator = "neighbour_lca"
"""
OPTIONS = ("--graph", "karateclub", "--method", "neighbour_agreement")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def test_a_grid_is_run_and_its_leaderboard_shown_and_written(
    run, grid: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result: Result = run("bench", "detect", grid, "--out", out)
    assert result.exit_code == 0
    assert "4/4" in result.stderr
    names = [line.split()[0] for line in result.stdout.splitlines()[1:3]]
    assert sorted(names) == ["self_confidence", "votes"]
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["noise"], row["method"]) for row in rows] == [
        ("uniform", "self_confidence"),
        ("uniform", "votes"),
        ("pair", "self_confidence"),
        ("pair", "votes"),
    ]
    assert (out / "leaderboard.md").read_text().startswith("| method |")
    assert (out / "leaderboard.csv").read_text().startswith("method,rank")
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "oof", "runs"])


def test_estimators_have_a_table_of_their_own(run, grid: Path, tmp_path: Path) -> None:
    grid.write_text(GRID + ESTIMATORS)
    out = tmp_path / "out"
    args = ("bench", "detect", grid, "--noise", "pair", "--quiet", "--out", out)
    result: Result = run(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    detectors, estimators, end = result.stdout.split("\n\n")
    assert "votes" in detectors
    assert "verified" not in detectors
    header, first, second, *_ = estimators.splitlines()
    assert "transition error" in header
    assert [line.split()[0] for line in (first, second)] == ["verified", "neighbour_lca"]
    assert end.endswith("transitions.csv, transitions.md\n")
    with (out / "transitions.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["verified", "neighbour_lca"]
    assert "verified" in (out / "transitions.md").read_text()
    assert "verified" not in (out / "results.csv").read_text()
    found = json.loads(run(*args, "--json").stdout)
    assert found["runs"] == 4
    assert [row["method"] for row in found["transitions"]] == ["verified", "neighbour_lca"]
    part = run(*args, "--method", "verified").stdout
    assert "votes" not in part
    assert sorted(path.name for path in out.glob("*.*")) == ["transitions.csv", "transitions.md"]


def test_what_is_measured_is_written(run, tmp_path: Path) -> None:
    args = ("bench", "detect", *OPTIONS, "--quiet", "--out", tmp_path)
    both = (*args, "--measure", "downstream", "--measure", "strata")
    result: Result = run(*both)
    assert (result.exit_code, result.stderr) == (0, "")
    tables = {}
    for name in MEASURED:
        with (tmp_path / f"{name}.csv").open() as file:
            tables[name] = list(csv.DictReader(file))
    assert {row["stratum"] for row in tables["strata"]} == {"class", "degree", "homophily"}
    assert len(tables["downstream"]) == 7
    assert [row["labels"] for row in tables["rank_stability"]] == ["given", "repaired", "clean"]
    assert json.loads(run(*both, "--dry-run", "--json").stdout)["done"] == 1
    assert run(*args).exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("*.*")) == sorted(FILES)


def test_a_measure_is_added_to_those_of_the_file(run, grid: Path, tmp_path: Path) -> None:
    grid.write_text('measures = ["strata"]\n' + GRID)
    args = ("bench", "detect", grid, "--noise", "pair", "--method", "votes", "--quiet")
    assert run(*args, "--measure", "strata", "--out", tmp_path / "out").exit_code == 0
    plan = run(*args[:-1], "--out", tmp_path / "out", "--dry-run", "--json").stdout
    assert json.loads(plan)["done"] == 1
    assert (tmp_path / "out" / "strata.csv").exists()


def test_a_slice_first_and_the_rest_later(run, grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = ("--noise", "pair", "--method", "votes", "--quiet")
    result: Result = run("bench", "detect", grid, *part, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(list((out / "runs").iterdir())) == 1
    plan = json.loads(run("bench", "detect", grid, "--out", out, "--dry-run", "--json").stdout)
    assert (plan["runs"], plan["done"]) == (4, 1)
    assert [cell["done"] for cell in plan["cells"]] == [0, 1]
    shown = run("bench", "detect", grid, "--out", out, "--dry-run").stdout
    assert "  1 of 2  karateclub pair 0.1 seed 0 (whole)\n" in shown
    assert shown.endswith("1 of 4 runs done: 2 cells x 2 methods\n")


def test_json_is_one_object(run, tmp_path: Path) -> None:
    result: Result = run(
        "bench", "detect", *OPTIONS, "--seed", 3, "--seed", 4, "--json", "--out", tmp_path
    )
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["runs"] == 2
    assert [row["method"] for row in found["leaderboard"]] == ["neighbour_agreement"]
    assert found["leaderboard"][0]["runs"] == 2


def test_a_dry_run_writes_nothing(run, grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("bench", "detect", grid, "--dry-run", "--out", out).exit_code == 0
    assert not out.exists()


def test_a_failed_run_ends_with_1_and_is_told(run, grid: Path, tmp_path: Path) -> None:
    paper = '[[method]]\nname = "paper"\ndetector = "graphcleaner"\nparams = { mode = "paper" }\n'
    grid.write_text(GRID + paper)
    args = ("bench", "detect", grid, "--noise", "pair", "--quiet", "--out", tmp_path / "out")
    result: Result = run(*args)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: karateclub pair 0.1 seed 0, paper: InputError: val_mask: miss")
    assert "votes" in result.stdout
    assert (tmp_path / "out" / "leaderboard.csv").exists()


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ((), "Name a GRID file, or a --graph."),
        (("--graph", "nowhere"), "Error: graphs: "),
        (("--graph", "cora", "--noise", "pear"), "Error: noise: 'pear:0.1'"),
        (("--graph", "cora", "--method", "magic"), "Error: detector: magic"),
        (("--graph", "cora", "--rate", "2"), "Error: rate: 2.0"),
        (("--graph", "cora", "--protocol", "mine"), "Invalid value for '--protocol'"),
        (("--graph", "cora", "--measure", "time"), "Invalid value for '--measure'"),
        ((*OPTIONS, "--jobs", "0"), "0 processes do nothing"),
        (("no.toml",), "no.toml"),
    ],
)
def test_bad_input_ends_with_2(run, tmp_path: Path, args: tuple[str, ...], line: str) -> None:
    result: Result = run("bench", "detect", *args, "--out", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert line in result.stderr.splitlines()[-1]


def test_what_the_grid_does_not_hold_is_refused(run, grid: Path, tmp_path: Path) -> None:
    result: Result = run("bench", "detect", grid, "--seed", "5", "--out", tmp_path)
    assert result.exit_code == 2
    assert "seed: 5. The grid has: 0." in result.stderr


def test_the_grid_file_is_not_overwritten(run, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(GRID)
    result: Result = run("bench", "detect", path, "--out", tmp_path)
    assert result.exit_code == 2
    assert path.read_text() == GRID


def test_without_dask_the_extra_is_named(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result: Result = run("bench", "detect", *OPTIONS, "--cluster", "local", "--out", tmp_path)
    assert result.exit_code == 2
    assert "graphclean[scale]" in result.stderr


def test_examples_parse_and_help_shows_them(run) -> None:
    shown = run("bench", "detect", "--help").stdout
    for example in detect.examples:
        program, group, command, *rest = shlex.split(example)
        assert (program, group, command) == ("graphclean", "bench", "detect")
        assert isinstance(copy.copy(detect).make_context("detect", rest), click.Context)
    assert all(f"  {example}\n" in shown for example in detect.examples)
