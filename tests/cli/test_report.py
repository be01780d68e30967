from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graphclean.cli import main

VOTE = ("--detector", "neighbour_agreement", "--quiet")


@pytest.fixture(scope="module")
def original(shared_tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("original")
    options = [*shared_tables.options, *VOTE, "--noise", "pair:0.1", "--out", str(out)]
    assert CliRunner().invoke(main, ["clean", *options]).exit_code == 0
    return out


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy of what clean wrote, with a report of its own."""
    return Path(shutil.copytree(original, tmp_path / "out"))


def test_it_renders_what_clean_rendered(run, saved: Path, tmp_path: Path) -> None:
    first = (saved / "report.html").read_bytes()
    (saved / "report.html").unlink()
    scores = json.loads((saved / "evaluation.json").read_text())
    assert scores["transition_error"] is None  # not estimated: NaN on the page, null in JSON
    result: Result = run("report", saved)
    assert (result.exit_code, result.stdout) == (0, f"Wrote {saved / 'report.html'}\n")
    assert (saved / "report.html").read_bytes() == first
    again = tmp_path / "pages" / "again.html"
    assert run("report", saved, "--out", again).exit_code == 0
    assert again.read_bytes() == first


def test_options_reach_the_page(run, saved: Path) -> None:
    assert run("report", saved, "--top", 1, "--title", "A <title>").exit_code == 0
    page = (saved / "report.html").read_text(encoding="utf-8")
    assert "<title>A &lt;title&gt;</title>" in page
    assert page.count('class="card"') == 1


def test_the_graph_is_the_kept_one_or_the_one_given(run, saved: Path, shared_tables) -> None:
    first = (saved / "report.html").read_bytes()
    (saved / "cleaned.npz").unlink()
    result: Result = run("report", saved)
    assert "no graph: no drawings" in result.stdout
    assert (saved / "report.html").read_bytes() != first
    assert run("report", saved, *shared_tables.options).exit_code == 0
    assert (saved / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    ("spoil", "args", "message"),
    [
        ("issues.parquet", [], "issues.parquet"),
        ("summary.json", [], "Write it again with LabelIssues.save."),
        ("evaluation.json", [], "Run graphclean clean again."),
        ("cleaned.npz", [], "cleaned.npz"),
        (None, ["--name", "karateclub"], "34 nodes"),
        (None, ["--label", "topic"], "No graph given."),
        (None, ["--name", "karateclub", "--graph", "x.npz"], "choose one"),
    ],
)
def test_bad_input_ends_with_2(
    run, saved: Path, spoil: str | None, args: list[str], message: str
) -> None:
    if spoil is not None:
        (saved / spoil).write_bytes(b"spoiled")
    result: Result = run("report", saved, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]


def test_a_folder_that_is_not_there_ends_with_2(run, tmp_path: Path) -> None:
    assert run("report", tmp_path / "nowhere").exit_code == 2
    empty: Result = run("report", tmp_path)
    assert empty.exit_code == 2
    assert "Pass a folder that LabelIssues.save wrote." in empty.stderr
