"""A figure of its own: shown in a notebook or saved as an SVG file, in light and dark."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from graphclean.issues import write_atomic
from graphclean.types import InputError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VIEW = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_MARGIN = 10
_SCOPE = "graphclean-figure"
_RULES = (
    f".{_SCOPE}{{display:block;max-width:100%;height:auto;background:var(--card)}}"
    f".{_SCOPE} *{{stroke-linejoin:round;stroke-linecap:butt}}"
    f".{_SCOPE} text{{fill:var(--ink);font-family:system-ui,sans-serif}}"
)


@dataclass(frozen=True)
class Figure:
    """A figure on a ground of its own, light or dark as its reader prefers.

    A notebook shows it by itself. ``str(figure)`` is the SVG document that `save` writes; it can
    stand alone or within a page, where its styles reach nothing but itself.

    Attributes:
        label: What the figure shows, numbers included, in words.
        svg: Inline ``<svg>`` as `graphclean.report.svg.draw` returns it, whose colours are CSS
            variables of the report's page.
    """

    label: str
    svg: str = field(repr=False)

    def __str__(self) -> str:
        head, rest = _VIEW.sub(_widened, self.svg, count=1).split(">", 1)
        head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        head = head.replace('class="', f'class="{_SCOPE} ', 1)
        return f"{head}><style>{_colours()}{_RULES}</style>{rest}\n"

    def _repr_html_(self) -> str:
        return str(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure as an SVG file, whole or not at all.

        Equal figures give byte-identical files.

        Args:
            path: Where to, ending in ``.svg``; the folder is made if need be.

        Returns:
            The file.

        Raises:
            InputError: The name does not end in ``.svg``.
        """
        target = Path(path)
        if target.suffix != ".svg":
            raise InputError("path", str(target), "Figures are SVG: end the name in .svg.")
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_atomic(target, str(self).encode())


def write_figures(figures: Mapping[str, Figure], folder: str | os.PathLike[str]) -> list[Path]:
    """Write figures as ``<name>.svg`` to ``folder`` (made if need be), each whole or not at all.

    Args:
        figures: Figures by name: lower case letters, digits, ``-`` and ``_``.
        folder: Where to.

    Returns:
        The files, in the order of ``figures``.

    Raises:
        InputError: A name would not do as a file name.
    """
    for name in figures:
        if not _NAME.fullmatch(name):
            raise InputError("figures", name, "Use lower case letters, digits, - and _.")
    return [figure.save(Path(folder) / f"{name}.svg") for name, figure in figures.items()]


def _colours() -> str:
    """Return the page's colours, of the figure instead of the page."""
    css = resources.files("graphclean.report").joinpath("templates/style.css").read_text("utf-8")
    return css.partition("* {")[0].replace(":root", f".{_SCOPE}")


def _widened(view: re.Match[str]) -> str:
    width, height = (float(side) + 2 * _MARGIN for side in view.groups())
    return f'viewBox="-{_MARGIN} -{_MARGIN} {width:g} {height:g}"'
