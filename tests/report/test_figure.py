from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from graphclean.report import Figure, write_figures
from graphclean.report.svg import ACCENT, draw
from graphclean.types import InputError

SVG = "{http://www.w3.org/2000/svg}"


def paint(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=ACCENT)
    axes.set_xlabel("a <b> & c")


@pytest.fixture(scope="module")
def figure() -> Figure:
    return Figure("A line.", draw("line", 200, 120, "A line.", paint))


def style_of(figure: Figure) -> str:
    style = ET.fromstring(str(figure)).find(f"{SVG}style")
    assert style is not None
    return str(style.text)


def test_a_document_stands_alone_in_light_and_dark(figure: Figure) -> None:
    assert ET.fromstring(str(figure)).tag == f"{SVG}svg"
    light, dark = style_of(figure).split("@media screen and (prefers-color-scheme: dark)")
    used = set(re.findall(r"var\((--\w+)\)", str(figure)))
    assert {"--accent", "--muted", "--card", "--ink"} <= used
    for scheme in (light, dark):
        assert used <= set(re.findall(r"(--\w+):", scheme))


def test_styles_reach_nothing_but_the_figure(figure: Figure) -> None:
    own = str(ET.fromstring(str(figure)).get("class")).split()[0]
    selectors = re.findall(r"([^{}]+)\{[^{}]*:[^{}]*\}", style_of(figure))
    assert len(selectors) == 5
    for selector in selectors:
        assert re.fullmatch(rf"\.{own}( \*| text)?", selector.strip())


def test_a_margin_is_added_and_nothing_else(figure: Figure) -> None:
    whole = str(figure)
    view = [ET.fromstring(svg).get("viewBox", "").split() for svg in (figure.svg, whole)]
    (_, _, width, height), (x, y, wide, high) = ([float(v) for v in box] for box in view)
    assert (x, y, wide, high) == (-10, -10, width + 20, height + 20)
    assert whole.endswith(figure.svg.split(">", 1)[1] + "\n")


def test_a_notebook_shows_the_document_and_says_what_it_is(figure: Figure) -> None:
    assert figure._repr_html_() == str(figure)
    assert repr(figure) == "Figure(label='A line.')"


def test_a_saved_figure_is_its_text(figure: Figure, tmp_path: Path) -> None:
    file = figure.save(tmp_path / "new" / "line.svg")
    assert file == tmp_path / "new" / "line.svg"
    assert file.read_text("utf-8") == str(figure)
    assert list(file.parent.iterdir()) == [file]
    assert figure.save(str(tmp_path / "again.svg")).read_bytes() == file.read_bytes()


def test_other_formats_are_refused(figure: Figure, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line\.png") as caught:
        figure.save(tmp_path / "new" / "line.png")
    assert caught.value.argument == "path"
    assert list(tmp_path.iterdir()) == []


def test_a_figure_does_not_change(figure: Figure) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        figure.label = "Another."  # type: ignore[misc]


@pytest.mark.parametrize("name", ["../x", "A", "", ".svg"])
def test_names_that_are_no_file_names_are_refused(
    figure: Figure, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError) as caught:
        write_figures({"good": figure, name: figure}, tmp_path)
    assert caught.value.argument == "figures"
    assert list(tmp_path.iterdir()) == []
