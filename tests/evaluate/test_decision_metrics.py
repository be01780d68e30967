from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve as reference_curve
from sklearn.metrics import precision_score

from graphclean.evaluate import (
    calibration_curve,
    detection_scores,
    expected_over_realised,
    false_discovery_proportion,
    interval_covers,
)
from graphclean.issues import NoiseRate
from graphclean.types import InputError


@pytest.mark.parametrize("seed", range(3))
def test_false_discoveries_are_what_precision_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong, flagged = rng.random(200) < 0.3, rng.random(200) < 0.4
    expected = 1 - precision_score(wrong, flagged)
    assert false_discovery_proportion(wrong, flagged) == pytest.approx(expected)


def test_no_discovery_is_no_false_one() -> None:
    assert false_discovery_proportion(np.array([True, False]), np.array([False, False])) == 0.0
    assert false_discovery_proportion(np.zeros(0, bool), np.zeros(0, bool)) == 0.0


@pytest.mark.parametrize(
    ("truth", "covered"), [(0.05, True), (0.1, True), (0.2, True), (0.049, False), (0.21, False)]
)
def test_an_interval_covers_its_ends(truth: float, covered: bool) -> None:
    assert interval_covers(NoiseRate(0.1, 0.05, 0.2), truth) is covered


def test_expected_over_realised_by_hand() -> None:
    assert expected_over_realised(3.0, 4) == 0.75
    assert expected_over_realised(0.0, 4) == 0.0
    assert expected_over_realised(2.0, 0) == math.inf
    assert math.isnan(expected_over_realised(0.0, 0))


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_curve_is_that_of_scikit_learn(bins: int) -> None:
    rng = np.random.default_rng(bins)
    # calibration_curve closes its bins on the right, so keep scores off the edges
    score = rng.random(500) ** 3 * 0.999 + 0.0003
    wrong = rng.random(500) < score
    curve = calibration_curve(wrong, score, bins)
    share, mean = reference_curve(wrong, score, n_bins=bins, strategy="uniform")
    np.testing.assert_allclose(curve["share_wrong"], share)
    np.testing.assert_allclose(curve["mean_probability"], mean)
    counts = np.histogram(score, bins, (0, 1))[0]
    assert curve["nodes"].tolist() == counts[counts > 0].tolist()
    assert curve["mean_probability"].between(curve["low"], curve["high"]).all()


def test_the_gaps_of_the_curve_add_up_to_the_ece() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(300).round(2)
    wrong = rng.random(300) < score**2
    curve = calibration_curve(wrong, score)
    gaps = (curve["share_wrong"] - curve["mean_probability"]).abs() * curve["nodes"]
    ece = detection_scores(wrong, score, wrong)["ece"]
    assert gaps.sum() / curve["nodes"].sum() == pytest.approx(ece)


def test_the_error_of_a_share_is_its_spread_over_draws() -> None:
    rng = np.random.default_rng(0)
    draws = [calibration_curve(rng.random(50) < 0.3, np.full(50, 0.3)) for _ in range(400)]
    shares, errors = (
        np.array([draw[key].iloc[0] for draw in draws]) for key in ("share_wrong", "standard_error")
    )
    assert errors.mean() == pytest.approx(shares.std(), rel=0.1)


def test_certainty_is_in_the_last_bin_and_empty_bins_have_no_row() -> None:
    curve = calibration_curve(np.array([True, False, True]), [1.0, 0.0, 1.0], 4)
    assert curve[["low", "high", "nodes", "share_wrong"]].to_numpy().tolist() == [
        [0.0, 0.25, 1.0, 0.0],
        [0.75, 1.0, 2.0, 1.0],
    ]
    assert calibration_curve(np.zeros(0, bool), np.zeros(0)).empty


MASK = np.array([True, False])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("is_wrong", lambda: false_discovery_proportion([1, 0], MASK)),
        ("is_flagged", lambda: false_discovery_proportion(MASK, MASK[:1])),
        ("truth", lambda: interval_covers(NoiseRate(0.1, 0, 1), 1.5)),
        ("truth", lambda: interval_covers(NoiseRate(0.1, 0, 1), float("nan"))),
        ("expected", lambda: expected_over_realised(-1, 2)),
        ("realised", lambda: expected_over_realised(1, float("inf"))),
        ("bins", lambda: calibration_curve(MASK, [0.1, 0.2], 0)),
        ("bins", lambda: calibration_curve(MASK, [0.1, 0.2], True)),
        ("mislabel_probability", lambda: calibration_curve(MASK, [0.1, 1.2])),
        ("mislabel_probability", lambda: calibration_curve(MASK, [0.1])),
    ],
)
def test_bad_input_is_named(argument: str, call: Any) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.argument == argument
