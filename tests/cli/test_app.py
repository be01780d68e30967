from __future__ import annotations

import copy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import Result

import graphclean
from graphclean.cli import main
from graphclean.cli.app import EXAMPLES
from graphclean.cli.examples import ExampleCommand
from graphclean.types import InputError, MissingDependencyError

COMMANDS = sorted(main.commands)
FAST = ("clean", "digits", "--detector", "neighbour_agreement", "--quiet")


def all_examples() -> list[str]:
    found = [example for command in COMMANDS for example in main.commands[command].examples]
    return [*EXAMPLES, *found]


def test_the_commands_are_those_of_the_readme() -> None:
    first, second = COMMANDS[:5], COMMANDS[5:]
    assert first == ["bench", "clean", "convert", "denoise", "list"]
    assert second == ["noise", "predict", "report", "stack", "train"]
    assert all(isinstance(command, ExampleCommand) for command in main.commands.values())


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_examples_of_the_command(run, command: str, option: str) -> None:
    result: Result = run(command, option)
    assert result.exit_code == 0
    examples = main.commands[command].examples
    assert examples
    for example in examples:
        assert example.startswith(f"graphclean {command}")
        assert f"  {example}\n" in result.stdout


def test_the_front_page_documents_the_exit_codes(run) -> None:
    result: Result = run("--help")
    assert result.exit_code == 0
    tail = result.stdout[result.stdout.index("Exit codes:") :]
    assert [line.split()[0] for line in tail.splitlines()[1:]] == ["0", "1", "2", "130"]
    assert all(f"  {example}\n" in result.stdout for example in EXAMPLES)


@pytest.mark.parametrize("example", all_examples())
def test_every_example_parses(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    program, command, *rest = shlex.split(example)
    assert program == "graphclean"
    # A copy, because a command keeps the help option of its first context.
    context = copy.copy(main.commands[command]).make_context(command, rest)
    assert isinstance(context, click.Context)


def test_as_a_module_it_tells_the_version_without_importing_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "graphclean", "--version"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (
        0,
        f"graphclean, version {graphclean.__version__}\n",
    )
    imported = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "graphclean.cli.clean" in imported
    assert not {"torch", "torch_geometric", "numpy", "pandas", "sklearn"} & imported


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (InputError("label", "x\n\x1b[2J", "Mend it."), 2, "Error: label: x\ufffd\ufffd[2J. Mend"),
        (MissingDependencyError("ogb", "ogb", "This graph"), 2, "pip install 'graphclean[ogb]'"),
        (PermissionError(13, "Permission denied"), 1, "Error: PermissionError: [Errno 13] Perm"),
        (ZeroDivisionError("by zero"), 1, "unexpected ZeroDivisionError: by zero (run 'graphclean"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_an_exit_code(
    run, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int, line: str
) -> None:
    fail_with(monkeypatch, raised)
    result: Result = run(*FAST)
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1
    assert line in result.stderr


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_adds_the_traceback_and_keeps_the_exit_code(
    run, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    fail_with(monkeypatch, InputError("label", "x", "Mend it."))
    if how == "environment":
        monkeypatch.setenv("GRAPHCLEAN_DEBUG", "1")
        monkeypatch.setattr("traceback.print_exc", lambda: click.echo("the traceback", err=True))
    result: Result = run("--debug", *FAST) if how == "option" else run(*FAST)
    assert result.exit_code == 2
    assert ("Traceback (most" if how == "option" else "the traceback") in result.stderr
    assert result.stderr.splitlines()[-1] == "Error: label: x. Mend it."


def test_ctrl_c_ends_with_130(run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    result: Result = run(*FAST)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Stopped." in result.stderr


def test_usage_errors_end_with_2(run) -> None:
    for args in (["cleen"], ["clean", "--nodez", "x"], ["list", "graphs"], ["noise", "digits"]):
        result: Result = run(*args)
        assert result.exit_code == 2
        assert "Error: " in result.stderr.splitlines()[-1]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("graphclean.detect.find_label_issues", fail)
