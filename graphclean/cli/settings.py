"""``--set name=value``: parameters of a registered method, typed as the method declares them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

_TYPES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    type(None): "none",
}
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None, "null": None}


def set_option(what: str) -> Callable[[_Command], _Command]:
    """Return the repeatable option ``--set`` whose value is a dict of typed parameters."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda ctx, param, pairs: parse_settings(pairs),
        help=f"Parameter of the {what}; may be repeated.",
    )


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Turn ``("hops=2", "mode=paper")`` into ``{"hops": 2, "mode": "paper"}``.

    A value is read as a Python literal (number, list, quoted string), as ``true``, ``false`` or
    ``none``, else as the string it is.

    Raises:
        click.BadParameter: Not ``name=value``, or a name that comes twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE, such as hops=2.")
        if name in settings:
            raise click.BadParameter(f"{name!r} is set twice.")
        settings[name] = _literal(text.strip())
    return settings


def check_params(method: type[Any], settings: Mapping[str, Any]) -> None:
    """Refuse values of another type than declared, and parameters left out that have no default.

    Names that the method does not have are left to its constructor.

    Raises:
        InputError: A value is of the wrong type, or missing.
    """
    from graphclean.types import InputError

    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in settings:
            raise InputError(f"--set {name}", "missing", f"{method.__name__} needs it.")
    # A dataclass inherits parameters from modules that only the class, not __init__, knows.
    described = method if dataclasses.is_dataclass(method) else method.__init__
    hints = typing.get_type_hints(described)
    for name, value in settings.items():
        hint = hints.get(name, Any)
        if not _fits(value, hint):
            raise InputError(f"--set {name}", value, f"Pass {_described(hint)}.")


def _literal(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint in (int, float):
        accepted = (int,) if hint is int else (int, float)
        return isinstance(value, accepted) and not isinstance(value, bool)
    return hint not in _TYPES or isinstance(value, hint)


def _described(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_described(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(str(choice) for choice in typing.get_args(hint))
    return _TYPES[hint]
