from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from click.testing import Result

from graphclean.data import load, load_npz
from graphclean.noise import FlipLabels

FILES = {"noisy.npz", "flips.csv", "noise.json"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_noisy_graph_keeps_the_truth(run, tables, tmp_path: Path) -> None:
    out = tmp_path / "noisy"
    args = ("noise", *tables.options, "--kind", "pair", "--rate", 0.2, "--seed", 3, "--out", out)
    result: Result = run(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names(out) == FILES
    assert "Injected pair noise: 7 of 34 labels flipped (20.6%), seed 3" in result.stdout

    noisy = load_npz(out / "noisy.npz")
    labels = ["NA" if code < 0 else noisy.class_names[code] for code in noisy.y_clean]
    assert labels == [node["topic"] or "NA" for node in tables.nodes]
    assert int(noisy.noise_mask.sum()) == 7
    with (out / "flips.csv").open(newline="", encoding="utf-8") as file:
        flips = list(csv.DictReader(file))
    order = sorted(tables.topics)
    for flip in flips:
        node = int(flip["node"])
        assert flip["node_id"] == tables.nodes[node]["paper"]
        assert flip["clean_label"] == tables.nodes[node]["topic"]
        assert flip["given_label"] == noisy.class_names[noisy.y[node]]
        assert order.index(flip["given_label"]) == (order.index(flip["clean_label"]) + 1) % 3
    assert [int(flip["node"]) for flip in flips] == noisy.noise_mask.nonzero().flatten().tolist()

    record = json.loads((out / "noise.json").read_text(encoding="utf-8"))
    counts = [[0.0] * 3 for _ in range(3)]
    for clean, given in zip(noisy.y_clean.tolist(), noisy.y.tolist(), strict=True):
        if clean >= 0:
            counts[clean][given] += 1
    for row, realised in zip(counts, record["realised_transition"], strict=True):
        assert realised == pytest.approx([count / sum(row) for count in row])
    assert (record["rate"], record["realised_rate"]) == (0.2, 7 / 34)
    assert record["class_names"] == order


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(run, tmp_path: Path) -> None:
    args = ("noise", "karateclub", "--kind", "uniform", "--rate", 0.3)
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        assert run(*args, "--seed", seed, "--out", tmp_path / name).exit_code == 0
    for name in FILES:
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()
        assert first != (tmp_path / "other" / name).read_bytes()


def test_parameters_and_splits_reach_the_noise_model(run, tmp_path: Path) -> None:
    transition = "[[0,1,0,0],[0,0.5,0.5,0],[0,0,1,0],[0,0,0,1]]"
    out = tmp_path / "noisy"
    kind = ("--kind", "class_conditional", "--set", f"transition={transition}")
    assert (
        run(
            "noise", "karateclub", *kind, "--on", "train", "--split", "fractions", "--out", out
        ).exit_code
        == 0
    )
    noisy = load_npz(out / "noisy.npz")
    flipped = noisy.noise_mask
    assert flipped.any()
    assert not (flipped & (noisy.val_mask | noisy.test_mask)).any()
    zero = noisy.train_mask & (noisy.y_clean == 0)
    assert zero.any()
    assert (noisy.y[zero] == 1).all()
    assert json.loads((out / "noise.json").read_text())["on"] == ["train"]


def test_the_published_protocol_is_that_of_flip_labels(run, tmp_path: Path) -> None:
    args = ("noise", "karateclub", "--kind", "pair", "--rate", 0.3, "--protocol", "graphcleaner")
    for name, seed in (("published", ()), ("other", ("--seed", 5))):
        assert run(*args, *seed, "--out", tmp_path / name).exit_code == 0
        drawn = load_npz(tmp_path / name / "noisy.npz")
        expected = FlipLabels("pair", 0.3, protocol="graphcleaner", seed=5 if seed else None)
        assert torch.equal(drawn.y, expected(load("karateclub")).y)
    assert json.loads((tmp_path / "published" / "noise.json").read_text())["seed"] == 1119


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--kind", "loud"], "loud. Choose one of"),
        (["--kind", "pair", "--rate", "2"], "rate: 2.0. Pass a number between 0 and 1."),
        (["--kind", "pair", "--on", "trains"], "on: ['trains']"),
        (["--kind", "pair", "--set", "colour=1"], "unknown parameter 'colour'"),
        (["--kind", "neighbourhood", "--set", "select=1"], "--set select: 1. Pass a word."),
        (["--kind", "class_conditional"], "--set transition: missing."),
        (["--kind", "confusion", "--protocol", "graphcleaner"], "noise: confusion"),
        (["--kind", "pair", "--nodes", "n.csv"], "Got a name and --nodes: choose one."),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(
    run, tmp_path: Path, args: list[str], message: str
) -> None:
    result: Result = run("noise", "karateclub", *args, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
