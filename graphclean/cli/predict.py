"""``graphclean predict``: classes of the nodes of a graph from a saved model."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from graphclean.cli.examples import ExampleCommand
from graphclean.cli.graph_source import GraphSource, graph_options
from graphclean.cli.out_folder import out_path, prepare_folder, write_csv
from graphclean.cli.show import facts_line, graph_facts
from graphclean.cli.train import predictions

FILES = ("predictions.csv",)

_SHOWN = 8


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean predict model/ cora --out predicted/",
        "graphclean predict model/ --graph new.npz --out predicted/",
        "graphclean predict model/ --nodes n.csv --edges e.csv --label topic --out predicted/",
    ),
)
@click.argument("model", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name", required=False)
@graph_options
@click.option("--out", type=out_path, required=True, help="Folder to write to.")
def predict(model: Path, graph: GraphSource, out: Path) -> None:
    """Predict the classes of all nodes of a graph with a saved model.

    MODEL is a folder that graphclean train or graphclean.save_model wrote. The graph is that of the
    training or another one with the same features; its labels, if any, are shown but not read: of
    nodes without labels, leave the column that --label names empty. The numbers in a table are
    standardised over that table, so that a new one should be like the old.

    Writes predictions.csv (every node: given and predicted label, confidence). It tells no
    accuracy: which of the nodes were trained on is not known here.
    """
    from graphclean.data import check
    from graphclean.nn import load_model

    graph.check()
    fitted = load_model(model)
    data = check(graph.read(), require_labels=False)
    _check_features(fitted, data)
    probs = fitted.predict_proba(data)
    prepare_folder(out, FILES, graph.files)
    table = predictions(data, probs, fitted.class_names_)
    write_csv(out / "predictions.csv", table)
    click.echo(facts_line(graph_facts(data)))
    click.echo(_described(fitted.name, table["predicted_label"].value_counts()))
    click.echo(f"Wrote {', '.join(FILES)} to {out}")


def _described(method: str, counts: Any) -> str:
    """Return one line on the classes that were predicted most, from their counts."""
    from graphclean.issues import printable

    shown = [f"{name} {count:,}" for name, count in counts.head(_SHOWN).items()]
    if len(counts) > _SHOWN:
        shown.append(f"{len(counts) - _SHOWN} more classes")
    return printable(f"{method} predicts: {', '.join(shown)}")


def _check_features(fitted: Any, data: Any) -> None:
    """Refuse features of other names, which would be read as those of the training."""
    from graphclean.types import InputError

    learned, given = fitted.feature_names_in_, getattr(data, "feature_names", None)
    if learned is None or given is None:
        return
    for column, (ours, theirs) in enumerate(zip_longest(learned, map(str, given))):
        if ours != theirs:
            raise InputError(
                "data.x",
                f"column {column} is {theirs!r}, in the training it was {ours!r}",
                "Pass a graph with the same features in the same order.",
            )
