from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graphclean.evaluate import calibration_curve, leaderboard, per_setting
from graphclean.report.leaderboard_figures import (
    average_rank_figure,
    calibration_figure,
    metric_figure,
    noise_rates_figure,
    precision_recall_figure,
    write_leaderboard_figures,
)
from graphclean.report.svg_files import standalone, write_figures
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
    return {
        "rank": average_rank_figure(table),
        "metric": metric_figure(means, "ap", "graphcleaner", "plain"),
        "precision": precision_recall_figure(CURVES),
        "calibration": calibration_figure({"x": CURVE}),
        "rates": noise_rates_figure(own),
    }


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
    root = ET.fromstring(average_rank_figure(table))
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
    svg = average_rank_figure(leaderboard(frame))
    assert "plain" not in svg
    nothing = average_rank_figure(leaderboard(frame.assign(error="x")))
    assert "standard errors: none." in nothing


def test_runs_without_an_estimate_are_counted() -> None:
    own = runs().iloc[:4].copy()
    own.loc[own.index[0], "noise_rate_low"] = np.nan
    assert "in 3 of 4 runs" in noise_rates_figure(own)
    assert "in 0 of 4 runs" in noise_rates_figure(own.assign(noise_rate=np.nan))


def test_files_stand_alone_in_light_and_dark(tmp_path: Path) -> None:
    files = write_leaderboard_figures(
        runs(), tmp_path / "new", curves=CURVES, calibration={"x": CURVE}
    )
    names = ["average-rank", "ap-by-graph", "noise-rate", "precision-recall", "calibration"]
    assert [file.name for file in files] == [f"{name}.svg" for name in names]
    assert sorted((tmp_path / "new").iterdir()) == sorted(files)
    for file in files:
        text = file.read_text("utf-8")
        root = ET.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        style = root.find("{http://www.w3.org/2000/svg}style")
        assert style is not None
        assert "prefers-color-scheme: dark" in str(style.text)
        used = set(re.findall(r"var\((--\w+)\)", text))
        assert used <= set(re.findall(r"(--\w+):", str(style.text)))
    again = write_leaderboard_figures(
        runs(), tmp_path / "again", curves=CURVES, calibration={"x": CURVE}
    )
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]


def test_what_the_runs_do_not_hold_is_not_drawn(tmp_path: Path) -> None:
    frame = runs().drop(columns="noise_rate_low").rename(columns={"ap": "recall_at_5_percent"})
    files = write_leaderboard_figures(frame, tmp_path, "recall_at_5_percent", None)
    assert [file.name for file in files] == ["average-rank.svg", "recall-at-5-percent-by-graph.svg"]


def test_a_margin_is_added_and_nothing_else(figures: dict[str, Any]) -> None:
    inside, outside = figures["rank"], standalone(figures["rank"])
    view = [re.search(r'viewBox="([^"]*)"', svg)[1].split() for svg in (inside, outside)]  # type: ignore[index]
    (_, _, width, height), (x, y, wide, high) = ([float(v) for v in box] for box in view)
    assert (x, y, wide, high) == (-10, -10, width + 20, height + 20)
    assert outside.endswith(inside.split(">", 1)[1] + "\n")


@pytest.mark.parametrize("name", ["../x", "A", "", ".svg"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        write_figures({name: average_rank_figure(leaderboard(runs()))}, tmp_path)
    assert caught.value.argument == "figures"
    assert list(tmp_path.iterdir()) == []


def test_more_curves_than_can_be_told_apart_are_refused() -> None:
    many = {str(number): CURVES["x"] for number in range(13)}
    with pytest.raises(InputError) as caught:
        precision_recall_figure(many)
    assert caught.value.argument == "curves"
