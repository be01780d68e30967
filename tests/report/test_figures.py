from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from graphclean.issues import NoiseRate
from graphclean.report.figures import (
    group_figure,
    noise_rate_figure,
    probability_figure,
    transition_figure,
)
from graphclean.report.groups import Group
from graphclean.report.svg import short

GROUPS = [Group("one", 10, 2, 1.5), Group("two", 40, 0, 0.2)]
T = np.array([[0.7, 0.3, 0.0], [0.0, 0.95, 0.05], [0.0, 0.0, 1.0]])


def draw_all() -> dict[str, str]:
    probability = np.array([0.01, 0.02, 0.5, 0.95])
    return {
        "noise": noise_rate_figure(NoiseRate(0.1, 0.05, 0.2), 0.08),
        "group": group_figure("g", GROUPS, "What"),
        "transition": transition_figure(T, ["a", "b", "c"]),
        "probability": probability_figure(probability, probability > 0.9),
    }


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    return draw_all()


@pytest.mark.parametrize("name", ["noise", "group", "transition", "probability"])
def test_figures_take_their_colours_from_the_page(figures: dict[str, str], name: str) -> None:
    svg = figures[name]
    root = ET.fromstring(svg)
    assert "var(--" in svg
    assert re.findall(r"#[0-9a-fA-F]{6}\b", svg) == []
    assert re.findall(r"(?:fill|stroke): (?!none|var)[^;\"]*", svg) == []
    assert root.find(".//style") is None
    for text in root.iter("text"):
        assert "font-family" not in text.get("style", "")


def test_the_label_tells_the_numbers(figures: dict[str, str]) -> None:
    labels = {name: ET.fromstring(svg).get("aria-label") for name, svg in figures.items()}
    assert labels["noise"] == (
        "Estimated noise rate 10.0% (90% interval 5.0% to 20.0%); "
        "8.0% of the labelled nodes flagged."
    )
    assert labels["group"] == (
        "What. one: 15.0% expected wrong, 2 of 10 flagged; "
        "two: 0.5% expected wrong, 0 of 40 flagged."
    )
    assert labels["transition"] == (
        "Estimated transition matrix of 3 classes. "
        "Largest: a given as b: 30.0%; b given as c: 5.0%."
    )
    assert "4 nodes: 2 below 0.1, 1 at 0.9 or above; 1 flagged." in str(labels["probability"])


def test_the_heat_map_writes_percents_and_shades_by_size(figures: dict[str, str]) -> None:
    root = ET.fromstring(figures["transition"])
    texts = [text.text for text in root.iter("text")]
    assert [t for t in texts if t and t.isdigit()] == ["70", "30", "95", "5", "100"]
    shades = [
        p.get("style", "") for p in root.iter("path") if "fill: var(--warn)" in p.get("style", "")
    ]
    strengths = [float(re.search(r"opacity: ([\d.]+)", s)[1]) for s in shades if "opacity" in s]  # type: ignore[index]
    assert max(strengths) == pytest.approx(6 * min(s for s in strengths if s > 0), rel=1e-3)


def test_drawing_leaves_the_global_style_alone() -> None:
    with matplotlib.rc_context({"font.size": 31}):
        before = dict(matplotlib.rcParams)
        draw_all()
        assert dict(matplotlib.rcParams) == before


def test_short_cuts_and_cleans() -> None:
    assert short("abc") == "abc"
    assert short("x" * 30, 5) == "xxxx…"
    assert short("a\nb\x00") == "a\ufffdb\ufffd"


def test_counts_of_a_large_graph_are_written_out() -> None:
    probability = np.concatenate([np.full(200_000, 0.01), np.full(30, 0.99)])
    root = ET.fromstring(probability_figure(probability, probability > 0.9))
    texts = {text.text for text in root.iter("text")}
    assert {"1", "10", "100", "1,000", "10,000", "100,000"} <= texts
