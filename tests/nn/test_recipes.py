"""Every backbone has a recipe, and everything a recipe says can be built."""

from __future__ import annotations

import pytest

from graphclean import nn
from graphclean.recipes import get_recipe, list_recipes, load_object

BACKBONES = sorted(
    name
    for name, cls in nn.NodeClassifier.registry.items()
    if cls.__module__.startswith("graphclean.nn")
)


@pytest.mark.parametrize("name", BACKBONES)
def test_recipe_builds(name: str) -> None:
    content = get_recipe("models", name, family="classifier").content
    cls = load_object(content["class"])
    assert cls is nn.NodeClassifier.registry[name]
    assert {"title", "url", "year"} <= set(content["paper"])
    settings = [{}, *content.get("settings", {}).values()]
    for setting in settings:
        cls(**(content["params"] | setting))
    for parameter, values in content["search"].items():
        assert len(values) > 1
        for value in values:
            nn.params.check_params(cls(**{parameter: value}).get_params())


@pytest.mark.parametrize("name", BACKBONES)
def test_recipe_gives_the_defaults(name: str) -> None:
    params = get_recipe("models", name, family="classifier").content["params"]
    defaults = nn.NodeClassifier.registry[name]().get_params()
    assert params == {key: defaults[key] for key in params}


def test_every_classifier_recipe_is_registered() -> None:
    named = {recipe.name for recipe in list_recipes("models", "classifier")}
    assert set(BACKBONES) <= named <= set(nn.NodeClassifier.registry)
