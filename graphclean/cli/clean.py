"""``graphclean clean``: find wrong labels, show them, write the cleaned graph and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from graphclean.cli import show
from graphclean.cli.examples import ExampleCommand, command_line
from graphclean.cli.graph_source import GraphSource, graph_options, split_option, with_split
from graphclean.cli.jobs import jobs_option
from graphclean.cli.noise import inject, protocol_option
from graphclean.cli.out_folder import out_path, prepare_folder
from graphclean.cli.results import FILES, write_cleaned, write_issues
from graphclean.cli.settings import check_params, set_option
from graphclean.cli.stage_clock import StageClock
from graphclean.stages import listen, stage

_ELSEWHERE = {
    "classifier": "--classifier",
    "n_folds": "--folds",
    "n_jobs": "--jobs",
    "progress": "--quiet",
    "random_state": "--seed",
}
_UNRECORDED = ("out", "top", "as_json", "quiet", "jobs", "root")
"""Options that change neither the issues nor the cleaned graph: equal runs write equal files."""


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean clean digits --noise confusion:0.1 --seed 0 --out out/demo",
        "graphclean clean cora --action relabel --min-confidence 0.7 --out out/cora",
        "graphclean clean cora --fdr 0.1 --out out/cora",
        "graphclean clean cora --detector self_confidence --budget 200 --action none",
        "graphclean clean --nodes n.csv --edges e.csv --label topic --id paper --out out/",
        "graphclean clean --graph graph.csr --nodes nodes.parquet --label topic --out out/",
        "graphclean clean --graph graph.npz --detector confident_learning --classifier gcn",
        "graphclean clean cora --noise pair:0.1 --protocol graphcleaner --split public "
        "--set mode=paper",
        "graphclean clean digits --detector self_confidence --classifier sgc "
        "--set classifier__hops=3 --json",
    ),
)
@click.argument("name", required=False)
@graph_options
@split_option
@click.option(
    "--detector",
    metavar="NAME",
    default="graphcleaner",
    show_default=True,
    help="See: graphclean list detectors.",
)
@click.option(
    "--classifier",
    metavar="NAME",
    help="Base learner, see: graphclean list classifiers. Default: the detector's own.",
)
@set_option("detector, or as classifier__NAME=VALUE of --classifier")
@click.option("--folds", type=click.IntRange(min=2), help="Folds of the out-of-sample predictions.")
@click.option(
    "--noise",
    metavar="KIND[:RATE]",
    help="Inject synthetic mislabels first, such as pair:0.1, and score the detector on them.",
)
@protocol_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@jobs_option(default=-1)
@click.option(
    "--fdr",
    type=float,
    metavar="SHARE",
    help="Flag as many nodes as possible with at most this expected share of right labels.",
)
@click.option(
    "--budget",
    metavar="N",
    callback=lambda ctx, param, value: _number(value),
    help="Flag the N most suspicious nodes, or that share of them if N is below 1.",
)
@click.option(
    "--action",
    type=click.Choice(["drop", "relabel", "soft", "weight", "none"]),
    default="drop",
    show_default=True,
    help="Repair: unlabel flagged nodes, relabel them where confident enough, write soft labels "
    "or sample weights, or nothing.",
)
@click.option("--min-confidence", type=float, help="relabel: least confidence in the new label.")
@click.option("--min-gain", type=float, help="relabel: least expected gain in right labels.")
@click.option("--out", type=out_path, help="Folder for issues, cleaned graph and report.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Worst nodes to show here and in the report.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout instead of the tables.")
@click.option("--quiet", is_flag=True, help="No progress and no notes on stderr.")
@click.pass_context
def clean(
    ctx: click.Context,
    graph: GraphSource,
    split: str | None,
    detector: str,
    classifier: str | None,
    settings: dict[str, Any],
    folds: int | None,
    noise: str | None,
    protocol: str | None,
    seed: int,
    jobs: int,
    fdr: float | None,
    budget: float | int | None,
    action: str,
    min_confidence: float | None,
    min_gain: float | None,
    out: Path | None,
    top: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the wrong labels of a graph and repair them.

    NAME is a named graph (graphclean list datasets); your own graph comes with --graph, or with
    --nodes, --edges and --label (of a converted one: --graph, --nodes and --label). With --out,
    writes issues.csv, issues.parquet, summary.json, transition.csv, the cleaned graph
    (cleaned.npz; of tables also cleaned_nodes.csv and, with --edges, cleaned_edges.csv) and
    report.html. Without it, only shows what it finds.
    """
    say = _silent if quiet else _to_stderr
    gate = {"min_confidence": min_confidence, "min_gain": min_gain}
    graph.check()
    _check_options(action, gate, noise, protocol)
    params = _detector_params(detector, settings, classifier, folds)
    flagging = {"fdr": fdr, "budget": budget}
    _check_flagging(detector, params, flagging)

    clock = StageClock(say)
    with listen(clock):
        with stage("Reading the graph"):
            data = with_split(graph.read(), split, seed)
        if out is not None:
            prepare_folder(out, FILES, graph.files)
        injected = None
        if noise is not None:
            with stage(f"Injecting mislabels: {noise}"):
                data, injected = _inject(data, noise, protocol, seed)
        from graphclean.detect import find_label_issues
        from graphclean.issues import printable

        with stage(f"Looking for wrong labels with {detector}"):
            issues = find_label_issues(
                data,
                detector,
                random_state=seed,
                n_jobs=jobs,
                progress=not quiet,
                **flagging,
                **params,
            )
        issues = _with_record(issues, command_line(ctx, _UNRECORDED), injected)
        for note in issues.meta["notes"]:
            say(f"Note: {printable(note)}")
        plan, cleaned = _repair(data, issues, action, gate)
        found = show.Result(data, issues, injected, plan, _evaluated(issues, data, cleaned))
        if not as_json:
            click.echo(found.text(top))
        files: list[str] = []
        if out is not None:
            with stage(f"Writing to {out}"):
                files = write_issues(out, found, top) + write_cleaned(out, graph, cleaned)
    say(clock.summary())
    if as_json:
        written = {"out": None if out is None else str(out), "files": files}
        click.echo(json.dumps({**found.to_dict(top), **written}, indent=2, allow_nan=False))
    elif out is not None:
        click.echo(f"\nWrote to {out}: {', '.join(files)}\nReport: {out / 'report.html'}")


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


def _silent(line: str) -> None:
    """Say nothing."""


def _check_options(
    action: str, gate: dict[str, float | None], noise: str | None, protocol: str | None
) -> None:
    """Refuse what does not go together before anything is computed."""
    if protocol is not None and noise is None:
        raise click.UsageError("--protocol goes with --noise.")
    if action != "relabel":
        for name, value in gate.items():
            if value is not None:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} goes with --action relabel, not {action}."
                )
        return
    from graphclean.denoise.plan import check_policy

    check_policy(action, **gate)


def _detector_params(
    detector: str, settings: dict[str, Any], classifier: str | None, folds: int | None
) -> dict[str, Any]:
    """Return the detector's parameters by name, checked as far as the command line can."""
    from graphclean.detect import Detector
    from graphclean.nn import NodeClassifier
    from graphclean.types import InputError

    mine = {k: v for k, v in settings.items() if not k.startswith("classifier__")}
    theirs = {k.removeprefix("classifier__"): v for k, v in settings.items() if k not in mine}
    for name in mine:
        if name in _ELSEWHERE:
            raise InputError(f"--set {name}", mine[name], f"Use {_ELSEWHERE[name]}.")
    check_params(Detector.registry.get(detector, Detector), mine)
    if classifier is not None:
        check_params(NodeClassifier.registry.get(classifier, NodeClassifier), theirs)
        mine["classifier"] = NodeClassifier.create(classifier, **theirs)
    elif theirs:
        name = next(iter(theirs))
        raise InputError(f"--set classifier__{name}", theirs[name], "Name a --classifier too.")
    if folds is not None:
        mine["n_folds"] = folds
    Detector.create(detector, **mine)
    return mine


def _check_flagging(
    detector: str, params: dict[str, Any], flagging: dict[str, float | int | None]
) -> None:
    """Refuse flags that this detector cannot set before it is run."""
    if any(value is not None for value in flagging.values()):
        from graphclean.detect import Detector
        from graphclean.issues import flag_policy

        flag_policy(**flagging, calibrated=Detector.create(detector, **params).calibrated)


def _inject(data: Any, noise: str, protocol: str | None, seed: int) -> tuple[Any, dict[str, Any]]:
    """Inject noise; a published protocol keeps its own seed, so that its noise map is the known."""
    from graphclean.noise import parse_noise

    model: Any = parse_noise(noise)
    published = protocol is not None or hasattr(model, "seed")
    return inject(data, model.name, model.rate, protocol, None if published else seed)


def _with_record(issues: Any, command: str, injected: dict[str, Any] | None) -> Any:
    """Add the command and the noise to ``meta``."""
    meta = issues.meta
    meta["command"] = command
    if injected is not None:
        keys: Sequence[str] = ("kind", "rate", "protocol", "seed", "flipped", "realised_rate")
        meta["injected_noise"] = {key: injected[key] for key in keys}
    return dataclasses.replace(issues, meta=meta)


def _repair(data: Any, issues: Any, action: str, gate: dict[str, float | None]) -> tuple[Any, Any]:
    """Return the plan of the repair and the repaired graph, None for both without an action."""
    if action == "none":
        return None, None
    from graphclean.denoise import clean, plan_repair

    return plan_repair(issues, action, **gate), clean(data, issues, action, **gate)


def _evaluated(issues: Any, data: Any, cleaned: Any) -> dict[str, float] | None:
    """Score issues and repair where the graph remembers the truth: what was injected above."""
    if getattr(data, "y_clean", None) is None:
        return None
    from graphclean.evaluate import evaluate_issues, repair_effect

    scores = evaluate_issues(issues, data)
    if cleaned is not None and cleaned.cleaning["action"] in ("drop", "relabel"):
        scores |= repair_effect(data.y, cleaned.y, data.y_clean)
    return scores


def _number(text: str | None) -> float | int | None:
    """Return a number of nodes, or a share of them, of what was typed."""
    if text is None:
        return None
    try:
        return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no number.") from error
