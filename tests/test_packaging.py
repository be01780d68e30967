"""What is shipped: the wheel's content, the version, the pins, and an import that stays light."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import graphclean

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def files_below(folder: str) -> set[str]:
    root = ROOT / folder
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix() for path in paths if "__pycache__" not in path.parts}


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)", line).groups()
            pinned[canonicalize_name(name)] = Version(version)
    return pinned


def test_wheel_ships_the_package_and_the_recipes_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {f"graphclean/{name}" for name in files_below("graphclean")}
    for folder in ("models", "datasets"):
        recipes = files_below(folder)
        assert any(name.endswith(".toml") for name in recipes)
        expected |= {f"graphclean/recipes_data/{folder}/{name}" for name in recipes}
    assert shipped == expected
    assert "graphclean/py.typed" in shipped
    assert any(name.startswith("graphclean/report/templates/") for name in shipped)


def test_recipe_folders_hold_no_python() -> None:
    python = [name for folder in ("models", "datasets") for name in files_below(folder)]
    assert not [name for name in python if name.endswith((".py", ".pyc"))]


def test_version_is_the_same_everywhere(wheel: zipfile.ZipFile) -> None:
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert email.message_from_bytes(wheel.read(metadata))["Version"] == graphclean.__version__
    assert citation is not None
    assert citation[1] == graphclean.__version__
    assert f"## [{graphclean.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_wheel_declares_the_command(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "graphclean = graphclean.cli:main" in wheel.read(entry_points).decode()


@pytest.mark.parametrize(
    "requirement", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
)
def test_direct_dependency_is_pinned_to_a_version_it_allows(requirement: str) -> None:
    wanted = Requirement(requirement)
    version = pins()[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version)
    assert version.local is None, "a local version such as +cpu exists on one machine only"


def test_import_is_light_and_needs_no_checkout_around_it(tmp_path: Path) -> None:
    heavy = {"cleanlab", "lightgbm", "matplotlib.pyplot", "ogb", "optuna", "dask", "IPython"}
    code = "import graphclean, json, sys; print(json.dumps(list(sys.modules)))"
    # -I: no current directory, PYTHONPATH or user site on the path, as for an installed command.
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert heavy.isdisjoint(json.loads(run.stdout))
    assert not list(tmp_path.iterdir())
