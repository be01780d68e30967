"""Transition estimators as runs of a grid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from graphclean.evaluate import leaderboard
from graphclean.evaluate.grid import (
    Cell,
    Learner,
    Method,
    TransitionMethod,
    load_records,
    make_grid,
    missing_runs,
    probs_key,
    results_frame,
    run_grid,
    transitions_frame,
)
from graphclean.evaluate.grid.estimates import verified_labels
from graphclean.evaluate.grid.graphs import noisy_graph, seed_for
from graphclean.noise import ConfidentJoint, TransitionEstimator

SGC = Learner("sgc", "sgc", {"epochs": 20, "val_fraction": 0.0, "patience": None})
VOTES = Method("votes", "neighbour_agreement")
GRID = make_grid(
    ["karateclub"],
    rates=[0.2],
    methods=[VOTES],
    learners=[SGC],
    estimators=[
        TransitionMethod("all verified", "verified", {"verified_share": 1.0}),
        TransitionMethod("joint", "confident_joint", probs="best"),
        "neighbour_lca",
    ],
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("transitions")
    return out, {record["method"]: record for record in run_grid(GRID, out, progress=False)}


def true_and_given() -> tuple[np.ndarray, np.ndarray]:
    noisy = noisy_graph(GRID.cells[0])
    return noisy.clean.numpy(), noisy.blind.y.numpy()


def test_counting_all_verified_labels_makes_no_error(finished: Any) -> None:
    clean, given = true_and_given()
    scores = finished[1]["all verified"]["scores"]
    assert scores["transition_error"] == pytest.approx(0.0, abs=1e-7)
    assert scores["noise_rate"] == pytest.approx((clean != given).mean())
    assert scores["noise_rate"] > 0.1
    assert scores["estimated_noise_rate"] == pytest.approx(scores["noise_rate"])
    assert scores["noise_rate_error"] == pytest.approx(0.0, abs=1e-12)


def test_error_and_rate_from_the_cached_probabilities(finished: Any) -> None:
    out, records = finished
    clean, given = true_and_given()
    path = out / "oof" / f"{probs_key(GRID.cells[0], SGC)}.safetensors"
    joint = ConfidentJoint().fit(
        noisy_graph(GRID.cells[0]).blind, pred_probs=load_file(path)["pred_probs"]
    )
    realised = pd.crosstab(clean, given, normalize="index").to_numpy()
    scores = records["joint"]["scores"]
    expected = np.abs(joint.transition_ - realised).mean()
    assert scores["transition_error"] == pytest.approx(expected, abs=1e-7)
    stays = sum(joint.class_prior_[i] * joint.transition_[i, i] for i in range(4))
    assert scores["estimated_noise_rate"] == pytest.approx(1 - stays)
    assert scores["credibility"] == pytest.approx(
        1 - np.sqrt(((joint.transition_ - np.eye(4)) ** 2).sum() / 8)
    )
    assert records["joint"]["probs"] == ["sgc"]
    assert records["joint"]["probs_cpu_seconds"] > 0


def test_detectors_and_estimators_are_in_tables_of_their_own(finished: Any) -> None:
    records = finished[1].values()
    assert [record.get("family") for record in records] == [None, *["transition"] * 3]
    assert results_frame(records)["method"].tolist() == ["votes"]
    frame = transitions_frame(records)
    assert frame["estimator"].tolist() == ["verified", "confident_joint", "neighbour_lca"]
    assert frame["transition_error"].dtype == np.float64
    assert (frame["seconds"] > 0).all()
    ranked = leaderboard(frame, "transition_error", default=None)
    assert ranked["method"][0] == "all verified"
    assert ranked["transition_error"].is_monotonic_increasing


def test_finished_estimates_are_not_made_again(finished: Any) -> None:
    out, records = finished
    assert missing_runs(GRID, out) == {}
    assert load_records(out, GRID) == list(records.values())


def test_estimates_leave_the_runs_of_detectors_as_they_are(finished: Any) -> None:
    out, _ = finished
    alone = make_grid(["karateclub"], rates=[0.2], methods=[VOTES], learners=[SGC])
    assert missing_runs(alone, out) == {}


def test_a_failing_estimator_is_recorded_and_tried_again(tmp_path: Path) -> None:
    failing = TransitionMethod("failing", "dual_t", {"quantile": 2.0}, "sgc")
    grid = make_grid(
        ["karateclub"], methods=[VOTES], learners=[SGC], estimators=[failing, "neighbour_lca"]
    )
    votes, bad, good = run_grid(grid, tmp_path, progress=False)
    assert (votes["error"], good["error"]) == (None, None)
    assert bad["error"].startswith("InputError: quantile")
    assert list(missing_runs(grid, tmp_path).values()) == [(failing,)]
    frame = transitions_frame([bad, good])
    assert frame["transition_error"].isna().tolist() == [True, False]


def test_verified_labels_are_a_seeded_share_of_the_true_ones() -> None:
    noisy = noisy_graph(Cell("digits", "uniform", 0.1, 0))
    noisy.blind.y[:97] = -1
    verified = verified_labels(noisy, 0.1, 3)
    known = verified >= 0
    assert int(known.sum()) == 170
    assert torch.equal(verified[known], noisy.clean[known])
    assert not bool(known[:97].any())
    assert torch.equal(verified, verified_labels(noisy, 0.1, 3))
    assert not torch.equal(verified, verified_labels(noisy, 0.1, 4))
    assert int((verified_labels(noisy, 1e-9, 3) >= 0).sum()) == 1


def test_the_verified_nodes_do_not_follow_the_noise() -> None:
    """Drawn with the seed of the noise they might be the very nodes that were flipped."""
    for seed in range(3):
        cell = Cell("digits", "uniform", 0.1, seed)
        noisy = noisy_graph(cell)
        known = verified_labels(noisy, 0.5, seed_for(cell, "verified labels")) >= 0
        wrong = noisy.blind.y != noisy.clean
        # 180 wrong labels, half of them verified, give or take four standard deviations.
        assert abs(int((known & wrong).sum()) - 90) < 4 * np.sqrt(180 * 0.25)


@pytest.fixture
def spy() -> Iterator[type[Any]]:
    """A registered estimator that notes what it is given, and is forgotten after the test."""

    class Spy(ConfidentJoint):
        name: ClassVar[str] = "spy"
        seen: ClassVar[list[Any]] = []

        def fit(self, data: Any, pred_probs: Any = None) -> Any:
            self.seen.append(data)
            return super().fit(data, pred_probs)

    yield Spy
    del TransitionEstimator.registry["spy"]


@pytest.mark.parametrize("protocol", ["whole", "published"])
def test_estimators_see_no_truth(tmp_path: Path, spy: type[Any], protocol: str) -> None:
    method = TransitionMethod("spy", "spy", probs="sgc")
    grid = make_grid(
        ["karateclub"], protocol=protocol, methods=[], learners=[SGC], estimators=[method]
    )
    (record,) = run_grid(grid, tmp_path, progress=False)
    assert record["error"] is None
    (data,) = spy.seen
    hidden = {"y_clean", "noise_mask", "noise_eligible", "noise_transition", "noise_rate"}
    assert not hidden & set(data.keys())
