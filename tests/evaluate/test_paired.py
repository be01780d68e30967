from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from graphclean.evaluate import averages_against
from graphclean.evaluate.paired import signed_rank
from graphclean.types import InputError

AP = {
    ("cora", 0): (0.8, 0.7, 0.6),
    ("cora", 1): (0.6, 0.7, 0.6),
    ("photo", 0): (0.5, 0.4, 0.5),
    ("photo", 1): (0.6, 0.4, 0.8),
    ("digits", 0): (0.3, 0.5, 0.1),
    ("digits", 1): (0.3, 0.4, 0.1),
}


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"graph": g, "noise": "pair", "rate": 0.1, "seed": s, "method": m, "ap": v, "ece": v}
        for (g, s), values in AP.items()
        for m, v in zip(("ours", "one", "two"), values, strict=True)
    )


def test_differences_by_hand() -> None:
    found = averages_against(frame(), "ours", ["one", "two"]).set_index("other")
    one = found.loc["one"]  # by setting: 0, .15, -.15
    assert one["difference"] == pytest.approx(0.0)
    assert (one["least"], one["most"]) == (pytest.approx(-0.15), pytest.approx(0.15))
    assert (one["wins"], one["losses"], one["ties"]) == (1, 1, 1)
    assert (one["settings"], one["pairs"]) == (3, 6)
    # within settings: +-.1, +-.05, +-.05, pooled over 3 degrees of freedom
    variance = 2 * (0.1**2 + 0.05**2 + 0.05**2) / 3
    assert one["se"] == pytest.approx(math.sqrt(variance * 3 / 2) / 3)
    assert one["p_value"] == pytest.approx(
        wilcoxon(np.round([0.1, -0.1, 0.1, 0.2, -0.2, -0.1], 12)).pvalue
    )
    assert math.isnan(one["p_settings"])
    # the best by setting: one on cora and digits, two on photo
    best = found.loc["best of these"]
    assert best["difference"] == pytest.approx((0.0 - 0.1 - 0.15) / 3)
    assert (best["wins"], best["losses"], best["ties"]) == (0, 2, 1)


def test_low_is_good_turns_wins_and_the_best_but_not_the_difference() -> None:
    high = averages_against(frame(), "ours", "one", "ap").iloc[0]
    low = averages_against(frame(), "ours", "one", "ece").iloc[0]
    assert low["difference"] == high["difference"]
    assert (low["wins"], low["losses"]) == (high["losses"], high["wins"])
    best = averages_against(frame(), "ours", ["one", "two"], "ece").set_index("other")
    # the least by setting: two on cora and digits, one on photo
    assert best.loc["best of these", "difference"] == pytest.approx((0.1 + 0.15 + 0.2) / 3)


def test_only_runs_that_both_have_are_paired() -> None:
    runs = frame()
    runs = runs[~(runs["method"].eq("one") & runs["seed"].eq(1))]
    found = averages_against(runs, "ours", "one").iloc[0]
    assert found["pairs"] == 3
    assert found["difference"] == pytest.approx((0.1 + 0.1 - 0.2) / 3)
    assert math.isnan(found["se"])
    nothing = averages_against(runs.assign(ap=np.nan), "ours", "one").iloc[0]
    assert nothing["pairs"] == 0
    assert math.isnan(nothing["difference"])


@pytest.mark.parametrize("size", [6, 9, 30, 60])
def test_signed_rank_is_scipys(size: int) -> None:
    difference = np.random.default_rng(size).normal(0.3, 1.0, size).round(6)
    assert signed_rank(difference) == pytest.approx(wilcoxon(difference).pvalue)
    assert signed_rank(-difference) == pytest.approx(signed_rank(difference))


def test_signed_rank_by_counting_every_sign() -> None:
    difference = np.array([0.3, 0.5, -0.1, 0.7, 0.2, 0.9])
    ranks = np.array([3, 4, 1, 5, 2, 6])
    observed = ranks[difference > 0].sum()
    sums = [(np.array(signs) * ranks).sum() for signs in product([0, 1], repeat=6)]
    extreme = np.mean([abs(total - 10.5) >= abs(observed - 10.5) for total in sums])
    assert signed_rank(difference) == pytest.approx(extreme)


def test_signed_rank_without_evidence() -> None:
    assert math.isnan(signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])))
    assert signed_rank(np.zeros(8)) == 1.0
    assert 0.0 < signed_rank(np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2])) <= 1.0


@pytest.mark.parametrize(
    ("argument", "method", "others"),
    [
        ("method", "x", "one"),
        ("others", "ours", "x"),
        ("others", "ours", []),
        ("others", "ours", "ours"),
    ],
)
def test_bad_input_is_named(argument: str, method: str, others: Any) -> None:
    with pytest.raises(InputError) as caught:
        averages_against(frame(), method, others)
    assert caught.value.argument == argument
