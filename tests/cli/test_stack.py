from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import Result

import graphclean as gc
from graphclean.cli import main
from graphclean.ensemble import GraphStackingClassifier
from graphclean.ensemble.checks import Optimism

FILES = {
    "model.safetensors",
    "model.json",
    "predictions.csv",
    "out_of_fold.csv",
    "scores.csv",
    "stack.json",
}
FAST = ("--member", "sgc", "--member", "scikit_learn", "--folds", 2, "--hops", 1)
OPTIONS = {"n_layers", "n_folds", "n_repeats", "consistency", "meta", "hops", "alpha"}


@pytest.fixture
def mixed(tmp_path: Path) -> list[str]:
    """Two rings of 20 nodes with a number, a category, gaps; unlabelled and isolated nodes."""
    rng = np.random.default_rng(0)
    side = np.repeat([0, 1], 20)
    nodes = pd.DataFrame(
        {
            "id": [f"n{i:02d}" for i in range(41)],
            "size": np.append(side + rng.normal(scale=0.5, size=40), np.nan).round(3),
            "colour": [*np.where(rng.random(40) < 0.8, side, 1 - side), ""],
            "topic": [*np.where(side, "left", "right"), "left"],
        }
    )
    nodes["colour"] = nodes["colour"].map({0: "red", 1: "blue", "": ""})
    nodes.loc[[3, 25], "colour"] = ""
    nodes.loc[[7, 30], "topic"] = ""
    nodes.loc[11, "topic"] = "left"
    ring = np.arange(20)
    edges = np.concatenate(
        [np.stack([ring + start, (ring + 1) % 20 + start], axis=1) for start in (0, 20)]
    )
    ends = pd.DataFrame(nodes["id"].to_numpy()[edges], columns=["source", "target"])
    nodes.to_csv(tmp_path / "n.csv", index=False)
    ends.to_csv(tmp_path / "e.csv", index=False)
    files = ["--nodes", str(tmp_path / "n.csv"), "--edges", str(tmp_path / "e.csv")]
    return [*files, "--label", "topic"]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_stack_is_written_read_and_predicts(run, mixed, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "stacked"
    settings = ("--set", "propagate_features=true", "--seed", 3)
    result: Result = run("stack", *mixed, *FAST, *settings, "--quiet", "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == FILES
    record = json.loads((out / "stack.json").read_text())
    assert record["members"] == ["sgc", "scikit_learn"]
    assert record["params"] == {
        "n_layers": 2,
        "n_folds": 2,
        "n_repeats": 1,
        "consistency": "fold",
        "meta": "greedy",
        "hops": 1,
        "alpha": 0.9,
        "propagate_features": True,
    }
    assert (record["overfits"], record["fell_back"]) == (False, False)
    assert sum(record["weights"].values()) == pytest.approx(1.0)
    assert f"Optimism gap: {record['optimism_gap']:+.3f}" in result.stdout

    data = gc.check(
        gc.from_tables(mixed[1], mixed[3], label="topic")  # 41 nodes, two unlabelled
    )
    model = gc.load_model(out)
    assert isinstance(model, GraphStackingClassifier)
    direct = GraphStackingClassifier(
        estimators=["sgc", "scikit_learn"],
        n_folds=2,
        hops=1,
        propagate_features=True,
        random_state=3,
    )
    assert torch.equal(model.predict_proba(data), gc.train(data, direct).predict_proba(data))

    doubted = table(out / "out_of_fold.csv")
    quality = [float(row["label_quality"]) for row in doubted]
    assert quality == sorted(quality)
    fold = {row["node_id"]: int(row["fold"]) for row in doubted}
    assert fold == {
        node: k for node, k in zip(data.node_ids, model.fold_id_[0], strict=True) if k >= 0
    }
    assert {row["given_label"] for row in doubted} == {"left", "right"}
    assert "n11" in {row["node_id"] for row in doubted[:3]}

    again: Result = run("predict", out, *mixed, "--out", tmp_path / "again")
    assert again.exit_code == 0
    first, second = (
        [row["predicted_label"] for row in table(folder / "predictions.csv")]
        for folder in (out, tmp_path / "again")
    )
    assert first == second
    assert len(first) == 41


def test_processes_do_not_change_the_files(run, mixed, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for jobs, folder in enumerate(folders, start=1):
        options = (*FAST, "--jobs", jobs, "--quiet", "--out", folder)
        assert run("stack", *mixed, *options).exit_code == 0
    for name in FILES - {"scores.csv", "model.json"}:  # which hold seconds
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_without_held_out_rows_every_label_is_judged(run, mixed, tmp_path: Path) -> None:
    options = ("--layers", 1, "--repeats", 2, "--split", "all", "--set", "holdout=0")
    result: Result = run("stack", *mixed, *FAST, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "Stacking" in result.stderr
    assert "Optimism gap" not in result.stdout
    record = json.loads((tmp_path / "out" / "stack.json").read_text())
    assert (record["optimism_gap"], record["rows"]["train"]) == (None, 39)
    assert set(record["weights"]) == {"sgc", "scikit_learn"}
    assert len(table(tmp_path / "out" / "out_of_fold.csv")) == 39


@pytest.mark.parametrize(
    ("fallback", "then"), [("true", "the plain mean of the members predicts"), ("false", "kept")]
)
def test_a_stack_that_fools_itself_says_what_becomes_of_it(
    run, mixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallback: str, then: str
) -> None:
    verdict = Optimism(0.3, 0.05, True)
    monkeypatch.setattr("graphclean.ensemble.final.optimism", lambda *scores: verdict)
    options = (*FAST, "--set", f"fallback={fallback}", "--out", tmp_path / "out")
    with pytest.warns(UserWarning, match="than on rows that it never saw"):
        result: Result = run("stack", *mixed, *options)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Optimism gap")]
    assert line.startswith("Optimism gap: +0.300 ")
    assert line.endswith(then)
    record = json.loads((tmp_path / "out" / "stack.json").read_text())
    assert (record["overfits"], record["fell_back"]) == (True, fallback == "true")
    mean = {"sgc": 0.5, "scikit_learn": 0.5, "layer2/boosting": 0.0, "layer2/logistic": 0.0}
    assert (record["weights"] == mean) == record["fell_back"]


def test_the_options_have_the_defaults_of_the_class() -> None:
    defaults = {option.name: option.default for option in main.commands["stack"].params}
    direct = GraphStackingClassifier().get_params(deep=False)
    assert defaults.keys() & direct.keys() == OPTIONS
    assert {name: defaults[name] for name in OPTIONS} == {name: direct[name] for name in OPTIONS}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "meta=mean"), "Use --meta"),
        (("--set", "n_folds=3"), "Use --folds"),
        (("--set", "random_state=1"), "Use --seed"),
        (("--layers", "0"), "0 is not in the range"),
        (("--alpha", "1.5"), "alpha"),
        (("--jobs", "0"), "0 processes do nothing"),
        (("--set", "holdout=many"), "Pass a number"),
        (("--member", "no_such"), "no_such"),
    ],
)
def test_what_does_not_fit_is_named_before_the_work(
    run, mixed, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result: Result = run("stack", *mixed, *options, "--quiet", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
