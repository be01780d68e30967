from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from graphclean.evaluate import (
    detection_scores,
    label_accuracy,
    repair_effect,
    suggestion_accuracy,
    transition_error,
)
from graphclean.types import InputError

RANKED = (
    "precision_at_t",
    "precision_at_t_flagged",
    "recall_at_1_percent",
    "recall_at_5_percent",
    "recall_at_10_percent",
)


def simulated(seed: int, size: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wrong = rng.random(size) < 0.2
    score = np.clip(rng.normal(0.3 + 0.3 * wrong, 0.2), 0, 1).round(rng.integers(1, 5))
    return wrong, score, score > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    wrong, score, flagged = simulated(seed)
    found = detection_scores(wrong, score, flagged)
    assert (found["nodes"], found["wrong"], found["flagged"]) == (400, wrong.sum(), flagged.sum())
    assert found["precision"] == pytest.approx(reference.precision_score(wrong, flagged))
    assert found["recall"] == pytest.approx(reference.recall_score(wrong, flagged))
    assert found["f1"] == pytest.approx(reference.f1_score(wrong, flagged))
    assert found["mcc"] == pytest.approx(np.corrcoef(wrong, flagged)[0, 1])
    assert found["ap"] == pytest.approx(reference.average_precision_score(wrong, score))
    pairs = wrong.sum() * (~wrong).sum()
    assert found["auroc"] == pytest.approx(mannwhitneyu(score[wrong], score[~wrong])[0] / pairs)
    assert found["brier"] == pytest.approx(reference.brier_score_loss(wrong, score))


@pytest.mark.parametrize("seed", range(5))
def test_ece_is_that_of_the_calibration_curve(seed: int) -> None:
    wrong, score, flagged = simulated(seed)
    # calibration_curve closes its bins on the right, so keep scores off the edges
    score = score * 0.999 + 0.0003
    share, mean = calibration_curve(wrong, score, n_bins=15, strategy="uniform")
    size = np.histogram(score, 15, (0, 1))[0]
    expected = (size[size > 0] / len(score) * np.abs(share - mean)).sum()
    assert detection_scores(wrong, score, flagged)["ece"] == pytest.approx(expected)


def test_a_calibrated_score_has_little_ece_and_a_biased_one_its_bias() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(20_000) * 0.8
    wrong = rng.random(20_000) < score
    assert detection_scores(wrong, score, wrong)["ece"] < 0.02
    assert detection_scores(wrong, score + 0.2, wrong)["ece"] == pytest.approx(0.2, abs=0.02)
    assert detection_scores(~wrong, np.ones(20_000), wrong)["ece"] == pytest.approx(wrong.mean())


def test_the_last_bin_of_the_ece_holds_certainty_too() -> None:
    mask = np.array([False, True])
    found = detection_scores(mask, np.array([1.0, 0.95]), mask)
    assert found["ece"] == pytest.approx(abs(0.5 - 0.975))


@pytest.mark.parametrize("seed", range(5))
def test_tnr_at_95_tpr_by_brute_force(seed: int) -> None:
    wrong, score, flagged = simulated(seed)
    best = max(
        (score[~wrong] < threshold).mean()
        for threshold in np.unique(score)
        if (score[wrong] >= threshold).mean() >= 0.95
    )
    found = detection_scores(wrong, score, flagged)["tnr_at_95_tpr"]
    assert found == pytest.approx(best)


def test_ranking_scores_by_hand() -> None:
    wrong = np.array([1, 0, 1, 0, 1, 0, 0, 0, 0, 0] * 2, dtype=bool)
    score = np.linspace(1, 0, 20)
    flagged = np.arange(20) < 2
    found = detection_scores(wrong, score, flagged)
    assert found["precision_at_t"] == 3 / 6
    assert found["precision_at_t_flagged"] == 1 / 6
    assert found["recall_at_1_percent"] == 1 / 6
    assert found["recall_at_5_percent"] == 1 / 6
    assert found["recall_at_10_percent"] == 1 / 6
    assert found["precision"] == 1 / 2
    assert found["recall"] == 1 / 6
    assert found["f1"] == 2 / 8


def test_flagged_only_p_at_t_ranks_inside_the_flagged() -> None:
    wrong = np.array([True, True, False, False, False])
    score = np.array([0.1, 0.5, 0.9, 0.8, 0.7])
    flagged = np.array([True, True, False, True, False])
    found = detection_scores(wrong, score, flagged)
    assert found["precision_at_t"] == 0.0
    assert found["precision_at_t_flagged"] == 0.5


def test_ties_count_by_their_expectation_over_random_order() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(30) < 0.3
    score = rng.integers(0, 4, 30) / 4
    flagged = score > 0
    total = int(wrong.sum())

    def once() -> tuple[float, float, float]:
        order = rng.permutation(30)
        ranked = order[np.argsort(-score[order], kind="stable")]
        inside = ranked[flagged[ranked]]
        hits = (wrong[ranked[:total]].sum(), wrong[inside[:total]].sum(), wrong[ranked[:3]].sum())
        return tuple(hit / total for hit in hits)  # type: ignore[return-value]

    expected = np.mean([once() for _ in range(4000)], axis=0)
    found = detection_scores(wrong, score, flagged)
    names = ("precision_at_t", "precision_at_t_flagged", "recall_at_10_percent")
    np.testing.assert_allclose([found[name] for name in names], expected, atol=0.02)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.booleans()), max_size=12),
    st.randoms(use_true_random=False),
)
def test_order_of_nodes_is_irrelevant_and_ranges_hold(
    rows: list[tuple[bool, int, bool]], random: Any
) -> None:
    def scores(rows: list[tuple[bool, int, bool]]) -> dict[str, float]:
        table = np.array(rows, dtype=float).reshape(-1, 3)
        return detection_scores(table[:, 0] == 1, table[:, 1] / 3, table[:, 2] == 1)

    first = scores(rows)
    shuffled = random.sample(rows, len(rows))
    assert scores(shuffled) == pytest.approx(first, nan_ok=True)
    for name, score in first.items():
        low = -1.0 if name == "mcc" else 0.0
        high = len(rows) if name in ("nodes", "wrong", "flagged") else 1.0
        assert math.isnan(score) or low - 1e-9 <= score <= high + 1e-9, name
    assert not first["precision_at_t_flagged"] > first["flagged"] / max(first["wrong"], 1) + 1e-9


@pytest.mark.parametrize(("wrong", "flagged"), [*product(["none", "some", "all"], repeat=2)])
def test_scores_without_a_meaning(wrong: str, flagged: str) -> None:
    masks = {"none": [False] * 4, "some": [True, False, True, False], "all": [True] * 4}
    score = np.array([0.9, 0.2, 0.4, 0.1])
    found = detection_scores(np.array(masks[wrong]), score, np.array(masks[flagged]))
    undefined = {name for name, value in found.items() if math.isnan(value)}
    expected: set[str] = set()
    if wrong == "none":
        expected |= {"recall", "ap", "auroc", "tnr_at_95_tpr", *RANKED}
    if wrong == "all":
        expected |= {"auroc", "tnr_at_95_tpr"}
    if flagged == "none":
        expected |= {"precision"}
    if wrong == flagged == "none":
        expected |= {"f1"}
    assert undefined == expected
    if "some" not in (wrong, flagged) or wrong != flagged:
        assert found["mcc"] == 0.0
    if wrong == "none" != flagged:
        assert (found["precision"], found["f1"]) == (0.0, 0.0)
    if flagged == "none" != wrong:
        assert (found["recall"], found["f1"], found["precision_at_t_flagged"]) == (0.0, 0.0, 0.0)


def test_no_node_at_all_has_no_score() -> None:
    nothing = np.zeros(0, dtype=bool)
    found = detection_scores(nothing, np.zeros(0), nothing)
    assert (found.pop("nodes"), found.pop("wrong"), found.pop("flagged")) == (0, 0, 0)
    assert all(math.isnan(value) for value in found.values())


def test_scores_beyond_zero_and_one_rank_but_do_not_calibrate() -> None:
    wrong, score, flagged = simulated(0)
    plain = detection_scores(wrong, score, flagged)
    moved = detection_scores(wrong, 10 * score - 3, flagged)
    assert math.isnan(moved["ece"])
    assert math.isnan(moved["brier"])
    for name in ("ap", "auroc", "tnr_at_95_tpr", *RANKED):
        assert moved[name] == pytest.approx(plain[name])


def test_tensors_do_as_well_and_nothing_is_changed() -> None:
    wrong, score, flagged = simulated(1)
    kept = wrong.copy(), score.copy(), flagged.copy()
    expected = detection_scores(wrong, score, flagged)
    tensors = tuple(torch.from_numpy(array) for array in (wrong, score, flagged))
    assert detection_scores(*tensors) == expected
    for array, before in zip((wrong, score, flagged), kept, strict=True):
        assert np.array_equal(array, before)


def test_label_accuracy_by_hand() -> None:
    assert label_accuracy([0, 1, 2, -1, 0], [0, 1, 1, 0, -1]) == 2 / 3
    assert math.isnan(label_accuracy([-1, 0], [0, -1]))
    assert label_accuracy(torch.tensor([1, 1]), np.array([1, 1])) == 1.0


def test_repair_effect_by_hand() -> None:
    before = [0, 0, 0, 0, 1, 1, 1, 1, -1, 0]
    after = [0, 1, 2, -1, 1, 0, 2, -1, 0, 1]
    clean = [0, 0, 0, 0, 0, 0, 0, 0, 0, -1]
    assert repair_effect(before, after, clean) == {
        "repaired": 2,  # 1 -> 0 and 1 -> removed
        "broken": 3,  # 0 -> 1, 0 -> 2, 0 -> removed
        "changed": 6,
        "accuracy_before": 4 / 8,
        "accuracy_after": 2 / 6,
    }


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-1, 2), st.integers(-1, 2), st.integers(-1, 2)),
        min_size=1,
        max_size=12,
    )
)
def test_repair_effect_adds_up(rows: list[tuple[int, int, int]]) -> None:
    before, after, clean = (np.array(column) for column in zip(*rows, strict=True))
    found = repair_effect(before, after, clean)
    assert found["repaired"] + found["broken"] <= found["changed"]
    kept = (before >= 0) & (clean >= 0)
    if kept.any() and (after[kept] >= 0).all():
        net = (found["repaired"] - found["broken"]) / kept.sum()
        assert found["accuracy_after"] - found["accuracy_before"] == pytest.approx(net)
    undone = repair_effect(before, before, clean)
    assert (undone["repaired"], undone["broken"], undone["changed"]) == (0, 0, 0)


def test_transition_error_by_hand() -> None:
    realised = np.eye(2)
    assert transition_error([[0.9, 0.1], [0.3, 0.7]], realised) == pytest.approx(0.8 / 4)
    assert transition_error(realised, torch.eye(2)) == 0.0
    assert transition_error(1 - realised, realised) == 1.0


def test_suggestion_accuracy_by_hand() -> None:
    selected = np.array([True, True, True, True, False])
    assert suggestion_accuracy([0, 1, 2, 2, 0], [0, 1, 0, -1, 1], selected) == 2 / 3
    assert math.isnan(suggestion_accuracy([0], [0], np.array([False])))


MASK, SCORE = np.array([True, False]), np.array([0.5, 0.1])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("is_wrong", lambda: detection_scores([1, 0], SCORE, MASK)),
        ("is_wrong", lambda: detection_scores(MASK[:, None], SCORE, MASK)),
        ("is_flagged", lambda: detection_scores(MASK, SCORE, np.array([True]))),
        ("mislabel_score", lambda: detection_scores(MASK, SCORE[:1], MASK)),
        ("mislabel_score", lambda: detection_scores(MASK, [0.5, float("nan")], MASK)),
        ("mislabel_score", lambda: detection_scores(MASK, [0.5, float("inf")], MASK)),
        ("mislabel_score", lambda: detection_scores(MASK, ["a", "b"], MASK)),
        ("given", lambda: label_accuracy([0.0, 1.0], [0, 1])),
        ("clean", lambda: label_accuracy([0, 1], [0])),
        ("after", lambda: repair_effect([0, 1], [0], [0, 1])),
        ("before", lambda: repair_effect([[0, 1]], [0, 1], [0, 1])),
        ("transition", lambda: transition_error([[0.5, 0.6], [0, 1]], np.eye(2))),
        ("realised", lambda: transition_error(np.eye(2), np.eye(3))),
        ("suggested", lambda: suggestion_accuracy(["a"], [0], MASK[:1])),
        ("selected", lambda: suggestion_accuracy([0], [0], [0])),
    ],
)
def test_bad_input_is_named(argument: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.argument == argument
