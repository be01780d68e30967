from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from graphclean.cli import clean as clean_module
from graphclean.cli import main
from graphclean.data import from_tables, load, load_npz, split
from graphclean.issues import LabelIssues

VOTE = ("--detector", "neighbour_agreement", "--quiet")
FAST = (
    *("--detector", "self_confidence", "--classifier", "sgc", "--set", "classifier__epochs=30"),
    *("--folds", 3, "--jobs", 1),
)
ISSUES = {"issues.csv", "issues.parquet", "summary.json"}
GRAPH = {"cleaned.npz", "cleaned_nodes.csv", "cleaned_edges.csv"}


@pytest.fixture
def real_page() -> None:
    """Ask for the real report, which takes a second to draw."""


@pytest.fixture(autouse=True)
def light_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_report(path: Path, *args: object, **options: object) -> None:
        path.write_text("a page")

    if "real_page" not in request.fixturenames:
        monkeypatch.setattr("graphclean.report.write_report", write_report)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_string_ids_and_labels_survive_from_tables_to_tables(run, tables, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result: Result = run("clean", *tables.options, *VOTE, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names(out) == {*ISSUES, *GRAPH, "report.html"}

    issues = LabelIssues.load(out)
    labelled = {node["paper"]: node["topic"] for node in tables.nodes}
    del labelled["p08"], labelled["p20"]
    assert issues.frame["given_label"].to_dict() == labelled
    assert issues.top(1).index.tolist() == ["p05"]
    assert (issues.top(1)["suggested_label"] == "Физика").all()

    after = rows(out / "cleaned_nodes.csv")
    expected = [
        node | ({"topic": ""} if n in (5, 8, 20) else {}) for n, node in enumerate(tables.nodes)
    ]
    assert after == expected
    assert rows(out / "cleaned_edges.csv") == rows(tables.folder / "e.csv")


def test_cleaned_tables_read_back_as_the_cleaned_graph(run, tables, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("clean", *tables.options, *VOTE, "--action", "relabel", "--out", out).exit_code == 0
    kept = load_npz(out / "cleaned.npz")
    again = from_tables(
        out / "cleaned_nodes.csv", out / "cleaned_edges.csv", label="topic", id="paper"
    )
    assert again.node_ids == kept.node_ids == [node["paper"] for node in tables.nodes]
    assert again.class_names == kept.class_names == sorted({"=1+1", "Физика", "数学"})
    assert torch.equal(again.y, kept.y)
    assert torch.equal(again.edge_index, kept.edge_index)
    assert kept.class_names[kept.y[5]] == "Физика"
    changed = [n for n, row in enumerate(rows(out / "cleaned_nodes.csv")) if row != tables.nodes[n]]
    assert changed == [5, 20]  # 20 said "NA", which is no label


@pytest.mark.parametrize("action", ["soft", "weight"])
def test_soft_labels_and_weights_stand_beside_the_tables(
    run, tables, tmp_path: Path, action: str
) -> None:
    out = tmp_path / "out"
    assert run("clean", *tables.options, *VOTE, "--action", action, "--out", out).exit_code == 0
    targets = pd.read_csv(out / "cleaned_targets.csv", index_col="node_id")
    kept = load_npz(out / "cleaned.npz")
    expected = kept.y_soft if action == "soft" else kept.sample_weight.unsqueeze(1)
    np.testing.assert_allclose(targets.to_numpy(), expected.numpy(), rtol=1e-6)
    assert list(targets) == (kept.class_names if action == "soft" else ["sample_weight"])
    assert targets.index.tolist() == kept.node_ids
    assert [row["topic"] for row in rows(out / "cleaned_nodes.csv")][5] == "数学"
    wrong = LabelIssues.load(out).frame.loc["p05", "mislabel_probability"]
    given = targets.loc["p05", "数学" if action == "soft" else "sample_weight"]
    assert given == pytest.approx(1.0 - wrong, abs=1e-6)


def test_named_columns_weights_and_features_are_used(run, tables, tmp_path: Path) -> None:
    edges = rows(tables.folder / "e.csv")
    for row in edges:
        row["times"] = "2.5"
        row["other"] = row["cited"]
    pd.DataFrame(edges).to_csv(tables.folder / "e.csv", index=False)
    columns = ("--source", "other", "--target", "citing", "--weight", "times", "--feature", "year")
    out = tmp_path / "out"
    assert run("clean", *tables.options, *columns, *VOTE, "--out", out).exit_code == 0
    data = load_npz(out / "cleaned.npz")
    assert data.feature_names == ["year"]
    assert data.edge_weight.unique().tolist() == [2.5]
    assert data.edge_index[0, 0] == 1  # p01 is cited by p00: the ends are swapped


def test_an_old_folder_is_overwritten_and_holds_nothing_of_the_old_run(
    run, tables, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    noise = ("--noise", "pair:0.2")
    assert (
        run("clean", *tables.options, *VOTE, *noise, "--action", "soft", "--out", out).exit_code
        == 0
    )
    assert names(out) == {*ISSUES, *GRAPH, "cleaned_targets.csv", "evaluation.json", "report.html"}
    (out / "mine.txt").write_text("mine")
    assert run("clean", *tables.options, *VOTE, "--action", "none", "--out", out).exit_code == 0
    assert names(out) == {*ISSUES, "report.html", "mine.txt"}


def test_the_same_seed_writes_the_same_bytes(run, real_page, tmp_path: Path) -> None:
    for name, more in (("first", ["--quiet"]), ("second", ["--top", 20])):
        args = ("clean", "digits", *FAST, "--noise", "pair:0.1", "--seed", 4, *more)
        result: Result = run(*args, "--out", tmp_path / name)
        assert result.exit_code == 0
    first, second = tmp_path / "first", tmp_path / "second"
    assert names(first) == names(second) >= {*ISSUES, "cleaned.npz", "evaluation.json"}
    for name in names(first):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    meta = LabelIssues.load(first).meta
    assert meta["command"] == (
        "graphclean clean digits --detector self_confidence --classifier sgc "
        "--set classifier__epochs=30 --folds 3 --noise pair:0.1 --seed 4"
    )
    assert meta["params"]["classifier"]["class"] == "SGC"
    assert meta["params"]["classifier"]["epochs"] == 30
    assert meta["params"]["n_folds"] == 3
    assert meta["injected_noise"]["flipped"] == 180


def test_injected_mislabels_are_scored_against_the_truth(run, tmp_path: Path) -> None:
    noisy, out, again = tmp_path / "noisy", tmp_path / "out", tmp_path / "again"
    noise = ("--kind", "pair", "--rate", 0.1, "--seed", 3)
    assert run("noise", "digits", *noise, "--out", noisy).exit_code == 0
    result: Result = run("clean", "digits", *VOTE, "--noise", "pair:0.1", "--seed", 3, "--out", out)
    assert result.exit_code == 0

    frame = LabelIssues.load(out).frame
    flips = pd.read_csv(noisy / "flips.csv", index_col="node_id")
    wrong = frame.index.isin(flips.index)
    precision, recall, f1, _ = precision_recall_fscore_support(
        wrong, frame["is_label_issue"], average="binary"
    )
    expected = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "ap": average_precision_score(wrong, frame["mislabel_probability"]),
        "wrong": 180,
        "repaired": int((wrong & frame["is_label_issue"]).sum()),
        "broken": int((~wrong & frame["is_label_issue"]).sum()),
    }
    scores = json.loads((out / "evaluation.json").read_text())
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert "180 of 1,797 labels are wrong" in result.stdout
    assert (
        f"precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}  AP {expected['ap']:.3f}"
        in result.stdout
    )

    graph = noisy / "noisy.npz"
    assert run("clean", "--graph", graph, *VOTE, "--seed", 3, "--out", again).exit_code == 0
    for name in ("issues.csv", "issues.parquet", "evaluation.json"):
        assert (out / name).read_bytes() == (again / name).read_bytes(), name


def test_the_published_protocol_keeps_its_own_noise_map(run, tmp_path: Path) -> None:
    masks = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        noise = ("--noise", "uniform:0.3", "--protocol", "graphcleaner", "--seed", seed)
        assert run("clean", "karateclub", *VOTE, *noise, "--out", out).exit_code == 0
        masks.append(load_npz(out / "cleaned.npz").noise_mask)
        assert LabelIssues.load(out).meta["injected_noise"]["seed"] == 1119
    assert torch.equal(*masks)
    y, held_out = load("karateclub").y, ~load("karateclub").train_mask
    assert "val_mask" not in load("karateclub")
    assert int(masks[0].sum()) == sum(int(0.3 * int(n)) for n in y.bincount())
    assert (masks[0] & held_out).any()


def test_json_is_all_there_is_on_stdout(run, tables, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ("clean", *tables.options, "--detector", "neighbour_agreement", "--noise", "pair:0.1")
    result: Result = run(*args, "--json", "--top", 3, "--out", out)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    saved = json.loads((out / "summary.json").read_text())
    assert {key: saved[key] for key in found["summary"]} == found["summary"]
    assert found["meta"] == saved["meta"]
    assert found["graph"] == {
        "name": "n",
        "nodes": 36,
        "edges": 90,
        "features": 2,
        "classes": 3,
        "labelled": 34,
    }
    top = LabelIssues.load(out).top(3)
    assert [row["node_id"] for row in found["top"]] == top.index.tolist()
    assert found["evaluation"] == json.loads((out / "evaluation.json").read_text())
    assert found["repair"]["action"] == "drop"
    assert set(found["files"]) == names(out)
    assert "Looking for wrong labels" in result.stderr


@pytest.mark.parametrize(
    ("typed", "flagged", "phrase"),
    [("5", 5, "review budget 5 nodes"), ("0.25", 8, "review budget 0.25 of the nodes")],
)
def test_a_review_budget_sets_the_flags(
    run, tables, tmp_path: Path, typed: str, flagged: int, phrase: str
) -> None:
    out = tmp_path / "out"
    result: Result = run("clean", *tables.options, *VOTE, "--budget", typed, "--out", out)
    assert result.exit_code == 0
    assert f"{flagged} of 34 labelled nodes flagged" in result.stdout
    assert phrase in result.stdout
    issues = LabelIssues.load(out)
    assert issues.meta["flag_policy"] == {"budget": json.loads(typed)}
    assert f"--budget {typed}" in issues.meta["command"]
    frame = issues.frame
    assert set(frame.index[frame["is_label_issue"]]) == set(issues.top(flagged).index)
    dropped = [row["paper"] for row in rows(out / "cleaned_nodes.csv") if row["topic"] == ""]
    assert set(dropped) - {"p08", "p20"} == set(issues.top(flagged).index)


def test_the_plan_is_shown_before_the_cleaned_graph_is_written(
    run, tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clean_module, "write_cleaned", full_disk)
    result: Result = run("clean", *tables.options, *VOTE, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "Take the label off 1 of 1 flagged nodes\nExpected: " in result.stdout
    assert "No space left" in result.stderr
    assert not GRAPH & names(tmp_path / "out")


def test_the_terminal_shows_rate_flags_worst_rows_and_files(run, tables, tmp_path: Path) -> None:
    result: Result = run("clean", *tables.options, *VOTE, "--top", 2, "--out", tmp_path / "out")
    text = result.stdout
    assert text.startswith("n: 36 nodes, 90 edges, 2 features, 3 classes, 34 labelled\n")
    issues = LabelIssues.load(tmp_path / "out")
    assert "\n".join(issues.summary().lines()) in text
    worst = text[text.index("Worst labels") :].split("\n\n")[0].splitlines()
    assert worst[1].split() == ["node", "given", "->", "suggested", "score", "degree", "flagged"]
    assert worst[2].split() == [
        *("p05", "数学", "->", "Физика"),
        f"{issues.frame.loc['p05', 'mislabel_probability']:.3f}",
        *("6", "yes"),
    ]
    assert len(worst) == 4
    assert text.splitlines()[-1] == f"Report: {tmp_path / 'out' / 'report.html'}"


def test_nothing_is_written_without_out(run, tables, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    result: Result = run("clean", *tables.options, *VOTE)
    assert result.exit_code == 0
    assert "Wrote" not in result.stdout
    assert set(tmp_path.rglob("*")) == before


def test_hostile_names_reach_neither_the_terminal_nor_the_page(
    run, tmp_path: Path, hostile, real_page
) -> None:
    out = tmp_path / "out"
    result: Result = run(
        "clean", *hostile.options, "--detector", "neighbour_agreement", "--out", out
    )
    assert result.exit_code == 0
    for text in (result.stdout, result.stderr):
        assert not {"\x1b", "\u202e", "\r", "\x07"} & set(text)
    assert "<script>alert" not in (out / "report.html").read_text(encoding="utf-8")
    given = LabelIssues.load(out).frame["given_label"]
    assert set(given) == set(hostile.topics)


def test_an_input_is_never_overwritten(run, tables) -> None:
    folder = tables.folder
    (folder / "n.csv").rename(folder / "cleaned_nodes.csv")
    before = (folder / "cleaned_nodes.csv").read_bytes()
    options = [part.replace("n.csv", "cleaned_nodes.csv") for part in tables.options]
    result: Result = run("clean", *options, *VOTE, "--out", folder)
    assert result.exit_code == 2
    assert "Its cleaned_nodes.csv is the input" in result.stderr
    assert (folder / "cleaned_nodes.csv").read_bytes() == before
    assert names(folder) == {"cleaned_nodes.csv", "e.csv"}


def test_splits_are_made_on_demand(run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--split", "fractions", "--action", "weight", "--seed", 1)
    assert run("clean", "karateclub", *VOTE, *options, "--out", out).exit_code == 0
    data = load_npz(out / "cleaned.npz")
    expected = split(load("karateclub"), "fractions", random_state=1)
    assert 0 < int(expected.val_mask.sum()) < int(expected.train_mask.sum()) < 34
    for key in ("train_mask", "val_mask", "test_mask"):
        assert torch.equal(data[key], expected[key])


BAD = {
    "no graph": (["clean"], "No graph given"),
    "two graphs": (["clean", "digits", "--graph", "x.npz"], "Got a name and --graph"),
    "columns of a named graph": (["clean", "digits", "--label", "y"], "--label does not go"),
    "root of a file": (["clean", "--graph", "x.npz", "--root", "."], "--root does not go"),
    "edges of a file": (["clean", "--graph", "x.npz", "--edges", "e"], "--edges goes with --nodes"),
    "unknown graph": (["clean", "digitz"], "Did you mean digits?"),
    "no such file": (["clean", "--graph", "nothing.npz"], "nothing.npz. There is no such file."),
    "no archive": (["clean", "--graph", "bad.npz"], "it is no .npz archive"),
    "no GraphML": (["clean", "--graph", "bad.graphml", "--label", "y"], "not valid GraphML"),
    "no table": (["clean", "--nodes", "bad.csv", "--edges", "bad.csv", "--label", "y"], "bad.csv"),
    "detector": (["clean", "digits", "--detector", "magic"], "detector: magic. Choose one of"),
    "classifier": (["clean", "digits", "--classifier", "magic"], "magic. Choose one of"),
    "parameter": (["clean", "digits", "--set", "hopz=2"], "unknown parameter 'hopz'"),
    "type": (["clean", "digits", "--set", "hops=two"], "--set hops: two. Pass a whole number."),
    "option of its own": (["clean", "digits", "--set", "n_folds=3"], "Use --folds."),
    "nobody's": (["clean", "digits", "--set", "classifier__hops=3"], "Name a --classifier too."),
    "no folds": (["clean", "digits", *VOTE, "--folds", "3"], "unknown parameter 'n_folds'"),
    "jobs": (["clean", "digits", "--jobs", "0"], "0 processes do nothing"),
    "noise": (["clean", "digits", "--noise", "loud"], "noise: 'loud'"),
    "two rules": (["clean", "digits", "--fdr", "0.1", "--budget", "9"], "Pass exactly one"),
    "rough fdr": (["clean", "digits", *VOTE, "--fdr", "0.1"], "fdr: 0.1 of a detector whose"),
    "fdr in %": (["clean", "digits", "--fdr", "10"], "fdr: 10.0. Pass a share between 0 and 1"),
    "budget": (["clean", "digits", "--budget", "0"], "budget: 0. Pass a number of nodes >= 1"),
    "budget in words": (["clean", "digits", "--budget", "ten"], "'ten' is no number"),
    "protocol": (["clean", "digits", "--protocol", "graphcleaner"], "goes with --noise"),
    "gate": (["clean", "digits", "--min-gain", "0"], "--min-gain goes with --action relabel"),
    "threshold": (
        ["clean", "digits", "--action", "relabel", "--min-confidence", "2"],
        "min_confidence: 2.0. Pass a number in [0, 1]",
    ),
    "out": (["clean", "digits", *VOTE, "--out", "bad.csv/out"], "--out: bad.csv/out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_2_and_says_what_to_change(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    for name in ("bad.npz", "bad.graphml", "bad.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 no graph")
    monkeypatch.chdir(tmp_path)
    args, message = BAD[case]
    result: Result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert message in result.stderr.splitlines()[-1]
    assert names(tmp_path) == {"bad.npz", "bad.graphml", "bad.csv"}


def test_a_column_that_does_not_exist_names_the_near_one(run, tables) -> None:
    options = ["tropic" if part == "topic" else part for part in tables.options]
    result: Result = run("clean", *options)
    assert result.exit_code == 2
    assert "label: no column 'tropic'. Did you mean 'topic'?" in result.stderr


def test_the_detector_defaults_are_those_of_the_library() -> None:
    from graphclean.detect.find import DEFAULT_DETECTOR

    defaults = {option.name: option.default for option in main.commands["clean"].params}
    assert defaults["detector"] == DEFAULT_DETECTOR
    assert (defaults["seed"], defaults["jobs"], defaults["action"]) == (0, -1, "drop")


def test_a_terminal_without_the_characters_gets_escapes(tables) -> None:
    runner = CliRunner(charset="latin-1")
    result = runner.invoke(main, ["clean", *tables.options, *VOTE])
    assert result.exit_code == 0
    assert "\\u6570\\u5b66 -> \\u0424" in result.stdout
