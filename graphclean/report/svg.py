"""Matplotlib figures as inline SVG that follows the page's colours, light or dark."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphclean.issues import printable

INK, MUTED, LINE, ACCENT, WARN, SOFT = (f"#0{i}0{i}0{i}" for i in range(1, 7))
"""Stand-in colours to draw with; in the SVG they become CSS variables of the page."""

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    WARN: "var(--warn)",
    SOFT: "var(--soft)",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "graphclean",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
}
_SCALE = 1.08
_NUMBER = re.compile(r"-?\d+\.\d+")
_NO_TURN = re.compile(r"rotate\(-?0(\.0+)? [^)]*\)")
_FONT = re.compile(r"font-family:[^;]*;?\s*")
_PLACES = ("d", "x", "y", "width", "height", "transform", "viewBox")


def draw(
    name: str,
    width: float,
    height: float,
    label: str,
    paint: Callable[[Axes], None],
    crop: bool = False,
) -> Markup:
    """Return the figure that ``paint`` draws as an inline ``<svg>``.

    Args:
        name: Unique in the page; keeps the ids of two figures apart.
        width: Width in pixels at full size.
        height: Height in pixels at full size.
        label: What the figure shows, for those who cannot see it.
        paint: Draws on the axes it is given, in the stand-in colours of this module.
        crop: Fit the picture to what is drawn, instead of what is drawn to the size: for axes of
            equal aspect, which the layout engine leaves cut off.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width / 72, height / 72), layout=None if crop else "constrained")
        paint(figure.subplots())
        with warnings.catch_warnings():
            # The reader's browser has the glyphs that matplotlib measures without.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(
                buffer,
                format="svg",
                transparent=True,
                bbox_inches="tight" if crop else None,
                pad_inches=0.03,
                metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
            )
    return Markup(_inline(buffer.getvalue(), name, label))


def short(text: str, length: int = 22) -> str:
    """Return ``text`` fit for a figure: printable, at most ``length`` characters."""
    text = printable(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def _inline(svg: bytes, name: str, label: str) -> str:
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}style", "}metadata")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        if element.tag != "text":
            element.text = None
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            kept = _attribute(element.tag, key.rpartition("}")[2], value, name)
            if kept:
                element.set(key.rpartition("}")[2], kept)
    for key in ("width", "height", "version"):
        del root.attrib[key]
    width = float(root.attrib["viewBox"].split()[2])
    root.set("style", f"width:{_SCALE * width:.0f}px")
    root.set("role", "img")
    root.set("aria-label", printable(label))
    root.set("class", f"plot {name}")
    return ET.tostring(root, encoding="unicode")


def _attribute(tag: str, key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}" if tag in ("path", "clipPath") else ""
    if key in ("href", "clip-path"):
        return value.replace("#", f"#{name}-")
    if key == "style":
        value = _FONT.sub("", value)
        for colour, variable in _VARIABLES.items():
            value = value.replace(colour, variable)
        return value
    if key in _PLACES:
        value = _NO_TURN.sub("", value.replace("\n", ""))
        return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return value
