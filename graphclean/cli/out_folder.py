"""The folder that a command writes to: checked before the work starts, each file whole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

out_path = click.Path(file_okay=False, path_type=Path)


def prepare_folder(folder: Path, names: Sequence[str], inputs: Iterable[Path]) -> None:
    """Make the folder and see that it can be written to and would overwrite no input.

    Args:
        folder: The folder to make.
        names: Every file the command may write there.
        inputs: The user's own files.

    Raises:
        InputError: The folder cannot be made or written to, or an input has one of the names.
    """
    from graphclean.types import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError("--out", str(folder), f"It cannot be written to: {error}") from error
    for path in inputs:
        for name in names:
            target = folder / name
            if target.exists() and path.exists() and target.samefile(path):
                raise InputError(
                    "--out", str(folder), f"Its {name} is the input: choose another folder."
                )


def remove_stale(folder: Path, names: Iterable[str], written: Iterable[str]) -> None:
    """Remove what an earlier run of the command left under names that were not written now."""
    for name in set(names) - set(written):
        (folder / name).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, whole or not at all."""
    from graphclean.issues import write_atomic

    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, text.encode())


def write_csv(path: Path, table: Any) -> None:
    """Write a pandas table without its index, whole or not at all."""
    from graphclean.issues import write_atomic

    write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())
