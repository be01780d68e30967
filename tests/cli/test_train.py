from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import Result

import graphclean as gc
from graphclean.data import load_npz, save_npz
from graphclean.robust import DEFAULT_TRAINER
from graphclean.robust.default import resolve_trainer

FILES = {"model.safetensors", "model.json", "predictions.csv", "train.json"}
FAST = ("--method", "gcn", "--set", "epochs=5", "--set", "hidden=8")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A graph with masks that remembers its true labels."""
    data = gc.split(gc.load("karateclub"), "fractions", fractions=(0.4, 0.3, 0.3))
    save_npz(gc.FlipLabels("uniform", 0.4, seed=0)(data), tmp_path / "noisy.npz")
    return tmp_path / "noisy.npz"


def test_the_model_and_its_predictions_are_written(run, tables, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "model"
    result: Result = run("train", *tables.options, *FAST, "--seed", 3, "--quiet", "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names(out) == FILES
    model = gc.load_model(out)
    assert (model.epochs, model.hidden, model.random_state) == (5, 8, 3)
    assert model.class_names_ == sorted(tables.topics)

    data = gc.from_tables(
        tables.folder / "n.csv", tables.folder / "e.csv", label="topic", id="paper"
    )
    direct = gc.train(data, "gcn", 3, epochs=5, hidden=8)
    probs = direct.predict_proba(gc.check(data))
    assert torch.equal(model.predict_proba(gc.check(data)), probs)
    found = rows_of(out)
    assert [row["node_id"] for row in found] == [node["paper"] for node in tables.nodes]
    assert [int(row["node"]) for row in found] == list(range(36))
    given = [node["topic"] if node["topic"] in tables.topics else "" for node in tables.nodes]
    assert [row["given_label"] for row in found] == given
    assert [row["role"] for row in found] == ["train" if label else "" for label in given]
    best = probs.max(dim=1)
    assert [row["predicted_label"] for row in found] == [
        sorted(tables.topics)[code] for code in best.indices
    ]
    np.testing.assert_allclose([float(row["confidence"]) for row in found], best.values)
    record = json.loads((out / "train.json").read_text(encoding="utf-8"))
    assert record["params"] == {"epochs": 5, "hidden": 8}
    assert (record["method"], record["seed"], record["accuracy"]) == ("gcn", 3, {})
    assert record["rows"] == {"train": 34}
    assert "gcn: 34 training nodes, seed 3, epoch " in result.stdout
    assert "accuracy" not in result.stdout


def test_accuracies_say_by_which_labels(run, noisy: Path, tmp_path: Path) -> None:
    result: Result = run("train", "--graph", noisy, *FAST, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    data = load_npz(noisy)
    predicted = gc.load_model(tmp_path / "out").predict(gc.check(data))
    expected: dict[str, Any] = {}
    for key, mask, truth in (
        ("validation_given", data.val_mask, data.y),
        ("test_given", data.test_mask, data.y),
        ("test_clean", data.test_mask, data.y_clean),
    ):
        right = (predicted == truth)[mask]
        expected[key] = {"accuracy": float(right.double().mean()), "nodes": len(right)}
    assert expected["test_given"] != expected["test_clean"]
    record = json.loads((tmp_path / "out" / "train.json").read_text())
    assert record["accuracy"].keys() == expected.keys()
    for key, scores in expected.items():
        assert record["accuracy"][key] == pytest.approx(scores)
    share = f"{expected['test_clean']['accuracy']:.1%}"
    assert f"Test accuracy: {share} of 9 nodes, by true labels (y_clean)\n" in result.stdout
    assert result.stdout.count("by given labels (may be wrong)\n") == 2
    roles = {"train": data.train_mask, "validation": data.val_mask, "test": data.test_mask}
    for role, mask in roles.items():
        found = [row["role"] == role for row in rows_of(tmp_path / "out")]
        assert found == mask.tolist()
    assert "Training with gcn" in result.stderr


def test_truth_and_test_labels_do_not_change_the_model(run, noisy: Path, tmp_path: Path) -> None:
    data = load_npz(noisy)
    data.y_clean = (data.y_clean + 1) % 4
    data.y = torch.where(data.test_mask, (data.y + 1) % 4, data.y)
    save_npz(data, tmp_path / "poisoned.npz")
    for graph in ("noisy", "poisoned"):
        options = ("--graph", tmp_path / f"{graph}.npz", *FAST, "--out", tmp_path / graph)
        assert run("train", *options).exit_code == 0
    for name in ("model.safetensors", "model.json"):
        first, second = ((tmp_path / g / name).read_bytes() for g in ("noisy", "poisoned"))
        assert first == second


def test_equal_runs_write_equal_bytes(run, tmp_path: Path) -> None:
    for folder, seed in (("first", 1), ("second", 1), ("other", 2)):
        options = (*FAST, "--seed", seed, "--split", "fractions", "--out", tmp_path / folder)
        assert run("train", "karateclub", *options).exit_code == 0
    for name in FILES:
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()
        assert first != (tmp_path / "other" / name).read_bytes()


def test_the_default_is_that_of_the_library(run, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[str] = []

    def quick(method: str, seed: int, params: dict[str, Any]) -> Any:
        asked.append(method)
        return resolve_trainer("sgc", seed, {"epochs": 2})

    monkeypatch.setattr("graphclean.robust.default.resolve_trainer", quick)
    result: Result = run("train", "karateclub", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert asked[0] == DEFAULT_TRAINER
    record = json.loads((tmp_path / "out" / "train.json").read_text())
    assert record["method"] == DEFAULT_TRAINER


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--method", "magic"), "Choose a trainer:"),
        (("--method", "gcn", "--set", "dropout=2.0"), "dropout: 2.0"),
        (("--method", "gcn", "--set", "epochs=many"), "Pass a whole number"),
        (("--method", "gcn", "--set", "warmth=1"), "unknown parameter 'warmth'"),
        (("--method", "gcn", "--set", "random_state=1"), "Use --seed."),
        (("--method", "gcn", "--set", "progress=true"), "Use --quiet."),
        (("--method", "gcn", "--nodes", "n.csv"), "Got a name and --nodes: choose one."),
    ],
)
def test_bad_input_leaves_nothing_behind(
    run, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    result = run("train", "karateclub", *args, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_predict_gives_what_train_wrote(run, tables, tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "predicted"
    assert run("train", *tables.options, *FAST, "--out", model).exit_code == 0
    result: Result = run("predict", model, *tables.options, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names(out) == {"predictions.csv"}
    expected = [{k: v for k, v in row.items() if k != "role"} for row in rows_of(model)]
    assert rows_of(out) == expected
    assert "gcn predicts: " in result.stdout


def test_predict_reads_a_new_graph_without_labels(run, tmp_path: Path) -> None:
    data = gc.load("karateclub")
    data.class_names = ["a", "b", "c", "d"]
    model = gc.train(data, "gcn", epochs=5)
    gc.save_model(model, tmp_path / "model")
    part = data.subgraph(torch.arange(20))
    part.y = torch.full((20,), -1)
    del part.class_names
    save_npz(part, tmp_path / "new.npz")
    args = ("predict", tmp_path / "model", "--graph", tmp_path / "new.npz")
    result: Result = run(*args, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = rows_of(tmp_path / "out")
    expected = model.predict(gc.check(part, require_labels=False))
    assert [row["predicted_label"] for row in found] == ["abcd"[code] for code in expected]
    assert {row["given_label"] for row in found} == {""}


def test_predict_reads_tables_with_an_empty_column_of_labels(run, tables, tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert run("train", *tables.options, *FAST, "--out", model).exit_code == 0
    nodes = pd.read_csv(tables.folder / "n.csv", dtype=str)
    nodes.assign(topic="").to_csv(tables.folder / "n.csv", index=False)
    result: Result = run("predict", model, *tables.options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = rows_of(tmp_path / "out")
    assert {row["given_label"] for row in found} == {""}
    known = [row["predicted_label"] for row in rows_of(model)]
    assert [row["predicted_label"] for row in found] == known


def test_predict_refuses_what_does_not_fit(run, tables, tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert run("train", *tables.options, *FAST, "--out", model).exit_code == 0
    missing: Result = run("predict", tmp_path, "karateclub", "--out", tmp_path / "out")
    assert missing.exit_code == 2
    assert "no file model.json" in missing.stderr
    text = (tables.folder / "n.csv").read_text(encoding="utf-8")
    (tables.folder / "n.csv").write_text(text.replace("year", "weight"), encoding="utf-8")
    other: Result = run("predict", model, *tables.options, "--out", tmp_path / "out")
    assert other.exit_code == 2
    assert "is 'weight', in the training it was 'year'" in other.stderr
    assert not (tmp_path / "out").exists()
