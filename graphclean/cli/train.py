"""``graphclean train``: a classifier in spite of wrong labels, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from graphclean.cli.examples import ExampleCommand, command_line
from graphclean.cli.graph_source import GraphSource, graph_options, split_option, with_split
from graphclean.cli.out_folder import out_path, prepare_folder, write_csv, write_json
from graphclean.cli.settings import check_params, set_option
from graphclean.cli.show import facts_line, graph_facts
from graphclean.cli.stage_clock import StageClock
from graphclean.stages import listen, stage

FILES = ("model.safetensors", "model.json", "predictions.csv", "train.json")

ELSEWHERE = {"random_state": "--seed", "progress": "--quiet"}
_UNRECORDED = ("out", "quiet", "root")
"""Options that change neither the model nor its predictions: equal runs write equal files."""

_JUDGED = {
    "validation_given": "Validation accuracy: {} of {:,} nodes, by given labels (may be wrong)",
    "test_given": "Test accuracy: {} of {:,} nodes, by given labels (may be wrong)",
    "test_clean": "Test accuracy: {} of {:,} nodes, by true labels (y_clean)",
}


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean train cora --seed 0 --out model/",
        "graphclean train cora --method erase --set steps=4 --out model/",
        "graphclean train --graph noisy/noisy.npz --method co_teaching --split random --out model/",
        "graphclean train --nodes n.csv --edges e.csv --label topic --method gcn --out model/",
    ),
)
@click.argument("name", required=False)
@graph_options
@split_option
@click.option(
    "--method",
    metavar="NAME",
    help="See: graphclean list trainers, graphclean list classifiers. Default: the one that "
    "graphclean.train takes.",
)
@set_option("method")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=out_path, required=True, help="Folder to write to.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def train(
    ctx: click.Context,
    graph: GraphSource,
    split: str | None,
    method: str | None,
    settings: dict[str, Any],
    seed: int,
    out: Path,
    quiet: bool,
) -> None:
    """Train a node classifier through wrong labels.

    Learns from the training rows (of a graph without masks: all labelled nodes). Validation rows
    choose the epoch by their given labels. Labels of test rows and true ones are read to score the
    result, and for nothing else.

    Writes the model (model.safetensors and model.json, for graphclean predict and
    graphclean.load_model), predictions.csv (every node: role, given and predicted label,
    confidence) and train.json (method, parameters, rows, accuracies).
    """
    from graphclean.robust import DEFAULT_TRAINER
    from graphclean.robust.default import method_class, resolve_trainer
    from graphclean.robust.default import train as fit

    graph.check()
    method = DEFAULT_TRAINER if method is None else method
    check_settings(method_class(method), settings)
    trainer = resolve_trainer(method, seed, settings)
    trainer.check_parameters()

    clock = StageClock(lambda line: None if quiet else click.echo(line, err=True))
    with listen(clock):
        with stage("Reading the graph"):
            data, roles = graph_and_roles(graph, split, seed)
        prepare_folder(out, FILES, graph.files)
        with stage(f"Training with {method}"):
            model = fit(data, trainer, progress=not quiet)
        probs = model.predict_proba(data)
        scores = accuracies(data, probs.argmax(dim=1), roles)
        with stage(f"Writing to {out}"):
            write_model(out, model, data, probs, roles)
            record: dict[str, Any] = {
                "command": command_line(ctx, _UNRECORDED),
                "graph": graph_facts(data),
                "method": method,
                "params": settings,
                "seed": seed,
                "rows": {role: int(mask.sum()) for role, mask in roles.items()},
                "accuracy": scores,
            }
            write_json(out / "train.json", record)
    lines = [facts_line(record["graph"]), _described(method, model, record)]
    lines += judged_lines(scores)
    click.echo("\n".join([*lines, f"Wrote {', '.join(FILES)} to {out}"]))
    if not quiet:
        click.echo(clock.summary(), err=True)


def predictions(data: Any, probs: Any, names: Sequence[str] | None) -> Any:
    """Return a table of all nodes: id, row, given and predicted label, confidence in the latter.

    Args:
        data: A checked graph; nodes without a label have an empty one in the table.
        probs: Class probabilities ``[N, C]``.
        names: Names of the C classes; None for their numbers.
    """
    import pandas as pd

    from graphclean.data import class_names, node_ids

    own = class_names(data)
    names = [str(number) for number in range(probs.shape[1])] if names is None else names
    confidence, best = probs.max(dim=1)
    return pd.DataFrame(
        {
            "node_id": node_ids(data),
            "node": range(len(probs)),
            "given_label": [own[code] if code >= 0 else "" for code in data.y.tolist()],
            "predicted_label": [names[code] for code in best.tolist()],
            "confidence": confidence.tolist(),
        }
    )


def write_model(out: Path, model: Any, data: Any, probs: Any, roles: dict[str, Any]) -> None:
    """Write a fitted model and predictions.csv: all nodes, and what each was used for."""
    from graphclean.nn import save_model

    save_model(model, out)
    table = predictions(data, probs, model.class_names_)
    table.insert(2, "role", role_names(roles, len(table)))
    write_csv(out / "predictions.csv", table)


def accuracies(data: Any, predicted: Any, roles: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the share of right predictions on validation and test rows, and how many these are.

    Validation rows are judged by given labels; test rows by given ones and, where the graph
    remembers them, by true ones. What has no such row is left out.
    """
    from graphclean.evaluate import label_accuracy

    truths = {"validation_given": data.y, "test_given": data.y}
    if getattr(data, "y_clean", None) is not None:
        truths["test_clean"] = data.y_clean
    found = {}
    for key, truth in truths.items():
        rows = roles.get(key.partition("_")[0])
        if rows is not None and bool((rows & (truth >= 0)).any()):
            rows = rows & (truth >= 0)
            score = label_accuracy(predicted[rows], truth[rows])
            found[key] = {"accuracy": score, "nodes": int(rows.sum())}
    return found


def role_names(roles: dict[str, Any], nodes: int) -> Any:
    """Return what every node was used for ``[N]``: a key of ``roles``, or nothing."""
    import numpy as np

    names = np.full(nodes, "", dtype=object)
    for role, mask in roles.items():
        names[mask.numpy()] = role
    return names


def judged_lines(scores: dict[str, dict[str, float]]) -> list[str]:
    """Return a line on every score of `accuracies`."""
    return [_JUDGED[key].format(f"{s['accuracy']:.1%}", s["nodes"]) for key, s in scores.items()]


def graph_and_roles(graph: GraphSource, split: str | None, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return the checked graph and the rows ``[N]`` of every role: train, validation, test."""
    from graphclean.data import check
    from graphclean.robust.default import training_rows

    data = check(with_split(graph.read(), split, seed))
    rows, validation = training_rows(data)
    masks = {"train": rows, "validation": validation, "test": getattr(data, "test_mask", None)}
    return data, {role: mask.view(-1) for role, mask in masks.items() if mask is not None}


def check_settings(
    method: type[Any], settings: dict[str, Any], elsewhere: dict[str, str] = ELSEWHERE
) -> None:
    """Refuse parameters that have an option of their own, and values of the wrong type.

    Raises:
        InputError: One of these.
    """
    from graphclean.types import InputError

    for name, option in elsewhere.items():
        if name in settings:
            raise InputError(f"--set {name}", settings[name], f"Use {option}.")
    check_params(method, settings)


def _described(method: str, model: Any, record: dict[str, Any]) -> str:
    """Return one line on the training."""
    rows = record["rows"]
    parts = [f"{method}: {rows['train']:,} training nodes"]
    if "validation" in rows:
        parts.append(f"{rows['validation']:,} validation nodes")
    parts.append(f"seed {record['seed']}")
    fitted = getattr(model, "model_", model)
    if hasattr(fitted, "best_epoch_"):
        parts.append(f"epoch {fitted.best_epoch_} of {len(fitted.history_['loss'])} kept")
    return ", ".join(parts)
