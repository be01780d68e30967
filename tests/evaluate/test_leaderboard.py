from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, wilcoxon

from graphclean.evaluate import leaderboard, per_setting
from graphclean.evaluate.runs import Runs, mean_and_error
from graphclean.types import InputError

METHODS = ("graphcleaner", "cleanlab", "margin", "chance")
BY = ["graph", "noise", "rate", "protocol"]


def grid(seed: int = 0, methods: tuple[str, ...] = METHODS, seeds: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for graph, (noise, rate) in product(
        ("cora", "photo", "digits"), (("uniform", 0.1), ("pair", 0.1), ("pair", 0.2))
    ):
        level = rng.uniform(0.3, 0.8)
        for number, name in product(range(seeds), methods):
            ap = level - 0.02 * methods.index(name) + 0.03 * rng.normal()
            setting = {"graph": graph, "noise": noise, "rate": rate, "protocol": "whole"}
            scores = {"ap": ap, "f1": ap**2, "ece": rng.random() / 10, "precision": rng.random()}
            cost = {"seconds": rng.random(), "peak_mb": 100 * rng.random(), "error": None}
            rows.append({**setting, "seed": number, "method": name, **scores, **cost})
    return pd.DataFrame(rows)


def row_of(table: pd.DataFrame, method: str) -> pd.Series[Any]:
    return table.set_index("method").loc[method]


def test_average_rank_is_that_of_scipy_on_means_over_seeds() -> None:
    frame = grid()
    table = leaderboard(frame)
    ranks = []
    for _, cell in frame.groupby(BY):
        means = [cell[cell["method"] == name]["ap"].mean() for name in METHODS]
        ranks.append(rankdata(np.negative(means)))
    expected = dict(zip(METHODS, np.mean(ranks, axis=0), strict=True))
    errors = np.std(ranks, axis=0, ddof=1) / np.sqrt(len(ranks))
    assert dict(zip(table["method"], table["rank"], strict=True)) == pytest.approx(expected)
    for name, error in zip(METHODS, errors, strict=True):
        assert row_of(table, name)["rank_se"] == pytest.approx(error)
    assert table["rank"].is_monotonic_increasing
    assert (table["settings"] == 9).all()
    assert (table["runs"] == 27).all()


def test_ties_share_their_ranks_whatever_the_order_of_the_sums() -> None:
    parts = [0.1, 0.2, 0.3]
    rows = [
        {"graph": "g", "noise": "n", "rate": 0.1, "seed": seed, "method": name, "ap": value}
        for name, values in (("a", parts), ("b", parts[::-1]), ("c", [0.0, 0.0, 0.0]))
        for seed, value in enumerate(values)
    ]
    table = leaderboard(pd.DataFrame(rows), default=None)
    assert dict(zip(table["method"], table["rank"], strict=True)) == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_mean_and_error_by_brute_force() -> None:
    frame = grid(1).drop(index=[0, 5, 6, 30])
    values = Runs(frame).values("ap")
    found = mean_and_error(values, BY)
    for name in METHODS:
        cells = [cell["ap"].to_numpy() for _, cell in frame[frame["method"] == name].groupby(BY)]
        squares = sum(((cell - cell.mean()) ** 2).sum() for cell in cells)
        variance = squares / sum(len(cell) - 1 for cell in cells)
        error = math.sqrt(variance * sum(1 / len(cell) for cell in cells)) / len(cells)
        assert found.loc[name, "mean"] == pytest.approx(np.mean([c.mean() for c in cells]))
        assert found.loc[name, "se"] == pytest.approx(error)


def test_the_standard_error_is_the_spread_over_fresh_seeds() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(0.2, 0.9, 6), 3)
    index = pd.MultiIndex.from_product([range(6), range(3)], names=["graph", "seed"])
    found = [
        mean_and_error(pd.DataFrame({"m": level + 0.05 * rng.normal(size=18)}, index), ["graph"])
        for _ in range(150)
    ]
    means, errors = (np.array([each.loc["m", key] for each in found]) for key in ("mean", "se"))
    assert errors.mean() == pytest.approx(means.std(), rel=0.15)


def test_one_run_a_setting_has_no_standard_error_and_one_setting_that_of_its_runs() -> None:
    frame = grid(seeds=1)
    assert leaderboard(frame)["ap_se"].isna().all()
    one = grid().query("graph == 'cora' and noise == 'uniform'")
    values = one[one["method"] == "margin"]["ap"]
    assert row_of(leaderboard(one), "margin")["ap_se"] == pytest.approx(values.sem())


def test_every_method_is_tested_against_the_best_baseline() -> None:
    frame = grid()
    table = leaderboard(frame, default="graphcleaner")
    baseline = next(name for name in table["method"] if name != "graphcleaner")
    assert table.attrs["baseline"] == baseline
    wide = frame.pivot(index=[*BY, "seed"], columns="method", values="ap")
    for name in METHODS:
        found = row_of(table, name)
        if name == baseline:
            assert found["pairs"] == 0
            assert math.isnan(found["p_value"])
            continue
        difference = wide[name] - wide[baseline]
        means = difference.groupby(BY).mean()
        assert found["pairs"] == 27
        assert found["difference"] == pytest.approx(means.mean())
        assert found["p_value"] == pytest.approx(wilcoxon(wide[name], wide[baseline]).pvalue)
        assert found["p_settings"] == pytest.approx(wilcoxon(means).pvalue)


def test_the_default_alone_is_no_baseline() -> None:
    frame = grid()
    best = leaderboard(frame, default=None)["method"].iloc[0]
    assert leaderboard(frame, default=None).attrs["baseline"] == best
    assert leaderboard(frame, default=best).attrs["baseline"] != best
    alone = leaderboard(frame[frame["method"] == best], default=best)
    assert alone.attrs["baseline"] is None
    assert alone["rank"].tolist() == [1.0]


def test_failures_and_missing_runs_are_counted_and_all_are_compared_on_the_same_runs() -> None:
    frame = grid()
    failed = frame.index[frame["method"] == "margin"][4]
    frame.loc[failed, "error"] = "ValueError: no"
    lost = frame.index[frame["method"] == "chance"][20]
    table = leaderboard(frame.drop(index=lost))
    assert row_of(table, "margin")["failed"] == 1
    assert row_of(table, "chance")["missing"] == 1
    assert table["failed"].sum() == table["missing"].sum() == 1
    assert (table["runs"] == 25).all()
    notes = " / ".join(table.attrs["notes"])
    assert "9 of 9 settings and 25 of 27 runs" in notes
    assert "failed runs: margin 1" in notes
    assert "missing runs: chance 1" in notes
    gone = frame.loc[[failed, lost], [*BY, "seed"]].apply(tuple, axis=1)
    kept = frame[~frame[[*BY, "seed"]].apply(tuple, axis=1).isin(set(gone))]
    expected = leaderboard(kept).drop(columns=["failed", "missing"])
    pd.testing.assert_frame_equal(table.drop(columns=["failed", "missing"]), expected)


def test_a_failed_run_does_not_count_even_if_it_left_scores() -> None:
    frame = grid()
    hopeless = frame["method"] == "margin"
    frame.loc[hopeless, "error"] = "MemoryError: "
    table = leaderboard(frame)
    found = row_of(table, "margin")
    assert table["method"].iloc[-1] == "margin"
    assert (found["failed"], found["runs"], found["settings"]) == (27, 0, 0)
    assert math.isnan(found["rank"])
    assert math.isnan(found["ap"])
    assert "not ranked: margin, in 0 of 9 settings only" in table.attrs["notes"]
    rest = leaderboard(frame[~hopeless])
    pd.testing.assert_frame_equal(
        table.iloc[:-1].drop(columns="missing"), rest.drop(columns="missing")
    )


def test_a_method_that_covers_too_little_is_left_out_and_says_what_it_has() -> None:
    frame = grid()
    frame = frame[(frame["method"] != "cleanlab") | (frame["graph"] == "cora")]
    table = leaderboard(frame, min_coverage=0.5)
    found = row_of(table, "cleanlab")
    assert math.isnan(found["rank"])
    assert (found["settings"], found["runs"], found["missing"]) == (3, 9, 18)
    own = frame[frame["method"] == "cleanlab"]
    assert found["ap"] == pytest.approx(own.groupby(BY)["ap"].mean().mean())
    assert found["pairs"] == 9
    assert row_of(table, "margin")["settings"] == 9
    shared = leaderboard(frame, min_coverage=0.3)
    assert (shared["settings"] == 3).all()
    assert shared["rank"].notna().all()


@pytest.mark.parametrize("metric", ["ece", "seconds", "noise_rate_error"])
def test_low_is_good_for_costs_and_errors(metric: str) -> None:
    frame = grid().assign(noise_rate_error=lambda f: f["seconds"] * (-1.0) ** f["seed"])
    table = leaderboard(frame, metric)
    sizes = frame.assign(size=frame[metric].abs()).groupby([*BY, "method"])["size"].mean()
    expected = sizes.unstack().rank(axis=1).mean()
    found = table.set_index("method")["rank"]
    assert found[list(METHODS)].to_numpy() == pytest.approx(expected[list(METHODS)].to_numpy())


def test_costs_calibration_and_false_discoveries() -> None:
    frame = grid()
    frame.loc[frame["method"].eq("margin") & frame["seed"].eq(0), "precision"] = np.nan
    table = leaderboard(frame)
    for name in METHODS:
        own, found = frame[frame["method"] == name], row_of(table, name)
        assert found["peak_mb"] == own["peak_mb"].max()
        assert found["seconds"] == pytest.approx(own["seconds"].mean())
        assert found["ece"] == pytest.approx(own["ece"].mean())
        assert found["fdr"] == pytest.approx((1 - own["precision"].fillna(1.0)).mean())


def test_rows_in_any_order_give_the_same_table() -> None:
    frame = grid()
    shuffled = frame.sample(frac=1.0, random_state=3)
    before = frame.copy()
    first, second = leaderboard(frame), leaderboard(shuffled)
    pd.testing.assert_frame_equal(first, second)
    assert first.attrs == second.attrs
    pd.testing.assert_frame_equal(frame, before)


def test_settings_without_a_value_are_settings_too() -> None:
    frame = grid()
    frame.loc[frame["graph"] == "photo", "protocol"] = None
    frame.loc[frame["graph"] == "photo", "rate"] = np.nan
    frame.loc[frame["graph"].eq("photo") & frame["noise"].eq("pair"), "seed"] += (
        np.arange(24) // 12 * 3
    )
    table = leaderboard(frame)
    assert (table["settings"] == 8).all()
    assert (table["runs"] == 27).all()


def test_means_by_graph_weigh_graphs_alike() -> None:
    frame = grid()
    table = per_setting(frame, "ap", by=("graph",))
    expected = frame.groupby(["graph", "method"])["ap"].mean().unstack()
    np.testing.assert_allclose(table.to_numpy(), expected[table.columns].to_numpy())
    assert table.columns.tolist() == sorted(METHODS)
    assert (leaderboard(frame, by=("graph",))["settings"] == 3).all()
    full = per_setting(frame)
    assert full.index.names == BY
    assert full.index.is_monotonic_increasing
    frame.loc[frame["graph"].eq("cora") & frame["method"].eq("margin"), "error"] = "x"
    assert per_setting(frame)["margin"].isna().sum() == 3


def test_json_lines_with_none_for_the_metrics_of_a_failed_run() -> None:
    frame = grid()
    frame["ap"] = frame["ap"].astype(object)
    frame.loc[3, ["ap", "error"]] = [None, "ValueError"]
    assert (leaderboard(frame)["runs"] == 26).all()


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("frame", lambda f: leaderboard([1])),
        ("frame", lambda f: leaderboard(f.iloc[:0])),
        ("frame", lambda f: leaderboard(f.drop(columns="method"))),
        ("frame", lambda f: leaderboard(f.drop(columns="seed"))),
        ("frame", lambda f: leaderboard(pd.concat([f, f.iloc[:1]]))),
        ("frame", lambda f: leaderboard(f.assign(method=None))),
        ("frame", lambda f: leaderboard(f, by=("continent",))),
        ("metric", lambda f: leaderboard(f, "error")),
        ("metric", lambda f: per_setting(f, "beauty")),
        ("min_coverage", lambda f: leaderboard(f, min_coverage=0.0)),
    ],
)
def test_bad_input_is_named(argument: str, call: Any) -> None:
    with pytest.raises(InputError) as caught:
        call(grid())
    assert caught.value.argument == argument


def test_methods_without_a_run_in_common_are_not_ranked() -> None:
    frame = grid(methods=("graphcleaner", "margin"))
    frame = frame[(frame["method"] == "margin") == (frame["seed"] == 0)]
    table = leaderboard(frame)
    assert table["rank"].isna().all()
    assert (table["runs"] == 0).all()
    assert table.attrs["baseline"] is None
    assert "ranked over 0 of 9 settings and 0 of 27 runs" in table.attrs["notes"][0]
