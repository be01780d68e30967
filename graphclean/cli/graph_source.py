"""Where a graph comes from: the options every command shares, and reading what they name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

SPLITS = ("public", "random", "fractions", "all")

_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--graph",
        type=click.Path(path_type=Path),
        help="Graph in one file, .npz or .graphml, or a folder that graphclean convert wrote, "
        "which goes with --nodes.",
    ),
    click.option("--nodes", type=_FILE, help="Table of nodes: .csv, .tsv or .parquet."),
    click.option("--edges", type=_FILE, help="Table of edges that goes with --nodes."),
    click.option("--label", metavar="COLUMN", help="Column of the nodes with the given labels."),
    click.option("--id", metavar="COLUMN", help="Column of the nodes with their ids."),
    click.option("--source", metavar="COLUMN", help="Column of the edges: first end."),
    click.option("--target", metavar="COLUMN", help="Column of the edges: second end."),
    click.option("--weight", metavar="COLUMN", help="Column of the edges: weight."),
    click.option(
        "--feature",
        "features",
        metavar="COLUMN",
        multiple=True,
        help="Column of the nodes to learn from; may be repeated. Default: all others.",
    ),
    click.option(
        "--root",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the raw files of a named graph. Default: $GRAPHCLEAN_DATA.",
    ),
)


@dataclass(frozen=True)
class GraphSource:
    """What the command line says about the graph, as written."""

    name: str | None
    graph: Path | None
    nodes: Path | None
    edges: Path | None
    label: str | None
    id: str | None
    source: str | None
    target: str | None
    weight: str | None
    features: tuple[str, ...]
    root: Path | None

    @property
    def given(self) -> bool:
        """Whether anything is said about a graph."""
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def files(self) -> list[Path]:
        """The user's own files that are read."""
        return [path for path in (self.graph, self.nodes, self.edges) if path is not None]

    def read(self) -> Any:
        """Return the graph as PyG ``Data``.

        Raises:
            click.UsageError: As `check` does.
            InputError: The graph cannot be read.
        """
        self.check()
        from graphclean.data import load, read_graph

        if self.name is not None:
            return load(self.name, self.root)
        path, nodes = (self.graph, self.nodes) if self.graph else (self.nodes, None)
        assert path is not None
        return read_graph(
            path,
            self.label,
            nodes=nodes,
            edges=self.edges,
            id=self.id,
            source=self.source,
            target=self.target,
            weight=self.weight,
            features=list(self.features) or None,
        )

    def check(self) -> None:
        """Refuse no graph, more than one, or options that do not go with it.

        Raises:
            click.UsageError: What to change.
            InputError: A folder of edges without a table of labels.
        """
        kinds = {"a name": self.name, "--graph": self.graph, "--nodes": self.nodes}
        found = [kind for kind, value in kinds.items() if value is not None]
        folder = self.graph is not None and self.graph.is_dir()
        if len(found) != 1 and not (folder and self.name is None):
            said = f"Got {' and '.join(found)}: choose one." if found else "No graph given."
            raise click.UsageError(
                f"{said} Name a graph (graphclean list datasets), or pass --graph FILE, "
                "or --nodes FILE --edges FILE --label COLUMN, "
                "or --graph FOLDER --nodes FILE --label COLUMN."
            )
        columns = ("edges", "label", "id", "source", "target", "weight", "features")
        unused = columns if self.name else ("root",)
        for option in unused:
            if getattr(self, option):
                written = "feature" if option == "features" else option
                raise click.UsageError(f"--{written} does not go with {found[0]}.")
        if self.graph is not None and self.edges is not None:
            raise click.UsageError("--edges goes with --nodes, not with --graph.")
        edges_only = self.name or (None if self.nodes else self.graph)
        if edges_only is not None and Path(edges_only).is_dir():
            _refuse_edges_only(edges_only)


def _refuse_edges_only(folder: str | Path) -> None:
    """Say where labels come from if this is a converted graph, which has none."""
    from graphclean.data.converted import is_converted
    from graphclean.types import InputError

    if is_converted(folder):
        raise InputError(
            "labels",
            f"{folder} has none, only edges",
            f"Pass --graph {folder} --nodes FILE --label COLUMN (and --id COLUMN).",
        )


def graph_options(command: _Command) -> _Command:
    """Add the shared options; the command receives them as one ``GraphSource`` named ``graph``.

    The command declares ``name`` itself: an argument or an option.
    """

    @functools.wraps(command)
    def collected(*args: Any, **options: Any) -> Any:
        parts = {field.name: options.pop(field.name) for field in fields(GraphSource)}
        return command(*args, graph=GraphSource(**parts), **options)

    for option in reversed(_OPTIONS):
        option(collected)
    return cast(_Command, collected)


split_option = click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Masks to make first. Default: those of the graph.",
)


def with_split(data: Any, split: str | None, seed: int) -> Any:
    """Return the graph with the masks asked for."""
    if split is None:
        return data
    from graphclean.data import split as make_split

    return make_split(data, split, random_state=seed)  # type: ignore[arg-type]
