from __future__ import annotations

import inspect
from typing import Any

import pytest

from graphclean.cli.settings import check_params
from graphclean.detect import Detector
from graphclean.evaluate import detection_scores
from graphclean.nn import NodeClassifier
from graphclean.noise import parse_noise
from graphclean.recipes import Recipe, get_recipe, list_recipes, load_object

RUN_ONLY = {"random_state", "n_jobs", "progress"}
RECIPES = list_recipes("models", "detector")


def defaults(method: type[Any]) -> dict[str, Any]:
    """Return the defaults as TOML can hold them: tuples as lists."""
    parameters = inspect.signature(method).parameters
    return {
        name: list(p.default) if isinstance(p.default, tuple) else p.default
        for name, p in parameters.items()
        if name not in RUN_ONLY
    }


def test_every_detector_has_a_recipe_and_every_recipe_a_detector() -> None:
    assert [recipe.name for recipe in RECIPES] == sorted(Detector.registry)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_builds_its_class_with_the_defaults_it_states(recipe: Recipe) -> None:
    method = load_object(recipe.content["class"])
    assert method is Detector.registry[recipe.name]
    params = recipe.content["params"]
    check_params(method, params)
    built = method(**params).get_params(deep=False)
    stated = {name: value for name, value in defaults(method).items() if value is not None}
    assert params == stated
    assert {name: built[name] for name in params} == params


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_search_spaces_and_presets_hold_parameters_of_the_class(recipe: Recipe) -> None:
    method = load_object(recipe.content["class"])
    space = recipe.content["search"]
    assert space.keys() <= defaults(method).keys()
    for name, values in space.items():
        assert len(values) == len(set(values)) > 1
        for value in values:
            check_params(method, {name: value})
    assert set(space.get("classifier", [])) <= set(NodeClassifier.registry)
    for preset in recipe.content.get("presets", {}).values():
        check_params(method, preset)
        assert isinstance(Detector.create(recipe.name, **preset), method)


@pytest.mark.parametrize("kind", ["published", "reproduced"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_scores_name_dataset_noise_and_settings(recipe: Recipe, kind: str) -> None:
    metrics = set(detection_scores([True, False], [0.9, 0.1], [True, False]))
    for row in recipe.content.get(kind, []):
        scores = dict(row)
        assert get_recipe("datasets", scores.pop("dataset"))
        assert parse_noise(scores.pop("noise")).rate == 0.1
        assert scores.pop("preset") in recipe.content["presets"]
        assert scores.pop("protocol") == "graphcleaner"
        assert 0.0 <= scores.pop("threshold", 0.97) <= 1.0
        assert scores.pop("seeds", 1) >= 1
        assert scores
        assert scores.keys() <= metrics
        for score in scores.values():
            assert 0.0 < (score if kind == "published" else score["mean"]) < 1.0


def test_the_reproduction_of_graphcleaner_is_the_one_to_meet() -> None:
    rows = get_recipe("models", "graphcleaner", "detector").content["reproduced"]
    found = {(row["dataset"], row["noise"]): (row["f1"]["mean"], row["ap"]["mean"]) for row in rows}
    targets = {
        ("cora", "uniform:0.1"): (0.79, 0.85),
        ("cora", "pair:0.1"): (0.68, 0.63),
        ("citeseer", "uniform:0.1"): (0.57, 0.52),
        ("citeseer", "pair:0.1"): (0.48, 0.36),
    }
    assert found.keys() == targets.keys()
    for setting, numbers in targets.items():
        assert found[setting] == pytest.approx(numbers, abs=0.005)
