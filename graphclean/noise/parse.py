"""Noise on the command line: ``kind[:rate]``."""

from __future__ import annotations

import inspect

from graphclean.noise.base import NoiseModel
from graphclean.types import InputError


def parse_noise(text: str) -> NoiseModel:
    """Build a noise model from ``"kind"`` or ``"kind:rate"``, such as ``"pair:0.1"``.

    Args:
        text: Name of a registered noise model that needs nothing but a rate, and the rate, in
            [0, 1] (default 0.1).

    Returns:
        The noise model.

    Raises:
        InputError: If the kind is not one of these, or the rate not a number in [0, 1].
    """
    kind, colon, rate = text.partition(":")
    kinds = sorted(name for name, model in NoiseModel.registry.items() if _needs_only_a_rate(model))
    if kind not in kinds:
        raise InputError(
            "noise", repr(text), f"Write kind or kind:rate; kinds: {', '.join(kinds)}."
        )
    if not colon:
        return NoiseModel.create(kind)
    try:
        value = float(rate)
    except ValueError:
        raise InputError(
            "noise", repr(text), "Write the rate as a number, as in pair:0.1."
        ) from None
    return NoiseModel.create(kind, rate=value)


def _needs_only_a_rate(model: type[NoiseModel]) -> bool:
    parameters = inspect.signature(model).parameters.values()
    return all(parameter.default is not inspect.Parameter.empty for parameter in parameters)
