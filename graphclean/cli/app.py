"""The command group: global options, error messages and exit codes."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from graphclean import __version__
from graphclean.cli.bench import bench
from graphclean.cli.clean import clean
from graphclean.cli.convert import convert
from graphclean.cli.denoise import denoise
from graphclean.cli.examples import write_examples
from graphclean.cli.listing import listing
from graphclean.cli.noise import noise
from graphclean.cli.predict import predict
from graphclean.cli.report import report
from graphclean.cli.stack import stack
from graphclean.cli.train import train

INTERRUPTED = 130
EXAMPLES = (
    "graphclean clean digits --noise confusion:0.1 --seed 0 --out out/demo",
    "graphclean clean --nodes n.csv --edges e.csv --label topic --id paper --out out/",
    "graphclean list detectors",
)
EXIT_CODES = (
    ("0", "done"),
    ("1", "unexpected error"),
    ("2", "bad input or usage; the last line on stderr says what to change"),
    (str(INTERRUPTED), "stopped with Ctrl-C"),
)


class Application(click.Group):
    """A group of commands that ends every failure with one line and its exit code."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and exit codes below the commands."""
        write_examples(formatter, EXAMPLES)
        with formatter.section("Exit codes"):
            formatter.write_dl(EXIT_CODES)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what it raises into a message on stderr and an exit code."""
        for stream in (sys.stdout, sys.stderr):
            # Ids and labels may hold characters that the terminal's encoding has no place for.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            click.echo("\nStopped.", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            raise _explained(error) from error


class _BadInput(click.ClickException):
    exit_code = 2


def _explained(error: Exception) -> click.ClickException:
    """Return the one-line message: exit code 2 for what the user can mend, else 1."""
    from graphclean.issues import printable
    from graphclean.types import InputError, MissingDependencyError

    if isinstance(error, (InputError, MissingDependencyError)):
        return _BadInput(printable(str(error)))
    text = printable(f"{type(error).__name__}: {error}")
    if isinstance(error, OSError):
        return click.ClickException(text)
    return click.ClickException(
        f"unexpected {text} (run 'graphclean --debug ...' for the traceback, and please report it)"
    )


@click.group(
    cls=Application,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--debug", is_flag=True, envvar="GRAPHCLEAN_DEBUG", help="Show the traceback of an error."
)
@click.version_option(__version__, "-V", "--version", prog_name="graphclean")
def main(debug: bool) -> None:
    """Find, explain, repair and train through wrong node labels in graphs.

    GRAPHCLEAN_DATA names the folder of raw files of named graphs; GRAPHCLEAN_DEBUG=1 stands
    for --debug.
    """


for _command in (bench, clean, convert, denoise, noise, listing, predict, report, stack, train):
    main.add_command(_command)
