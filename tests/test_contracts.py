"""Every registered method has a recipe that builds it and a contract suite that tests it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import graphclean
from graphclean.recipes import Recipe, get_recipe, list_recipes, load_object
from graphclean.types import Registered

ROOT = Path(__file__).parents[1]
SUITES = {
    "classifier": "tests/nn/test_contract.py",
    "denoiser": "tests/denoise/test_contract.py",
    "detector": "tests/detect/test_contract.py",
    "ensemble": "tests/ensemble/test_contract.py",
    "loss": "tests/nn/losses/test_contract.py",
    "noise": "tests/noise/test_contract.py",
    "trainer": "tests/robust/test_contract.py",
    "transition": "tests/noise/test_transition_contract.py",
}
"""The suite of every family of methods."""

NEEDS = {
    "labels",
    "edges",
    "features",
    "out-of-fold probabilities",
    "training dynamics",
    "training",
    "verified labels",
}
"""What a method may say that it reads."""


def import_everything() -> None:
    for module in pkgutil.walk_packages(graphclean.__path__, "graphclean."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def shipped(family: type[Registered]) -> dict[str, type[Any]]:
    """Return the registered classes of the package; other tests may have registered theirs."""
    return {n: c for n, c in family.registry.items() if c.__module__.split(".")[0] == "graphclean"}


def family_roots(of: type[Registered] = Registered) -> list[type[Registered]]:
    """Return the roots of all families; that of the trainers is itself a classifier."""
    below = of.__subclasses__()
    found = [each for each in below if "family" in vars(each)]
    return found + [root for each in below for root in family_roots(each)]


import_everything()
FAMILIES = {root.family: root for root in family_roots()}
METHODS = [(family, name) for family, root in FAMILIES.items() for name in sorted(shipped(root))]
RECIPES = list_recipes("models")


def test_every_family_is_known_here() -> None:
    assert set(FAMILIES) == set(SUITES)
    assert all(shipped(family) for family in FAMILIES.values())


@pytest.mark.parametrize(("family", "name"), METHODS)
def test_registered_method_has_a_recipe_that_builds_it(family: str, name: str) -> None:
    cls = FAMILIES[family].registry[name]
    recipe = get_recipe("models", name, family=family)
    assert load_object(recipe.content["class"]) is cls
    built = cls(**recipe.content.get("params", {}))
    for parameter, value in recipe.content.get("params", {}).items():
        assert value_of(built, parameter) == value


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.family}-{recipe.name}")
def test_recipe_is_of_a_registered_method(recipe: Recipe) -> None:
    registry = shipped(FAMILIES[recipe.family])
    cls = registry[recipe.name]
    assert load_object(recipe.content["class"]) is cls
    assert recipe.summary.endswith(".")
    accepted = set(inspect.signature(cls).parameters)
    params = recipe.content.get("params", {})
    settings = [*recipe.content.get("presets", {}).values()]
    settings += recipe.content.get("settings", {}).values()
    for setting in settings:
        assert set(setting) <= accepted
        cls(**(params | setting))
    for parameter, values in recipe.content.get("search", {}).items():
        assert parameter in accepted
        assert len(values) > 1
    for result in (
        *recipe.content.get("published", ()),
        *recipe.content.get("reproduced", ()),
    ):
        assert result.get("preset", "none") in {"none", *recipe.content.get("presets", {})}


@pytest.mark.parametrize("name", sorted(shipped(FAMILIES["detector"])))
def test_recipe_of_a_detector_gives_its_defaults(name: str) -> None:
    content = get_recipe("models", name, family="detector").content
    defaults = FAMILIES["detector"].registry[name]().get_params()
    stated = {key: defaults[key] for key in content["params"]}
    # TOML has no tuples.
    as_toml = {key: list(v) if isinstance(v, tuple) else v for key, v in stated.items()}
    assert content["params"] == as_toml
    for classifier in content.get("search", {}).get("classifier", ()):
        assert classifier in shipped(FAMILIES["classifier"])


@pytest.mark.parametrize(
    "recipe",
    [recipe for recipe in RECIPES if recipe.family in ("denoiser", "detector", "transition")],
    ids=lambda recipe: recipe.name,
)
def test_recipe_says_what_the_method_needs_and_costs(recipe: Recipe) -> None:
    needs, cost = recipe.content["needs"], recipe.content["cost"]
    assert "labels" in needs
    assert set(needs) <= NEEDS
    assert len(set(needs)) == len(needs)
    reads = FAMILIES[recipe.family].registry[recipe.name].reads_probs
    if recipe.family in ("denoiser", "transition"):
        assert ("out-of-fold probabilities" in needs) == reads
    assert 5 < len(cost) < 100
    assert not cost.endswith(".")


@pytest.fixture(scope="module")
def collected() -> dict[str, set[str]]:
    """The ids in brackets of all tests of the contract suites, as pytest collects them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *SUITES.values()], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, set[str]] = {family: set() for family in SUITES}
    for family, path in SUITES.items():
        for line in run.stdout.splitlines():
            if line.startswith(f"{path}::"):
                found[family] |= {"", *re.findall(r"\w+", line.partition("[")[2])}
    return found


@pytest.mark.parametrize("family", SUITES)
def test_contract_suite_covers_the_whole_registry(
    family: str, collected: dict[str, set[str]]
) -> None:
    missing = set(shipped(FAMILIES[family])) - collected[family]
    assert not missing, f"{SUITES[family]} has no test of {sorted(missing)}"


def value_of(built: Any, parameter: str) -> Any:
    """Return a parameter as TOML would hold it."""
    value = getattr(built, parameter)
    return value.tolist() if hasattr(value, "tolist") else value
