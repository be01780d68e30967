"""Recipes: what the folders ``models/`` and ``datasets/`` say, read from the wheel or the checkout.

A model recipe is one TOML file per method (class, settings per dataset, search space, published
and reproduced scores); a dataset card is one TOML file per graph (loader, source, licence,
checksums, splits, statistics, known issues). Both are data: no code runs when they are read.
"""

from __future__ import annotations

import difflib
import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from graphclean.types import InputError

Kind = Literal["models", "datasets"]

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "models": ("name", "family", "class", "summary"),
    "datasets": ("name", "title", "loader", "source", "licence", "splits"),
}
"""The keys each kind of recipe must have: non-empty strings all."""

SPLITS = ("none", "public", "train only", "train and test", "5 splits", "10 splits", "20 splits")
"""What the key ``splits`` of a dataset card may say about the masks that come with the graph."""


@dataclass(frozen=True)
class Recipe:
    """One recipe file.

    Args:
        kind: ``"models"`` or ``"datasets"``.
        name: The recipe's own name, as written in the file.
        path: Where the file lies.
        content: The parsed TOML.
    """

    kind: Kind
    name: str
    path: Path
    content: Mapping[str, Any]

    @property
    def family(self) -> str:
        """The kind of method (``"detector"``, ``"noise"``, ...); ``"dataset"`` for cards."""
        return str(self.content["family"]) if self.kind == "models" else "dataset"

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that find this recipe."""
        return tuple(self.content.get("aliases", ()))

    @property
    def summary(self) -> str:
        """One line that says what this is."""
        return str(self.content["summary" if self.kind == "models" else "title"])


@dataclass(frozen=True)
class RawFile:
    """One raw file of a graph: its path below the card's folder and, where known, its SHA-256."""

    path: str
    sha256: str | None


@dataclass(frozen=True)
class DatasetCard(Recipe):
    """A dataset card with typed access to what the loaders need."""

    @property
    def loader(self) -> str:
        """Dotted path of the PyG dataset class, or of the function, that builds the graph."""
        return str(self.content["loader"])

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the loader (without ``root``)."""
        return dict(self.content.get("kwargs", {}))

    @property
    def folder(self) -> str:
        """Folder below the data root that holds this loader's files."""
        return str(self.content.get("folder", "."))

    @property
    def raw(self) -> tuple[RawFile, ...]:
        """Every raw file the loader reads; empty for graphs that need no file."""
        return tuple(RawFile(f["path"], f.get("sha256")) for f in self.content.get("raw", ()))

    @property
    def format(self) -> str | None:
        """``"gnn-benchmark"`` for ``.npz`` files that are read sparse, without the loader."""
        found = self.content.get("format")
        return None if found is None else str(found)

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in the order of the label ids, or None where they are not known."""
        names = self.content.get("class_names")
        return None if names is None else [str(name) for name in names]

    @property
    def splits(self) -> str:
        """Which masks come with the graph; one of `SPLITS`."""
        return str(self.content["splits"])

    @property
    def statistics(self) -> dict[str, Any]:
        """Known counts: nodes, edges, features, classes, edge_homophily."""
        return dict(self.content.get("statistics", {}))

    @property
    def known_issues(self) -> tuple[str, ...]:
        """What a careful user should know before trusting the labels or the graph."""
        return tuple(self.content.get("known_issues", ()))


def list_recipes(kind: Kind, family: str | None = None) -> list[Recipe]:
    """Return every recipe of ``kind`` (and ``family``), sorted by family and name.

    Dataset cards are `DatasetCard` objects and have the family ``"dataset"``.

    Raises:
        InputError: If ``kind`` is unknown, a file is not valid TOML, a required key is missing,
            or two recipes of one family claim the same name.
    """
    recipes = [_read(kind, path) for path in sorted(_folder(kind).glob("*.toml"))]
    owners: dict[tuple[str, str], Recipe] = {}
    for recipe in recipes:
        for name in (recipe.name, *recipe.aliases):
            other = owners.setdefault((recipe.family, _key(name)), recipe)
            if other is not recipe:
                raise InputError(
                    recipe.path.name, f"the name {name!r} belongs to {other.path.name}", "Rename."
                )
    chosen = [recipe for recipe in recipes if family in (None, recipe.family)]
    return sorted(chosen, key=lambda recipe: (recipe.family, _key(recipe.name)))


def get_recipe(kind: Kind, name: str, family: str | None = None) -> Recipe:
    """Return the recipe called ``name``; case, ``-``, ``_`` and spaces do not matter.

    A name that several families use is found as ``"<family>-<name>"`` or with ``family``.

    Raises:
        InputError: If there is none (the message lists near matches and all names) or several.
    """
    if not isinstance(name, str):
        raise InputError("name", name, f"Pass the name of one of the {kind} as a string.")
    recipes = list_recipes(kind, family)
    found: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        long = f"{recipe.family}-{recipe.name}"
        for key in dict.fromkeys(_key(n) for n in (recipe.name, long, *recipe.aliases)):
            found.setdefault(key, []).append(recipe)
    matches = found.get(_key(name), [])
    if len(matches) == 1:
        return matches[0]
    if matches:
        longer = " or ".join(f"{recipe.family}-{recipe.name}" for recipe in matches)
        raise InputError("name", f"{name!r} is the name of several {kind}", f"Choose {longer}.")
    close = difflib.get_close_matches(_key(name), found, n=3)
    nearest = dict.fromkeys(recipe.name for match in close for recipe in found[match])
    hint = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    known = ", ".join(dict.fromkeys(recipe.name for recipe in recipes)) or "none"
    raise InputError("name", name, f"{hint}Known {kind}: {known}.")


def load_object(dotted: str) -> Any:
    """Import what a recipe points to, such as ``"torch_geometric.datasets.Planetoid"``.

    Raises:
        InputError: If the module or the name in it does not exist.
    """
    module, _, attribute = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            "dotted path", dotted, f"It cannot be imported here ({error}). Upgrade its package."
        ) from error


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _folder(kind: str) -> Path:
    if kind not in REQUIRED:
        raise InputError("kind", kind, "Choose 'models' or 'datasets'.")
    package = Path(str(resources.files("graphclean")))
    for folder in (package / "recipes_data" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"The recipes '{kind}' are neither in {package / 'recipes_data'} nor in {package.parent}. "
        "Reinstall graphclean."
    )


def _read(kind: Kind, path: Path) -> Recipe:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(path.name, f"not valid TOML: {error}", "Correct the file.") from error
    for key in REQUIRED[kind]:
        value = content.get(key)
        if not isinstance(value, str) or not value.strip():
            raise InputError(
                path.name, f"{key} = {value!r}", f"Set the key '{key}' to a non-empty string."
            )
    name = _key(content["name"])
    if _key(path.stem) not in (name, _key(f"{content.get('family', '')}-{name}")):
        raise InputError(
            path.name,
            f"name = {content['name']!r}",
            f"Name it as its file: {path.stem!r} (a family before the name may stay away).",
        )
    if kind == "models":
        return Recipe(kind, content["name"], path, content)
    if content["splits"] not in SPLITS:
        raise InputError(
            path.name, f"splits = {content['splits']!r}", f"Choose one of: {', '.join(SPLITS)}."
        )
    return DatasetCard(kind, content["name"], path, content)
