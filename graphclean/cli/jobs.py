"""``--jobs``: how many processes a command may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def jobs_option(default: int) -> Callable[[_Command], _Command]:
    """Return the option ``--jobs``, which refuses 0 and changes no result."""
    return click.option(
        "--jobs",
        type=int,
        default=default,
        show_default=True,
        callback=_checked,
        help="Processes; -1: all cores. It does not change the result.",
    )


def _checked(ctx: click.Context, option: click.Parameter, value: int) -> int:
    if value == 0:
        raise click.BadParameter("0 processes do nothing: pass 1 or more, or -1 for all cores.")
    return value
