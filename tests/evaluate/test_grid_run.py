from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from cleanlab.filter import find_label_issues
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, f1_score, log_loss

import graphclean as gc
from graphclean.detect import Detector, SelfConfidence
from graphclean.evaluate.grid import (
    Cell,
    Grid,
    Learner,
    Method,
    cell_runs,
    load_records,
    make_grid,
    missing_runs,
    probs_key,
    results_frame,
    run_grid,
)
from graphclean.evaluate.grid.graphs import noisy_graph
from graphclean.noise import FlipLabels

FAST = {"val_fraction": 0.0, "patience": None}
SGC = Learner("sgc", "sgc", {"epochs": 20, **FAST})
MLP = Learner("mlp", "mlp", {"epochs": 20, **FAST})
METHODS = (
    Method("self-confidence", "self_confidence", probs="best"),
    Method("cleanlab", "confident_learning", {"filter_by": "both"}, probs="mlp"),
    Method("votes", "neighbour_agreement"),
)
TIMES = ("seconds", "cpu_seconds", "probs_cpu_seconds", "peak_mb")
SMALL = make_grid(["karateclub"], ["uniform", "pair"], methods=METHODS, learners=[SGC, MLP])
DIGITS = make_grid(["digits"], ["pair"], methods=METHODS, learners=[MLP, SGC])


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("digits")
    return out, {record["method"]: record for record in run_grid(DIGITS, out, progress=False)}


@pytest.fixture
def spy() -> Iterator[type[Any]]:
    """A registered detector that notes what it is given, and is forgotten after the test."""

    class Spy(SelfConfidence):
        name: ClassVar[str] = "spy"
        seen: ClassVar[list[Any]] = []
        given: ClassVar[list[Any]] = []
        verdicts: ClassVar[list[np.ndarray]] = []

        def fit(self, data: Any, pred_probs: Any = None) -> Any:
            self.seen.append(data)
            self.given.append(pred_probs)
            first = pred_probs[0] if isinstance(pred_probs, list) else pred_probs
            super().fit(data, pred_probs=first)
            self.verdicts.append(self.label_quality_)
            return self

    yield Spy
    del Detector.registry["spy"]


@cache
def given_and_truth() -> tuple[np.ndarray, np.ndarray]:
    noisy = FlipLabels("pair", 0.1, seed=0)(gc.load("digits"))
    return noisy.y.numpy(), (noisy.y != noisy.y_clean).numpy()


def cached(out: Path, learner: Learner) -> np.ndarray:
    path = out / "oof" / f"{probs_key(DIGITS.cells[0], learner)}.safetensors"
    found: np.ndarray = load_file(path)["pred_probs"].double().numpy()
    return found / found.sum(axis=1, keepdims=True)


def test_average_precision_from_raw_predictions(digits: Any) -> None:
    """Scikit-learn's number, from the cached probabilities of the best learner."""
    out, records = digits
    record = records["self-confidence"]
    y, wrong = given_and_truth()
    learner = {"sgc": SGC, "mlp": MLP}[record["probs"][0]]
    given = cached(out, learner)[np.arange(len(y)), y]
    assert record["scores"]["ap"] == pytest.approx(average_precision_score(wrong, 1 - given))
    assert record["scores"]["wrong"] == wrong.sum() == 180


def test_f1_from_raw_predictions(digits: Any) -> None:
    """Cleanlab's own flags on the cached probabilities, scored by scikit-learn."""
    out, records = digits
    y, wrong = given_and_truth()
    flagged = find_label_issues(y, cached(out, MLP), filter_by="both", n_jobs=1)
    assert records["cleanlab"]["scores"]["f1"] == pytest.approx(f1_score(wrong, flagged))
    assert records["cleanlab"]["scores"]["flagged"] == flagged.sum()


def test_the_best_learner_has_the_lowest_log_loss_on_given_labels(digits: Any) -> None:
    out, records = digits
    y, _ = given_and_truth()
    losses = {learner.name: log_loss(y, cached(out, learner)) for learner in (SGC, MLP)}
    assert records["self-confidence"]["probs"] == [min(losses, key=losses.__getitem__)]


def test_all_learners_of_a_cell_have_the_same_folds(digits: Any) -> None:
    out, _ = digits
    first, second = (load_file(path)["fold"] for path in sorted((out / "oof").iterdir()))
    assert torch.equal(first, second)
    assert set(first.flatten().tolist()) == set(range(5))


def test_repairs_are_counted(digits: Any) -> None:
    _, records = digits
    y, wrong = given_and_truth()
    for record in records.values():
        scores = record["scores"]
        assert scores["drop_repaired"] + scores["drop_broken"] == scores["flagged"]
        assert scores["drop_accuracy_before"] == pytest.approx(1 - wrong.mean())
        after = 1 - wrong.mean()
        after += (scores["relabel_repaired"] - scores["relabel_broken"]) / len(y)
        assert scores["relabel_accuracy_after"] == pytest.approx(after)
        assert scores["drop_expected_repaired"] > 0


def test_records_hold_the_interval_and_leave_the_fdr_to_the_leaderboard(digits: Any) -> None:
    _, wrong = given_and_truth()
    for record in digits[1].values():
        scores = record["scores"]
        covered = scores["noise_rate_low"] <= wrong.mean() <= scores["noise_rate_high"]
        assert scores["noise_rate_covered"] == covered
        assert "fdr" not in scores


def test_the_table_has_one_row_a_run(digits: Any) -> None:
    frame = results_frame(digits[1].values())
    assert list(frame.columns[:6]) == ["graph", "noise", "rate", "seed", "protocol", "method"]
    assert len(frame) == 3
    assert frame["error"].isna().all()
    assert frame["ap"].dtype == np.float64
    assert (frame["seconds"] > 0).all()
    assert frame.set_index("method").loc["votes", "probs"] == ""


def test_more_processes_give_the_same_records(tmp_path: Path) -> None:
    first = run_grid(SMALL, tmp_path / "one", progress=False)
    second = run_grid(SMALL, tmp_path / "two", n_jobs=2, progress=False)
    assert len(first) == 6
    assert timeless(first) == timeless(second)
    assert [record["error"] for record in first] == [None] * 6


def test_finished_runs_are_not_made_again(tmp_path: Path, monkeypatch: Any) -> None:
    run_grid(SMALL, tmp_path, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert missing_runs(SMALL, tmp_path) == {}
    monkeypatch.setattr(cell_runs, "noisy_graph", lambda cell: pytest.fail("it ran"))
    run_grid(SMALL, tmp_path, n_jobs=1, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}


def test_a_record_that_is_cut_off_is_made_again(tmp_path: Path) -> None:
    first = run_grid(SMALL, tmp_path, progress=False)
    path = tmp_path / "runs" / f"{first[0]['key']}.json"
    path.write_bytes(path.read_bytes()[:100])
    assert list(missing_runs(SMALL, tmp_path).values()) == [(METHODS[0],)]
    assert timeless(run_grid(SMALL, tmp_path, progress=False)) == timeless(first)


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_damaged_probabilities_are_computed_anew(tmp_path: Path, damage: str) -> None:
    grid = make_grid(["karateclub"], methods=METHODS[:1], learners=[SGC])
    first = run_grid(grid, tmp_path, progress=False)
    (path,) = (tmp_path / "oof").iterdir()
    # load_file maps the file, which is about to be cut.
    sound = {name: tensor.clone() for name, tensor in load_file(path).items()}
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[:-9], "bit": content, "empty": b""}[damage])
    for record in (tmp_path / "runs").iterdir():
        record.unlink()
    assert timeless(run_grid(grid, tmp_path, progress=False)) == timeless(first)
    assert all(torch.equal(sound[name], tensor) for name, tensor in load_file(path).items())


def test_a_failing_method_is_recorded_and_tried_again(
    tmp_path: Path, spy: type[Any], monkeypatch: Any
) -> None:
    failing = Method("paper", "graphcleaner", {"mode": "paper"})
    grid = make_grid(["karateclub"], methods=[failing, METHODS[2]], learners=[])
    bad, good = run_grid(grid, tmp_path, progress=False)
    assert bad["error"].startswith("InputError: val_mask: missing")
    assert bad["scores"] == {}
    assert good["error"] is None
    frame = results_frame([bad, good])
    assert frame["ap"].isna().tolist() == [True, False]
    assert frame["error"][0] == bad["error"]
    assert list(missing_runs(grid, tmp_path).values()) == [(failing,)]


def test_a_failing_learner_fails_its_readers_alone(tmp_path: Path) -> None:
    broken = Learner("broken", "sgc", {"lr": -1.0})
    method = Method("on broken", "self_confidence", probs="broken")
    grid = make_grid(["karateclub"], methods=[method, METHODS[2]], learners=[broken])
    bad, good = run_grid(grid, tmp_path, progress=False)
    assert bad["error"].startswith("InputError: lr: -1.0")
    assert good["error"] is None


@pytest.mark.parametrize("protocol", ["whole", "published"])
def test_detectors_see_no_truth(tmp_path: Path, spy: type[Any], protocol: str) -> None:
    method = Method("spy", "spy", probs="sgc")
    grid = make_grid(["digits"], protocol=protocol, methods=[method], learners=[SGC])
    (record,) = run_grid(grid, tmp_path, progress=False)
    assert record["error"] is None
    (data,) = spy.seen
    hidden = {"y_clean", "noise_mask", "noise_eligible", "noise_transition", "noise_rate"}
    assert not hidden & set(data.keys())
    assert int((data.y != gc.load("digits").y).sum()) > 100


def test_poisoned_truth_moves_no_output(tmp_path: Path, spy: type[Any], monkeypatch: Any) -> None:
    grid = make_grid(["digits"], methods=[Method("spy", "spy", probs="best")], learners=[SGC, MLP])
    honest = run_grid(grid, tmp_path / "honest", progress=False)
    draw = noisy_graph

    def poisoned(cell: Cell) -> Any:
        noisy = draw(cell)
        noisy.clean[:] = noisy.clean.flip(0)
        return noisy

    monkeypatch.setattr(cell_runs, "noisy_graph", poisoned)
    lied = run_grid(grid, tmp_path / "poisoned", progress=False)
    assert np.array_equal(*spy.verdicts)
    assert honest[0]["probs"] == lied[0]["probs"]
    assert honest[0]["scores"]["ap"] > 0.5 > lied[0]["scores"]["ap"] - 0.5
    assert honest[0]["scores"]["wrong"] != lied[0]["scores"]["wrong"]


def test_a_list_of_learners_comes_in_order_the_best_once(tmp_path: Path, spy: type[Any]) -> None:
    methods = [
        Method("best, sgc, mlp", "spy", probs=("best", "sgc", "mlp")),
        Method("mlp, sgc", "spy", probs=("mlp", "sgc")),
        Method("none", "neighbour_agreement"),
    ]
    grid = make_grid(["digits"], methods=methods, learners=[SGC, MLP])
    first, second, third = run_grid(grid, tmp_path, progress=False)
    assert sorted(first["probs"]) == ["mlp", "sgc"]
    assert second["probs"] == ["mlp", "sgc"]
    assert third["probs"] == []
    assert [len(given) for given in spy.given] == [2, 2]
    mlp = spy.given[1][0].pred_probs
    place = first["probs"].index("mlp")
    assert torch.equal(spy.given[0][place].pred_probs, mlp)


def test_the_seed_of_the_cell_is_the_detectors(tmp_path: Path) -> None:
    assert Method("a", "graphcleaner").build(7).random_state == 7
    assert Method("a", "graphcleaner", {"random_state": 3}).build(7).random_state == 3
    Method("a", "neighbour_agreement").build(7)


def test_ctrl_c_that_a_method_swallows_leaves_no_record(
    tmp_path: Path, spy: type[Any], monkeypatch: Any
) -> None:
    """A network stopped by Ctrl-C keeps what it has learned; its run is not one of the grid."""

    def fit(self: Any, data: Any, pred_probs: Any = None) -> Any:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)
        except KeyboardInterrupt:
            pass
        return SelfConfidence.fit(self, data, pred_probs=pred_probs)

    monkeypatch.setattr(spy, "fit", fit)
    handler = signal.getsignal(signal.SIGINT)
    methods = [METHODS[2], Method("spy", "spy", probs="sgc")]
    grid = make_grid(["karateclub"], methods=methods, learners=[SGC])
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid, tmp_path, progress=False)
    assert [record["method"] for record in load_records(tmp_path)] == ["votes"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_settings_of_the_process_are_left_as_they_were(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        before = torch.random.get_rng_state()
        run_grid(SMALL, tmp_path, progress=False)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.random.get_rng_state(), before)
    finally:
        torch.set_num_threads(1)


def test_progress_counts_what_was_done_before(tmp_path: Path, capsys: Any) -> None:
    part = make_grid(["karateclub"], ["uniform"], methods=METHODS, learners=[SGC, MLP])
    run_grid(part, tmp_path, progress=False)
    assert capsys.readouterr().err == ""
    run_grid(SMALL, tmp_path)
    shown = capsys.readouterr().err
    assert " 3/6 " in shown
    assert " 6/6 " in shown


def test_records_of_a_folder_are_those_of_the_grid_that_is_asked_for(tmp_path: Path) -> None:
    grid = Grid(SMALL.cells[:1], SMALL.learners, SMALL.methods)
    run_grid(SMALL, tmp_path, progress=False)
    assert len(load_records(tmp_path)) == 6
    assert [r["noise"] for r in load_records(tmp_path, grid)] == ["uniform"] * 3
    text = next((tmp_path / "runs").iterdir()).read_text()
    assert "NaN" not in text
    assert json.loads(text)["format"] == 1


def test_published_splits(graph_root: Path) -> None:
    for name, train, val, test in (
        ("cora", 140, 500, 1000),
        ("citeseer", 120, 500, 1000),
        ("photo", 4590, 1530, 1530),
    ):
        noisy = noisy_graph(Cell(name, "pair", 0.1, 0, "published"))
        data = noisy.blind
        assert [int(data[f"{key}_mask"].sum()) for key in ("train", "val", "test")] == [
            train,
            val,
            test,
        ]
        assert torch.equal(noisy.scored, data.test_mask)
        assert int((data.y < 0).sum()) == 0
        again = FlipLabels("pair", 0.1, seed=1000, protocol="graphcleaner")
        clean = gc.load(name)
        clean.y = noisy.clean.clone()
        clean.train_mask, clean.val_mask, clean.test_mask = (
            data.train_mask,
            data.val_mask,
            data.test_mask,
        )
        assert torch.equal(again(clean).y, data.y)
    assert bool(data.train_mask[:4590].all())
    assert bool(data.val_mask[4590:6120].all())
    other = noisy_graph(Cell("digits", "uniform", 0.1, 1, "published"))
    same = gc.data.split(gc.load("digits"), "fractions", random_state=1)
    assert torch.equal(other.scored, same.test_mask)
