"""What a grid measures of detectors beside their scores."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphclean.denoise import ACTIONS
from graphclean.evaluate.grid import Cell, Learner, Method, make_grid, measures_frame, run_grid
from graphclean.evaluate.grid import measures as measured
from graphclean.evaluate.grid.graphs import NoisyGraph, noisy_graph

SGC = Learner("sgc", "sgc", {"epochs": 20, "val_fraction": 0.0, "patience": None})
METHODS = (
    Method("votes", "neighbour_agreement"),
    Method("self-confidence", "self_confidence", probs="sgc"),
)
GRID = make_grid(
    ["karateclub"],
    rates=[0.2],
    methods=METHODS,
    learners=[SGC],
    estimators=["neighbour_lca"],
    measures=["strata", "downstream"],
)
CELL = GRID.cells[0]
SCORES = [
    f"{score}_{labels}" for score in ("accuracy", "macro_f1") for labels in ("clean", "given")
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measured._PARAMS, "epochs", 30)
        found = run_grid(GRID, tmp_path_factory.mktemp("measures"), progress=False)
    assert [record["error"] for record in found] == [None] * 3
    return found


def test_estimators_and_plain_grids_are_not_measured(
    tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    measures = {"strata", "downstream", "rank_stability"}
    plain = make_grid(["karateclub"], rates=[0.2], methods=METHODS, learners=[SGC])
    unmeasured = run_grid(plain, tmp_path, progress=False)
    for record in (*unmeasured, records[2]):
        assert not measures & set(record)
    for before, after in zip(unmeasured, records, strict=False):
        assert before["scores"] == after["scores"]
        assert set(after) - set(before) == measures
        assert before["key"] != after["key"]
    assert measures_frame(unmeasured, "strata").empty


def test_strata_add_up_to_the_whole(records: list[dict[str, Any]]) -> None:
    frame = measures_frame(records, "strata")
    assert list(frame.columns[:8]) == [
        *("graph", "noise", "rate", "seed", "protocol", "method"),
        *("stratum", "bin"),
    ]
    assert frame["ap"].dtype == np.float64
    for record in records[:2]:
        rows = frame[frame["method"] == record["method"]]
        assert rows["stratum"].unique().tolist() == ["class", "degree", "homophily"]
        sums = rows.groupby("stratum")[["nodes", "wrong", "flagged"]].sum()
        for name in sums:
            assert (sums[name] == record["scores"][name]).all()


def test_the_stratum_of_the_class_is_the_given_label(records: list[dict[str, Any]]) -> None:
    frame = measures_frame(records[:1], "strata")
    rows = frame[frame["stratum"] == "class"]
    noisy = noisy_graph(CELL)
    counts = torch.bincount(noisy.blind.y)
    wrong = torch.bincount(noisy.blind.y[noisy.blind.y != noisy.clean], minlength=4)
    assert rows["nodes"].tolist() == counts.tolist()
    assert rows["wrong"].tolist() == wrong.tolist()


def test_every_repair_is_learned_from(records: list[dict[str, Any]]) -> None:
    frame = measures_frame(records, "downstream")
    assert len(frame) == 2 * 7
    found = frame[frame["method"] == "votes"].set_index("repair")
    assert found.index.tolist() == ["given", "oracle", "random", *ACTIONS]
    assert found.loc["oracle", "train_label_accuracy"] == 1.0
    assert found.loc["given", "train_label_accuracy"] < 1.0
    assert found.loc["random", "train"] == found.loc["drop", "train"]
    assert (found["judged_test"] == found["test"]).all()
    assert (found["test"] + found.loc["given", "train"] == 34).all()
    assert frame[SCORES].notna().all(axis=None)
    same = frame[frame["repair"].isin(["given", "oracle"])].groupby("repair")[SCORES].nunique()
    assert (same == 1).all(axis=None)


def test_both_paths_train_the_same_model(records: list[dict[str, Any]]) -> None:
    """The model of the repairs, on the given labels, is one of those that are ranked."""
    repairs = measures_frame(records[:1], "downstream").set_index("repair")
    ranks = measures_frame(records[:1], "rank_stability").set_index("labels")
    for labels in ("given", "clean"):
        ranked = ranks.loc[labels, f"accuracy_{measured.CHEAP}"]
        assert ranked == pytest.approx(repairs.loc["given", f"accuracy_{labels}"])


def test_models_are_ranked_by_each_version_of_the_test_labels(
    records: list[dict[str, Any]],
) -> None:
    frame = measures_frame(records[:1], "rank_stability").set_index("labels")
    assert frame.index.tolist() == ["given", "repaired", "clean"]
    noisy = noisy_graph(CELL)
    test = measured.Downstream(CELL, noisy).test
    wrong = int((noisy.blind.y != noisy.clean)[test].sum())
    assert frame["nodes"].tolist() == [int(test.sum())] * 3
    assert frame.loc["given", "changed"] == wrong
    assert frame.loc["clean", "changed"] == 0
    assert frame.loc["clean", "swapped"] == 0
    for _, row in frame.iterrows():
        accuracy = {name: row[f"accuracy_{name}"] for name in measured.MODELS}
        assert accuracy[row["best"]] == max(accuracy.values())


def test_a_fifth_of_each_class_is_the_test() -> None:
    cell = Cell("digits", "uniform", 0.1, 0)
    noisy = noisy_graph(cell)
    noisy.blind.y[:7] = -1
    found = measured.Downstream(cell, noisy)
    counts = torch.bincount(noisy.blind.y[7:])
    assert (torch.bincount(noisy.blind.y[found.test]) - counts / 5).abs().max() <= 1
    assert torch.equal(found.train, ~found.test & (noisy.blind.y >= 0))
    assert not bool(found.test[:7].any())
    assert torch.equal(measured.Downstream(cell, noisy).test, found.test)
    other = measured.Downstream(Cell("digits", "uniform", 0.1, 1), noisy)
    assert not torch.equal(other.test, found.test)


def test_a_published_split_is_kept() -> None:
    cell = Cell("digits", "uniform", 0.1, 0, "published")
    noisy = noisy_graph(cell)
    found = measured.Downstream(cell, noisy)
    assert torch.equal(found.test, noisy.blind.test_mask)
    assert torch.equal(found.train, noisy.blind.train_mask)


def test_no_test_label_reaches_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measured._PARAMS, "epochs", 10)
    noisy = noisy_graph(CELL)
    honest = measured.Downstream(CELL, noisy)
    blind = copy.copy(noisy.blind)
    blind.y = torch.where(honest.test, (blind.y + 1) % 4, blind.y)
    lied = measured.Downstream(CELL, NoisyGraph(blind, noisy.clean, noisy.scored))
    # The test nodes are drawn by class: keep those of the honest graph.
    vars(lied).update(test=honest.test)
    for name in measured.MODELS:
        assert torch.equal(honest.predictions[name], lied.predictions[name])
