from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graphclean.evaluate import calibration_curve, leaderboard, per_setting
from graphclean.report import (
    average_rank_figure,
    calibration_figure,
    draw_leaderboard,
    metric_figure,
    noise_rates_figure,
    precision_recall_figure,
    write_leaderboard_figures,
)
from graphclean.types import InputError

AP = {"graphcleaner": (0.8, 0.6), "plain": (0.7, 0.65), "a <b> & c": (0.2, 0.1)}
CURVES = {
    "x": (np.array([1.0, 0.5, 0.0]), np.array([0.2, 0.8, 1.0])),
    "y": (np.array([1.0, 0.4, 0.0]), np.array([0.3, 0.9, 1.0])),
}
CURVE = calibration_curve(np.array([True, False, False, True]), [0.9, 0.1, 0.2, 0.7], 2)


def runs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "graph": graph,
            "noise": "pair",
            "rate": 0.1,
            "seed": seed,
            "method": method,
            "ap": values[number] + 0.01 * seed,
            "error": None,
            "noise_rate": 0.1,
            "estimated_noise_rate": 0.09 + 0.05 * seed,
            "noise_rate_low": 0.08 + 0.05 * seed,
            "noise_rate_high": 0.12 + 0.05 * seed,
        }
        for (number, graph), seed, (method, values) in product(
            enumerate(("cora", "photo")), (0, 1), AP.items()
        )
    )


def draw_all() -> dict[str, str]:
    frame = runs()
    table = leaderboard(frame)
    means = per_setting(frame, by=("graph",))
    own = frame[frame["method"] == "graphcleaner"]
    drawn = {
        "rank": average_rank_figure(table),
        "metric": metric_figure(means, "ap", "graphcleaner", "plain"),
        "precision": precision_recall_figure(CURVES),
        "calibration": calibration_figure({"x": CURVE}),
        "rates": noise_rates_figure(own),
    }
    assert all(ET.fromstring(f.svg).get("aria-label") == f.label for f in drawn.values())
    return {name: figure.svg for name, figure in drawn.items()}


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    return draw_all()


@pytest.mark.parametrize("name", ["rank", "metric", "precision", "calibration", "rates"])
def test_figures_take_their_colours_from_the_page(figures: dict[str, str], name: str) -> None:
    root = ET.fromstring(figures[name])
    assert "var(--" in figures[name]
    assert re.findall(r"#[0-9a-fA-F]{6}\b", figures[name]) == []
    assert re.findall(r"(?:fill|stroke): (?!none|var)[^;\"]*", figures[name]) == []
    assert root.get("role") == "img"


def test_the_labels_tell_the_numbers(figures: dict[str, str]) -> None:
    label = {name: str(ET.fromstring(svg).get("aria-label")) for name, svg in figures.items()}
    assert label["rank"] == (
        "Average rank by AP, best first, with standard errors: "
        "graphcleaner 1.50 ± 0.50; plain 1.50 ± 0.50; a <b> & c 3.00 ± 0.00."
    )
    assert label["metric"] == (
        "Mean AP by graph. "
        "cora: graphcleaner 0.805, plain 0.705, all methods 0.205 to 0.805; "
        "photo: graphcleaner 0.605, plain 0.655, all methods 0.105 to 0.655."
    )
    assert "Precision at half of the wrong labels: x 0.80; y 0.30." in label["precision"]
    # bins of .15 and .8 mean, 0 and 1 wrong, two nodes each
    assert "Mean gap: x 0.175." in label["calibration"]
    assert label["rates"] == (
        "Estimated against true noise rate in 4 of 4 runs: "
        "50% of the intervals hold the truth; mean error 2.5%."
    )


def test_the_names_are_in_the_picture(figures: dict[str, str]) -> None:
    texts = {
        name: {t.text for t in ET.fromstring(svg).iter("text")} for name, svg in figures.items()
    }
    assert set(AP) <= texts["rank"]
    assert {"cora", "photo", "graphcleaner", "plain", "other methods", "mean AP"} <= texts["metric"]
    assert {"x", "y"} <= texts["precision"]


def test_ranks_stand_where_they_should() -> None:
    table = leaderboard(runs())
    root = ET.fromstring(average_rank_figure(table).svg)
    marks = [float(use.get("x", 0)) for use in root.iter("use") if float(use.get("x", 0)) > 0]
    ticks = {
        text.text: float(re.search(r"translate\(([\d.]+)", text.get("transform", ""))[1])  # type: ignore[index]
        if "translate" in text.get("transform", "")
        else float(text.get("x", 0))
        for text in root.iter("text")
    }
    unit = (ticks["3.0"] - ticks["1.0"]) / 2
    # text is placed by its left edge, so only distances compare
    dots = [x for x in marks if marks.count(x) < 4]
    assert max(dots) - min(dots) == pytest.approx(1.5 * unit, abs=1.0)


def test_methods_that_are_not_ranked_are_not_drawn() -> None:
    frame = runs()
    frame.loc[frame["method"] == "plain", "error"] = "ValueError"
    svg = average_rank_figure(leaderboard(frame)).svg
    assert "plain" not in svg
    nothing = average_rank_figure(leaderboard(frame.assign(error="x"))).svg
    assert "standard errors: none." in nothing


def test_runs_without_an_estimate_are_counted() -> None:
    own = runs().iloc[:4].copy()
    own.loc[own.index[0], "noise_rate_low"] = np.nan
    assert "in 3 of 4 runs" in noise_rates_figure(own).label
    assert "in 0 of 4 runs" in noise_rates_figure(own.assign(noise_rate=np.nan)).label


def test_files_are_what_is_drawn(tmp_path: Path) -> None:
    given: Any = {"curves": CURVES, "calibration": {"x": CURVE}}
    files = write_leaderboard_figures(runs(), tmp_path / "new", **given)
    drawn = draw_leaderboard(runs(), **given)
    names = ["average-rank", "ap-by-graph", "noise-rate", "precision-recall", "calibration"]
    assert list(drawn) == names
    assert [file.name for file in files] == [f"{name}.svg" for name in names]
    assert sorted((tmp_path / "new").iterdir()) == sorted(files)
    assert [file.read_text("utf-8") for file in files] == [str(f) for f in drawn.values()]


def test_what_the_runs_do_not_hold_is_not_drawn(tmp_path: Path) -> None:
    frame = runs().drop(columns="noise_rate_low").rename(columns={"ap": "recall_at_5_percent"})
    files = write_leaderboard_figures(frame, tmp_path, "recall_at_5_percent", None)
    assert [file.name for file in files] == ["average-rank.svg", "recall-at-5-percent-by-graph.svg"]


def test_no_two_curves_look_alike_and_neighbours_not_at_all() -> None:
    falling = np.linspace(1, 0, 50)
    many = {str(number): (falling, np.linspace(0, 1, 50)) for number in range(12)}
    drawn = [
        tuple(re.findall(r"(?:stroke|stroke-dasharray): ([^;]*)", path.get("style", "")))
        for path in ET.fromstring(precision_recall_figure(many).svg).iter("path")
        if "clip-path" in path.attrib and "1.5" in path.get("style", "")
    ]
    looks = [(dash[-1] if len(dash) > 1 else "", dash[0]) for dash in drawn]
    assert len(looks) == len(set(looks)) == 12
    for one, next_one in pairwise(looks):
        assert all(a != b for a, b in zip(one, next_one, strict=True))


def test_curves_have_marks_of_their_own() -> None:
    def shapes(figure: Any) -> list[str]:
        """Return the different outlines among the marks, on the curves and in the legend."""
        root = ET.fromstring(figure.svg)
        outline = {path.get("id"): path.get("d") for path in root.iter("path") if path.get("id")}
        used = [str(use.get("href")).lstrip("#") for use in root.iter("use")]
        return list(dict.fromkeys(str(outline[name]) for name in used))

    assert len(shapes(precision_recall_figure(dict.fromkeys("abcde", CURVES["x"])))) == 5
    assert len(shapes(calibration_figure(dict.fromkeys("abcde", CURVE)))) == 5


def test_a_curve_without_points_is_in_the_legend_only() -> None:
    figure = precision_recall_figure({"none": (np.zeros(0), np.zeros(0))})
    assert "none 0.00" in figure.label
    assert ">none<" in figure.svg


def test_more_curves_than_can_be_told_apart_are_refused() -> None:
    many = {str(number): CURVES["x"] for number in range(13)}
    with pytest.raises(InputError) as caught:
        precision_recall_figure(many)
    assert caught.value.argument == "curves"
