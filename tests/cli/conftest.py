from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graphclean.cli import main

Run = Callable[..., Result]

TOPICS = ("Физика", "数学", "=1+1")


@dataclass(frozen=True)
class Tables:
    """Three chains of twelve nodes, one topic each; node p05 has another topic than its chain."""

    folder: Path
    nodes: list[dict[str, str]] = field(default_factory=list)
    topics: tuple[str, ...] = TOPICS

    @property
    def options(self) -> list[str]:
        names = {"--nodes": "n.csv", "--edges": "e.csv"}
        files = [part for key, name in names.items() for part in (key, str(self.folder / name))]
        return [*files, "--label", "topic", "--id", "paper"]


@pytest.fixture
def run() -> Run:
    """Run the command line in this process; a failure is one line, never a traceback."""

    def invoke(*args: object) -> Result:
        result = CliRunner().invoke(main, [str(arg) for arg in args], prog_name="graphclean")
        assert "Traceback" not in result.stderr or "--debug" in args
        return result

    return invoke


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return _write_tables(tmp_path / "own", TOPICS)


@pytest.fixture(scope="module")
def shared_tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The same for all tests of a module, which leave it as it is."""
    return _write_tables(tmp_path_factory.mktemp("shared") / "own", TOPICS)


def _write_tables(folder: Path, topics: tuple[str, ...]) -> Tables:
    folder.mkdir()
    size = 12
    nodes = [
        {"paper": f"p{i:02d}", "title": f"Nº {i}", "year": str(1990 + i), "topic": topic}
        for i, topic in enumerate(t for t in topics for _ in range(size))
    ]
    nodes[5]["topic"] = topics[1]
    nodes[8]["topic"] = ""
    nodes[20]["topic"] = "NA"
    pairs = [
        (first, first + step)
        for first in range(len(nodes))
        for step in (1, 2, 3)
        if (first + step) // size == first // size and first + step < len(nodes)
    ]
    with (folder / "n.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(nodes[0]))
        writer.writeheader()
        writer.writerows(nodes)
    with (folder / "e.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("citing", "cited"), *((nodes[a]["paper"], nodes[b]["paper"]) for a, b in pairs)]
        )
    return Tables(folder, nodes, topics)


@pytest.fixture
def hostile(tmp_path: Path) -> Tables:
    names = ("\x1b[31mred", "<script>alert(1)</script>", "evil\u202egnp.exe\x07\r\ntwo lines")
    return _write_tables(tmp_path / "hostile", names)
