from __future__ import annotations

import json

import pytest
from click.testing import Result

from graphclean.cli.listing import KINDS, rows_of
from graphclean.data import list_datasets
from graphclean.detect import Detector
from graphclean.nn import NodeClassifier
from graphclean.noise import NoiseModel
from graphclean.recipes import get_recipe

REGISTRIES = {
    "detectors": Detector.registry,
    "noise": NoiseModel.registry,
    "classifiers": NodeClassifier.registry,
    "datasets": {card.name: card for card in list_datasets()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_registered_is_listed_with_one_line(run, kind: str) -> None:
    result: Result = run("list", kind)
    assert result.exit_code == 0
    heading, *lines = result.stdout.splitlines()
    assert heading == kind
    assert [line.split()[0] for line in lines] == sorted(REGISTRIES[kind])
    for row, line in zip(rows_of(kind), lines, strict=True):
        assert len(row["summary"]) > 10
        assert row["summary"] in line
        assert (row["paper"] or "") in line


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
    }
    recipe = get_recipe("models", "graphcleaner", "detector")
    assert rows["graphcleaner"]["summary"] == recipe.summary
    assert rows["graphcleaner"]["paper"] == recipe.content["paper"]["url"]
