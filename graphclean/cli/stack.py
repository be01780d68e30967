"""``graphclean stack``: GNNs and learners of tables stacked, and whether they fool themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphclean.cli.examples import ExampleCommand, command_line
from graphclean.cli.graph_source import GraphSource, graph_options, split_option
from graphclean.cli.jobs import jobs_option
from graphclean.cli.out_folder import out_path, prepare_folder, write_csv, write_json
from graphclean.cli.settings import set_option
from graphclean.cli.show import facts_line, graph_facts, without_nan
from graphclean.cli.stage_clock import StageClock
from graphclean.cli.train import (
    ELSEWHERE,
    accuracies,
    check_settings,
    graph_and_roles,
    judged_lines,
    predictions,
    write_model,
)
from graphclean.stages import listen, stage

FILES = (
    "model.safetensors",
    "model.json",
    "predictions.csv",
    "out_of_fold.csv",
    "scores.csv",
    "stack.json",
)

_ELSEWHERE = ELSEWHERE | {"n_jobs": "--jobs", "estimators": "--member"}
"""Parameters whose option has another name than they."""

_UNRECORDED = ("out", "quiet", "root", "jobs")
_SHOWN = 3


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean stack --nodes n.csv --edges e.csv --label topic --out stacked/",
        "graphclean stack county_election --split fractions --jobs 2 --out stacked/",
        "graphclean stack cora --member gcn --member appnp --member mlp --out stacked/",
        "graphclean stack digits --split random --folds 10 --meta logistic --out stacked/",
    ),
)
@click.argument("name", required=False)
@graph_options
@split_option
@click.option(
    "--member",
    "members",
    metavar="NAME",
    multiple=True,
    help="Learner of the first layer; may be repeated. See: graphclean list classifiers, trainers, "
    "ensembles. Default: boosted trees, MLP, GCN, GraphSAGE, SIGN.",
)
@click.option(
    "--layers",
    "n_layers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Layers of learners; 1: the members alone.",
)
@click.option(
    "--folds",
    "n_folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of folds. How they are drawn: --set folds=stratified, random or community.",
)
@click.option(
    "--repeats",
    "n_repeats",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Repeats of all fits, each with other folds.",
)
@click.option(
    "--consistency",
    type=click.Choice(("fold", "oof", "none")),
    default="fold",
    show_default=True,
    help="What spreads over the graph between layers: predictions of one fold's models (no label "
    "comes back), out-of-fold predictions of all (as published, optimistic), nothing.",
)
@click.option(
    "--meta",
    type=click.Choice(("greedy", "logistic", "boosting", "mean")),
    default="greedy",
    show_default=True,
    help="How the learners of all layers are combined.",
)
@click.option(
    "--hops",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Steps that predictions spread over the graph between layers.",
)
@click.option(
    "--alpha",
    type=float,
    default=0.9,
    show_default=True,
    help="Share of the neighbours in such a step, above 0 and at most 1.",
)
@set_option("stack")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@jobs_option(default=1)
@click.option("--out", type=out_path, required=True, help="Folder to write to.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def stack(
    ctx: click.Context,
    /,
    graph: GraphSource,
    split: str | None,
    members: tuple[str, ...],
    settings: dict[str, Any],
    seed: int,
    jobs: int,
    out: Path,
    quiet: bool,
    **options: Any,
) -> None:
    """Stack GNNs and learners of tables on a graph with columns of any kind.

    Learns from the training rows (of a graph without masks: all labelled nodes) on folds, so that
    every one of them is also judged by models that have not seen its label. Validation rows, or a
    tenth of the training rows, stop the learners early and check the stack: where it does better
    out of fold than there, it warns and falls back to the mean of its members.

    Writes the model (for graphclean predict and graphclean.load_model), predictions.csv (every
    node), out_of_fold.csv (every training node: given label and how probable it is without it,
    least first: the top are likely mislabels), scores.csv (every learner of every layer) and
    stack.json (parameters, rows, accuracies, optimism gap, weights).

    Rows that were held out are not in out_of_fold.csv: --split all --set holdout=0 judges every
    labelled node. To go on: graphclean clean with the same graph flags and repairs wrong labels by
    a detector of its own; in Python, graphclean.find_label_issues(data, "confident_learning",
    pred_probs=graphclean.load_model(folder).stack_oof_) takes these probabilities.
    """
    from graphclean.ensemble import GraphStackingClassifier
    from graphclean.robust.default import train as fit

    graph.check()
    own = {str(each.name): each.opts[0] for each in ctx.command.params if each.name in options}
    check_settings(GraphStackingClassifier, settings, own | _ELSEWHERE)
    params = options | settings
    model = GraphStackingClassifier.create(
        "graph_stacking",
        **params,
        estimators=list(members) or None,
        random_state=seed,
        n_jobs=jobs,
        progress=not quiet,
    )
    model.check_parameters()

    clock = StageClock(lambda line: None if quiet else click.echo(line, err=True))
    with listen(clock):
        with stage("Reading the graph"):
            data, roles = graph_and_roles(graph, split, seed)
        prepare_folder(out, FILES, graph.files)
        with stage("Stacking"):
            model = fit(data, model)
        probs = model.predict_proba(data)
        scores = accuracies(data, probs.argmax(dim=1), roles)
        with stage(f"Writing to {out}"):
            write_model(out, model, data, probs, roles)
            write_csv(out / "out_of_fold.csv", out_of_fold(data, model))
            write_csv(out / "scores.csv", model.scores_)
            record: dict[str, Any] = {
                "command": command_line(ctx, _UNRECORDED),
                "graph": graph_facts(data),
                "members": list(model.store_.names(1)),
                "params": params,
                "seed": seed,
                "rows": {role: int(mask.sum()) for role, mask in roles.items()},
                "accuracy": scores,
                "optimism_gap": model.optimism_gap_,
                "overfits": bool(model.overfits_),
                "fell_back": bool(model.overfits_ and model.fallback),
                "weights": without_nan(model.weights_),
            }
            record = without_nan(record)
            write_json(out / "stack.json", record)
    lines = [facts_line(record["graph"]), *_described(model, record), *judged_lines(scores)]
    click.echo("\n".join([*lines, f"Wrote {', '.join(FILES)} to {out}"]))
    if not quiet:
        click.echo(clock.summary(), err=True)


def out_of_fold(data: Any, model: Any) -> Any:
    """Return a table of the rows of the folds, the least probable given label first."""
    judged = model.fold_id_[0] >= 0
    table = predictions(data, model.stack_oof_, model.class_names_)
    given = data.y.clamp_min(0).unsqueeze(1)
    table["label_quality"] = model.stack_oof_.gather(1, given).squeeze(1).numpy()
    table["fold"] = model.fold_id_[0].numpy()
    found = table[judged.numpy()]
    return found.sort_values("label_quality", kind="stable")


def _described(model: Any, record: dict[str, Any]) -> list[str]:
    """Return lines on the stack: its learners, and whether it fools itself."""
    rows, weights = record["rows"], record["weights"]
    layers, folds = len(model.models_), int(model.fold_id_.max()) + 1
    first = f"Stack of {len(weights)} learners in {layers} layers, {folds} folds"
    lines = [f"{first}, {rows['train']:,} training nodes, seed {record['seed']}"]
    known = {name: weight for name, weight in weights.items() if weight}
    best = sorted(known, key=lambda name: -known[name])[:_SHOWN]
    if best:
        lines.append(f"Most weight: {', '.join(f'{name} {known[name]:.2f}' for name in best)}")
    gap = record["optimism_gap"]
    if gap is not None:
        told = f"Optimism gap: {gap:+.3f} accuracy out of fold against held-out labels"
        if record["overfits"]:
            then = "the plain mean of the members predicts" if record["fell_back"] else "it is kept"
            told = f"{told}; too large for chance: {then}"
        lines.append(told)
    return lines
