"""The notebooks as files; `make notebooks` executes them."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    found = nbformat.read(request.param, as_version=nbformat.NO_CONVERT)
    nbformat.validate(found)
    return found


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def test_is_stored_without_results(notebook: nbformat.NotebookNode) -> None:
    """A change of a notebook is a change of what someone wrote, not of what a machine computed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert all(set(cell.metadata) == set() for cell in notebook.cells)


def test_names_no_machine(notebook: nbformat.NotebookNode) -> None:
    assert notebook.metadata.kernelspec.name == "python3"
    code = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"""["'](/|~|[A-Za-z]:\\|file:)""", code)


def test_links_to_sections_lead_to_headings(notebook: nbformat.NotebookNode) -> None:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = re.findall(r"\]\(#([^)]+)\)", text)
    assert set(anchors) <= {heading.replace(" ", "-") for heading in headings}
