from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from graphclean.evaluate import rank_stability
from graphclean.types import InputError

GIVEN = np.array([0, 1, 2, 0, 1, 2, 0, 1])
CORRECTED = np.array([0, 1, 2, 0, 2, 0, 0, 1])


def models(seed: int, count: int = 6) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 200)
    given = np.where(rng.random(200) < 0.15, rng.integers(0, 4, 200), truth)
    found = {}
    for number in range(count):
        base = given if number % 2 else truth
        found[f"m{number}"] = np.where(rng.random(200) < 0.3, rng.integers(0, 4, 200), base)
    return found, given, truth


def test_by_hand() -> None:
    learned_errors = GIVEN.copy()
    right = CORRECTED.copy()
    right[:1] = 1
    found = rank_stability({"memory": learned_errors, "sense": right}, GIVEN, CORRECTED)
    table = found.table.set_index("model")
    assert found.table["model"].tolist() == ["sense", "memory"]
    assert table.loc["memory"].tolist() == [1.0, 6 / 8, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert table.loc["sense"].tolist() == [5 / 8, 7 / 8, 1.0, 0.0, 2.0, 1.0, 1.0]
    assert (found.nodes, found.changed) == (8, 2)
    assert (found.kendall_tau, found.kendall_tau_changed, found.swapped) == (-1.0, -1.0, 1.0)
    assert found.summary()["best_given"] == "memory"
    assert found.summary()["best_corrected"] == "sense"


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_are_scikit_learns_and_tau_counts_pairs(seed: int) -> None:
    predictions, given, truth = models(seed)
    found = rank_stability(predictions, given, truth)
    table = found.table.set_index("model")
    moved = given != truth
    scores = {}
    for name, label in predictions.items():
        first, second = accuracy_score(given, label), accuracy_score(truth, label)
        scores[name] = first, second
        row = table.loc[name]
        assert row["accuracy_given"] == pytest.approx(first)
        assert row["accuracy_corrected"] == pytest.approx(second)
        assert row["accuracy_changed"] == pytest.approx(accuracy_score(truth[moved], label[moved]))
        assert row["kept_wrong"] == pytest.approx(accuracy_score(given[moved], label[moved]))
    signs = np.array(
        [
            [np.sign(scores[a][k] - scores[b][k]) for k in (0, 1)]
            for a, b in combinations(predictions, 2)
        ]
    )
    product = signs[:, 0] * signs[:, 1]
    tau = product.sum() / np.sqrt((signs[:, 0] != 0).sum() * (signs[:, 1] != 0).sum())
    assert found.kendall_tau == pytest.approx(tau)
    assert found.swapped == pytest.approx((product < 0).mean())


def test_only_masked_nodes_with_both_labels_count() -> None:
    predictions, given, truth = models(0)
    given, truth = given.copy(), truth.copy()
    mask = np.arange(200) % 2 == 0
    given[:10], truth[10:20] = -1, -1
    rows = mask & (given >= 0) & (truth >= 0)
    found = rank_stability(predictions, given, truth, mask)
    assert found.nodes == rows.sum()
    kept = {name: label[rows] for name, label in predictions.items()}
    expected = rank_stability(kept, given[rows], truth[rows])
    assert found.table.equals(expected.table)
    assert found.summary() == expected.summary()


def test_labels_that_stay_leave_the_ranking() -> None:
    predictions, given, _ = models(1)
    found = rank_stability(predictions, given, given)
    assert (found.changed, found.swapped, found.kendall_tau) == (0, 0.0, pytest.approx(1.0))
    assert math.isnan(found.kendall_tau_changed)
    assert found.table["accuracy_changed"].isna().all()


def test_one_model_has_no_ranking_and_equal_ones_share_their_rank() -> None:
    alone = rank_stability({"a": GIVEN}, GIVEN, CORRECTED)
    assert math.isnan(alone.kendall_tau)
    assert math.isnan(alone.swapped)
    twins = rank_stability({"b": GIVEN, "a": GIVEN}, GIVEN, CORRECTED)
    assert twins.table["rank_given"].tolist() == [1.5, 1.5]
    assert twins.table["model"].tolist() == ["a", "b"]
    assert math.isnan(twins.kendall_tau)
    assert twins.swapped == 0.0


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("predictions", ({}, GIVEN, CORRECTED)),
        ("predictions['a']", ({"a": GIVEN[:2]}, GIVEN, CORRECTED)),
        ("predictions['a']", ({"a": GIVEN / 2}, GIVEN, CORRECTED)),
        ("corrected", ({"a": GIVEN}, GIVEN, CORRECTED[:3])),
        ("mask", ({"a": GIVEN}, GIVEN, CORRECTED, GIVEN)),
    ],
)
def test_bad_input_is_named(argument: str, arguments: Any) -> None:
    with pytest.raises(InputError) as caught:
        rank_stability(*arguments)
    assert caught.value.argument == argument
