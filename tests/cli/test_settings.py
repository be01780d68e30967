from __future__ import annotations

import click
import pytest

from graphclean.cli.settings import check_params, parse_settings
from graphclean.detect import GraphCleaner
from graphclean.nn import SGC
from graphclean.noise import ClassConditionalNoise, NeighbourhoodNoise
from graphclean.types import InputError


def test_values_are_typed() -> None:
    pairs = ("a=3", "b=1e-3", "c=true", "d=None", "e=paper", "f=[[0.9, 0.1], [0, 1]]", "g='7'")
    assert parse_settings(pairs) == {
        "a": 3,
        "b": 0.001,
        "c": True,
        "d": None,
        "e": "paper",
        "f": [[0.9, 0.1], [0, 1]],
        "g": "7",
    }
    assert parse_settings(("path = x=y ",)) == {"path": "x=y"}


@pytest.mark.parametrize("pairs", [("hops",), ("=3",), ("a b=3",), ("hops=1", "hops=2")])
def test_what_is_no_setting_is_refused(pairs: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter):
        parse_settings(pairs)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (GraphCleaner, {"hops": 2, "threshold": None, "mode": "paper", "feature_view": False}),
        (GraphCleaner, {"threshold": 1, "draws": 3, "unknown": "left to the constructor"}),
        (SGC, {"lr": 0.1, "epochs": 5}),
        (NeighbourhoodNoise, {"rate": 0.2, "select": "low_homophily"}),
        (ClassConditionalNoise, {"transition": [[0.9, 0.1], [0.2, 0.8]]}),
    ],
)
def test_declared_types_are_accepted(method: type, settings: dict[str, object]) -> None:
    check_params(method, settings)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (GraphCleaner, {"hops": "two"}, "--set hops: two. Pass a whole number."),
        (GraphCleaner, {"hops": True}, "--set hops: True. Pass a whole number."),
        (GraphCleaner, {"hops": None}, "--set hops: None. Pass a whole number."),
        (GraphCleaner, {"draws": 1.5}, "--set draws: 1.5. Pass a whole number or none."),
        (GraphCleaner, {"threshold": "x"}, "--set threshold: x. Pass a number or none."),
        (GraphCleaner, {"mode": "papers"}, "--set mode: papers. Pass crossfit or paper."),
        (GraphCleaner, {"feature_view": 1}, "--set feature_view: 1. Pass true or false."),
        (NeighbourhoodNoise, {"select": 1}, "--set select: 1. Pass a word."),
        (ClassConditionalNoise, {}, "--set transition: missing. ClassConditionalNoise needs it."),
    ],
)
def test_other_types_are_refused(method: type, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_params(method, settings)
    assert str(caught.value) == message
