"""Named graphs, through their cards in ``datasets/``, and converted ones by their folder."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import cast

import torch
from torch_geometric.data import Data

from graphclean.data.check_labels import checked_labels
from graphclean.data.converted import from_converted, is_converted
from graphclean.data.npz import read_gnn_benchmark
from graphclean.data.raw_files import raw_folder, read_raw
from graphclean.data.splits import SplitKind
from graphclean.data.splits import split as make_split
from graphclean.recipes import DatasetCard, get_recipe, list_recipes, load_object
from graphclean.types import InputError, Seed


def list_datasets() -> list[DatasetCard]:
    """Return the cards of all named graphs, sorted by name."""
    return [cast(DatasetCard, recipe) for recipe in list_recipes("datasets")]


def load(
    name: str | Path,
    root: str | Path | None = None,
    *,
    split: SplitKind | None = None,
    random_state: Seed = 0,
) -> Data:
    """Load a named graph, such as ``"cora"`` or the bundled ``"digits"``, or a converted one.

    The graph comes as its authors published it and PyG reads it (edges as they are, features dense
    or, where large and sparse, ``torch.sparse_csr``), with three additions: labels that
    the source does not contain are -1 (stand-ins for "unknown", or filled in by a reader: see the
    card's ``known_issues``), ``data.class_names`` and ``data.name``. Where the source
    has a table of numbers, categories and gaps it is kept in ``data.node_frame``. Raw files are
    read where they lie and nothing is written beside them; processed graphs are not cached.

    The path of a folder that ``graphclean convert`` wrote gives its edges, to set ``x`` and ``y``
    on; `read_graph` takes them from a table of nodes.

    Args:
        name: Name of a card (case, ``-`` and ``_`` do not matter), or the path of a folder.
        root: Folder of raw files, ``<root>/<PyG class>/...``; default ``$GRAPHCLEAN_DATA``, then
            the user's cache folder, into which missing files are downloaded.
        split: Masks to make with `graphclean.data.split`; default those that come with the graph.
        random_state: Seed of the split.

    Raises:
        InputError: If no card has this name, or raw files are missing (the message says which and
            where they were looked for) or damaged.
    """
    if is_converted(name):
        if root is not None:
            raise InputError("root", str(root), "Leave it out: it goes with a named graph.")
        data = from_converted(name)
        return data if split is None else make_split(data, split, random_state=random_state)
    card = cast(DatasetCard, get_recipe("datasets", str(name)))
    folder = raw_folder(card, root) if card.raw else None
    if card.format == "gnn-benchmark" and folder is not None:
        data = read_gnn_benchmark(folder / card.raw[0].path)
    elif inspect.isclass(load_object(card.loader)):
        data = read_raw(card, folder)
    else:
        where = () if folder is None else (folder,)
        data = load_object(card.loader)(*where, **card.kwargs)
    data = _labelled(card, data)
    return data if split is None else make_split(data, split, random_state=random_state)


def _labelled(card: DatasetCard, data: Data) -> Data:
    """Set the name, the class names and -1 where the source has no label."""
    notes: list[str] = []
    data.name = card.name
    unknown = torch.tensor(card.content.get("unlabelled_classes", []), dtype=torch.long)
    content = card.content.get("unlabelled_without_first_features")
    y = torch.as_tensor(data.y).view(-1)
    made_up = torch.isin(y, unknown.to(y.dtype))
    if content is not None:
        made_up |= ~_any_of_first(data.x, content) & ~_in_any_mask(data)
    data.y = torch.where(made_up, torch.full_like(y, -1), y)
    if made_up.any():
        notes.append(f"{int(made_up.sum())} labels that the source does not contain were removed")
    if card.class_names is not None:
        data.class_names = card.class_names
    data.y, data.class_names = checked_labels(data, data.num_nodes, True, notes)
    data.check_notes = notes
    return data


def _any_of_first(x: torch.Tensor, columns: int) -> torch.Tensor:
    """Return which rows have a non-zero entry among the first columns, bool ``[N]``."""
    if x.layout == torch.strided:
        return x[:, :columns].ne(0).any(dim=1)
    row, col = x.to_sparse(layout=torch.sparse_coo).coalesce().indices()
    found = torch.zeros(x.shape[0], dtype=torch.bool)
    found[row[col < columns]] = True
    return found


def _in_any_mask(data: Data) -> torch.Tensor:
    found: torch.Tensor = data.train_mask | data.val_mask | data.test_mask
    return found
