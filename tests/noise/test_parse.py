from __future__ import annotations

import pytest

from graphclean.noise import ConfusionNoise, NoiseModel, PairNoise, parse_noise
from graphclean.types import InputError


def test_kind_and_rate() -> None:
    model = parse_noise("pair:0.25")
    assert isinstance(model, PairNoise)
    assert model.rate == 0.25


def test_kind_alone_has_the_default_rate() -> None:
    model = parse_noise("confusion")
    assert isinstance(model, ConfusionNoise)
    assert model.rate == 0.1


@pytest.mark.parametrize("name", sorted(set(NoiseModel.registry) - {"class_conditional"}))
def test_every_kind_that_needs_only_a_rate_can_be_named(name: str) -> None:
    assert type(parse_noise(f"{name}:0.5")) is NoiseModel.registry[name]


@pytest.mark.parametrize("text", ["", "pairs:0.1", ":0.1", "class_conditional", "Pair:0.1"])
def test_other_kinds_are_refused_with_the_list(text: str) -> None:
    with pytest.raises(InputError, match=r"kinds: confusion, .*pair, .*uniform"):
        parse_noise(text)


@pytest.mark.parametrize("text", ["pair:", "pair:ten", "pair:0.1:2"])
def test_a_rate_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"pair:0\.1"):
        parse_noise(text)


@pytest.mark.parametrize("text", ["pair:1.1", "pair:nan", "pair:-0.1"])
def test_a_rate_outside_the_unit_interval_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        parse_noise(text)
