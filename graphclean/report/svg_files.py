"""Figures as SVG files of their own, in light and dark."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from graphclean.issues import write_atomic
from graphclean.types import InputError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VIEW = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_MARGIN = 10
_TEXT = "svg{background:var(--card)}text{fill:var(--ink);font-family:system-ui,sans-serif}"


def write_figures(figures: Mapping[str, Markup], folder: str | os.PathLike[str]) -> list[Path]:
    """Write figures to ``folder`` (made if need be), each whole or not at all.

    A file follows the reader's light or dark scheme by itself, wherever it is shown. Equal figures
    give byte-identical files.

    Args:
        figures: Inline ``<svg>`` by name: lower case letters, digits, ``-`` and ``_``.
        folder: Where to.

    Returns:
        The files, in the order of ``figures``.

    Raises:
        InputError: A name would not do as a file name.
    """
    for name in figures:
        if not _NAME.fullmatch(name):
            raise InputError("figures", name, "Use lower case letters, digits, - and _.")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    return [
        write_atomic(target / f"{name}.svg", standalone(figure).encode())
        for name, figure in figures.items()
    ]


def standalone(figure: Markup) -> str:
    """Return an inline ``<svg>`` as a document with the page's colours and a margin."""
    css = resources.files("graphclean.report").joinpath("templates/style.css").read_text("utf-8")
    colours = css.partition("* {")[0]
    head, rest = _VIEW.sub(_widened, str(figure), count=1).split(">", 1)
    opened = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{opened}><style>{colours}{_TEXT}</style>{rest}\n"


def _widened(view: re.Match[str]) -> str:
    width, height = (float(side) + 2 * _MARGIN for side in view.groups())
    return f'viewBox="-{_MARGIN} -{_MARGIN} {width:g} {height:g}"'
