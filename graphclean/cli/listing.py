"""``graphclean list``: what there is, from the registries, the recipes and the dataset cards."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from graphclean.cli.examples import ExampleCommand

FAMILIES = {
    "detectors": "detector",
    "noise": "noise",
    "transitions": "transition",
    "classifiers": "classifier",
    "losses": "loss",
    "denoisers": "denoiser",
    "trainers": "trainer",
    "ensembles": "ensemble",
}
KINDS = (*FAMILIES, "datasets")
_ROOTS = {
    "detectors": "graphclean.detect.Detector",
    "noise": "graphclean.noise.NoiseModel",
    "transitions": "graphclean.noise.TransitionEstimator",
    "classifiers": "graphclean.nn.NodeClassifier",
    "losses": "graphclean.nn.losses.NodeLoss",
    "denoisers": "graphclean.denoise.Denoiser",
    "trainers": "graphclean.robust.RobustTrainer",
    "ensembles": "graphclean.ensemble.EnsembleClassifier",
}
PRICED = ("detectors", "transitions", "denoisers")
"""The kinds whose recipes say what a method needs and what it costs."""

WIDTH, _COLUMN = 100, 28


@click.command(
    "list",
    cls=ExampleCommand,
    examples=(
        "graphclean list",
        "graphclean list detectors",
        "graphclean list datasets --json",
    ),
)
@click.argument("kind", type=click.Choice(KINDS), required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def listing(kind: str | None, as_json: bool) -> None:
    """List what there is: name, one line, paper; of detectors also what they need and cost.

    KIND is one of the nine below; without it, everything is listed. Sizes of named graphs count
    every edge in both directions, as PyG does.
    """
    found = {each: rows_of(each) for each in (KINDS if kind is None else (kind,))}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for position, (heading, rows) in enumerate(found.items()):
        if position:
            click.echo()
        click.echo(click.style(heading, bold=True))
        for row in rows:
            click.echo(_entry(row))


def rows_of(kind: str) -> list[dict[str, Any]]:
    """Return name, summary and paper (a URL or None) of everything of one kind, by name.

    Detectors and transition estimators also say what they need (a list of words) and cost (a
    phrase, None for a method without a recipe).
    """
    from graphclean.recipes import list_recipes

    if kind == "datasets":
        return [_card(recipe.name, recipe.content) for recipe in list_recipes("datasets")]
    recipes = {recipe.name: recipe for recipe in list_recipes("models", FAMILIES[kind])}
    rows = []
    for name, method in sorted(_registry(kind).items()):
        summary, paper = _documented(method)
        if name in recipes:
            summary, paper = recipes[name].summary, _paper(recipes[name].content)
        row: dict[str, Any] = {"name": name, "summary": summary, "paper": paper}
        if kind in PRICED:
            content = recipes[name].content if name in recipes else {}
            row |= {"needs": list(content.get("needs", ())), "cost": content.get("cost")}
        rows.append(row)
    return rows


def _registry(kind: str) -> Mapping[str, type[Any]]:
    from graphclean.recipes import load_object

    found: Mapping[str, type[Any]] = load_object(_ROOTS[kind]).registry
    return found


def _card(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    counts = content.get("statistics", {})
    return {
        "name": name,
        "summary": content["title"],
        "paper": _paper(content),
        "source": content["source"],
        "licence": content["licence"],
        **{key: counts.get(key) for key in ("nodes", "edges", "features", "classes")},
    }


def _paper(content: Mapping[str, Any]) -> str | None:
    found = content.get("paper", {}).get("url")
    return None if found is None else str(found)


def _documented(method: type[Any]) -> tuple[str, str | None]:
    """Return the first line of the docstring in plain text, and the URL it cites."""
    line = (inspect.getdoc(method) or "").partition("\n")[0]
    url = re.search(r"https?://[^\s)]+", line)
    line = re.sub(r",? *https?://[^\s)]+", "", line)
    line = re.sub(r":math:`([^`]*)`", lambda match: match[1].replace("\\", ""), line)
    return line.replace("``", ""), url[0] if url else None


def _entry(row: Mapping[str, Any]) -> str:
    """Return the lines of one method or graph, none wider than a terminal."""
    size = ""
    if row.get("nodes") is not None:
        size = f" ({row['nodes']:,} nodes, {row['classes']} classes)"
    facts = [f"{row['summary']}{size}"]
    if row.get("needs"):
        facts.append(f"needs: {', '.join(row['needs'])}")
    if row.get("cost"):
        facts.append(f"cost: {row['cost']}")
    if row["paper"]:
        facts.append(row["paper"])
    margin = " " * _COLUMN
    lines = [
        line
        for fact in facts
        for line in textwrap.wrap(
            fact, WIDTH - _COLUMN, break_long_words=False, break_on_hyphens=False
        )
    ]
    return f"  {row['name']:<{_COLUMN - 4}}  " + f"\n{margin}".join(lines)
