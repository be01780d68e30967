from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphclean import recipes
from graphclean.recipes import DatasetCard, get_recipe, list_recipes, load_object
from graphclean.types import InputError

MODEL = 'name = "gcn"\nfamily = "classifier"\nclass = "torch.nn.Linear"\nsummary = "A network."\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recipes, "_folder", lambda kind: tmp_path)
    return tmp_path


def test_reads_a_model_recipe(folder: Path) -> None:
    (folder / "gcn.toml").write_text(MODEL + "[params]\nhidden = 64\n[paper]\nyear = 2016\n")
    (recipe,) = list_recipes("models")
    assert (recipe.kind, recipe.name, recipe.path) == ("models", "gcn", folder / "gcn.toml")
    assert recipe.content["params"] == {"hidden": 64}
    assert recipe.summary == "A network."


@pytest.mark.parametrize("name", ["label-noise", "Label_Noise", " LABEL NOISE ", "noise-of-labels"])
def test_names_ignore_case_and_separators(folder: Path, name: str) -> None:
    text = MODEL.replace("gcn", "label-noise") + 'aliases = ["noise_of_labels"]\n'
    (folder / "label_noise.toml").write_text(text)
    assert get_recipe("models", name).name == "label-noise"


def test_unknown_name_lists_near_matches_and_all_names(folder: Path) -> None:
    (folder / "gcn.toml").write_text(MODEL)
    (folder / "gat.toml").write_text(MODEL.replace("gcn", "gat"))
    with pytest.raises(
        InputError, match=re.escape("name: gcm. Did you mean gcn? Known models: gat, gcn.")
    ):
        get_recipe("models", "gcm")


@pytest.mark.parametrize("key", ["name", "family", "class", "summary"])
@pytest.mark.parametrize("broken", ["absent", "blank", "number"])
def test_a_required_key_is_named(folder: Path, key: str, broken: str) -> None:
    line = next(line for line in MODEL.splitlines() if line.startswith(f"{key} "))
    new = {"absent": "", "blank": f'{key} = " "', "number": f"{key} = 3"}[broken]
    (folder / "gcn.toml").write_text(MODEL.replace(line, new))
    with pytest.raises(InputError, match=f"gcn.toml: {key} = "):
        list_recipes("models")


def test_broken_toml_and_wrong_file_name_are_refused(folder: Path) -> None:
    (folder / "gcn.toml").write_text("name = ")
    with pytest.raises(InputError, match=r"gcn\.toml: not valid TOML"):
        list_recipes("models")
    (folder / "gcn.toml").write_text(MODEL.replace('"gcn"', '"gat"'))
    with pytest.raises(InputError, match="Name it as its file: 'gcn'"):
        list_recipes("models")


def test_two_recipes_cannot_share_a_name(folder: Path) -> None:
    (folder / "gcn.toml").write_text(MODEL)
    (folder / "gat.toml").write_text(MODEL.replace("gcn", "gat") + 'aliases = ["GCN"]\n')
    with pytest.raises(InputError, match=r"the name 'gcn' belongs to gat\.toml"):
        list_recipes("models")


def test_two_families_may_share_a_name(folder: Path) -> None:
    (folder / "gcn.toml").write_text(MODEL)
    (folder / "noise_gcn.toml").write_text(MODEL.replace("classifier", "noise"))
    assert [recipe.family for recipe in list_recipes("models")] == ["classifier", "noise"]
    assert get_recipe("models", "gcn", family="noise").path.name == "noise_gcn.toml"
    assert get_recipe("models", "noise-gcn").family == "noise"
    with pytest.raises(InputError, match="Choose classifier-gcn or noise-gcn"):
        get_recipe("models", "gcn")


def test_an_unknown_kind_and_a_name_that_is_no_string_are_refused() -> None:
    with pytest.raises(InputError, match="Choose 'models' or 'datasets'"):
        list_recipes("papers")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name: 3"):
        get_recipe("datasets", 3)  # type: ignore[arg-type]


def test_the_wheel_comes_before_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "graphclean"
    (tmp_path / "models").mkdir()
    package.mkdir()
    monkeypatch.setattr(recipes.resources, "files", lambda name: package)
    assert recipes._folder("models") == tmp_path / "models"
    (package / "recipes_data" / "models").mkdir(parents=True)
    assert recipes._folder("models") == package / "recipes_data" / "models"
    with pytest.raises(FileNotFoundError, match="Reinstall"):
        recipes._folder("datasets")


def test_load_object_imports_or_says_why_not() -> None:
    assert load_object("pathlib.Path") is Path
    for dotted in ("pathlib.NoSuchThing", "no_such_package.Thing", "justaname"):
        with pytest.raises(InputError, match=dotted):
            load_object(dotted)


def test_every_shipped_recipe_is_valid() -> None:
    cards = list_recipes("datasets")
    assert len(cards) >= 60
    assert all(isinstance(card, DatasetCard) for card in cards)
    assert all(recipe.summary for recipe in list_recipes("models"))
