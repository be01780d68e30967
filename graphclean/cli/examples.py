"""Commands whose help ends with examples, which the tests run through the parser."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource


class ExampleCommand(click.Command):
    """A command with examples at the end of its help.

    Args:
        *args: As for ``click.Command``.
        examples: Command lines, the program's name first.
        **options: As for ``click.Command``.
    """

    def __init__(self, *args: Any, examples: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one a line, never wrapped."""
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write a section of examples that is never wrapped."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"  {example}\n")


def command_line(ctx: click.Context, leave_out: Sequence[str]) -> str:
    """Return the command as it was typed, without the parameters named in ``leave_out``."""
    parts = ["graphclean", str(ctx.info_name)]
    for parameter in ctx.command.params:
        name = str(parameter.name)
        typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not typed or name in leave_out:
            continue
        value = ctx.params[name]
        if isinstance(value, dict):
            value = [f"{key}={item}" for key, item in value.items()]
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(parameter, click.Option):
                parts.append(parameter.opts[-1])
            if not getattr(parameter, "is_flag", False):
                parts.append(str(item))
    return shlex.join(parts)
