from __future__ import annotations

import json

import pytest
from click.testing import Result

from graphclean.cli.listing import KINDS, PRICED, rows_of
from graphclean.data import list_datasets
from graphclean.denoise import Denoiser
from graphclean.detect import Detector
from graphclean.ensemble import EnsembleClassifier
from graphclean.nn import NodeClassifier
from graphclean.nn.losses import NodeLoss
from graphclean.noise import NoiseModel, TransitionEstimator
from graphclean.recipes import get_recipe
from graphclean.robust import RobustTrainer

REGISTRIES = {
    "detectors": Detector.registry,
    "noise": NoiseModel.registry,
    "transitions": TransitionEstimator.registry,
    "classifiers": NodeClassifier.registry,
    "losses": NodeLoss.registry,
    "denoisers": Denoiser.registry,
    "trainers": RobustTrainer.registry,
    "ensembles": EnsembleClassifier.registry,
    "datasets": {card.name: card for card in list_datasets()},
}


def entries(text: str) -> dict[str, list[str]]:
    """Return the lines of every entry by its name, the name cut off."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        name, rest = line[:28].strip(), line[28:]
        if name:
            found[name] = []
        found[next(reversed(found))].append(rest)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_everything_registered_is_listed_in_lines_that_fit(run, kind: str) -> None:
    result: Result = run("list", kind)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == kind
    lines = result.stdout.splitlines()
    assert all(len(line) <= 100 for line in lines if "http" not in line)  # a URL stays whole
    found = entries(result.stdout)
    assert list(found) == sorted(REGISTRIES[kind])
    for row in rows_of(kind):
        text = " ".join(found[row["name"]])
        assert len(row["summary"]) > 10
        assert row["summary"] in text
        assert (row["paper"] is None) == ("http" not in text)
        assert (row["paper"] or "") in text


@pytest.mark.parametrize("kind", PRICED)
def test_needs_and_cost_are_those_of_the_recipe(run, kind: str) -> None:
    found = entries(run("list", kind).stdout)
    rows = json.loads(run("list", kind, "--json").stdout)[kind]
    assert [row["name"] for row in rows] == list(found)
    for row in rows:
        content = get_recipe("models", row["name"], kind.removesuffix("s")).content
        assert (row["needs"], row["cost"]) == (content["needs"], content["cost"])
        text = " ".join(found[row["name"]])
        assert f"needs: {', '.join(row['needs'])} cost: {row['cost']}" in text


def test_json_holds_the_same(run) -> None:
    result: Result = run("list", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert {kind: [row["name"] for row in rows] for kind, rows in found.items()} == {
        kind: sorted(names) for kind, names in REGISTRIES.items()
    }
    (cora,) = [row for row in found["datasets"] if row["name"] == "cora"]
    assert (cora["nodes"], cora["classes"], cora["licence"]) == (2708, 7, "MIT")
    assert cora["paper"] == "https://arxiv.org/abs/1603.08861"


def test_summary_and_paper_come_from_the_recipe_else_from_the_docstring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Plugin:
        r"""Weighs :math:`\alpha` neighbours of ``x`` (Doe, https://example.org/paper).

        More.
        """

    monkeypatch.setattr(Detector, "registry", {**Detector.registry, "plugin": Plugin})
    rows = {row["name"]: row for row in rows_of("detectors")}
    assert rows["plugin"] == {
        "name": "plugin",
        "summary": "Weighs alpha neighbours of x (Doe).",
        "paper": "https://example.org/paper",
        "needs": [],
        "cost": None,
    }
    recipe = get_recipe("models", "graphcleaner", "detector")
    assert rows["graphcleaner"]["summary"] == recipe.summary
    assert rows["graphcleaner"]["paper"] == recipe.content["paper"]["url"]
