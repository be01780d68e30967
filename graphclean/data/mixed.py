"""Numbers, categories and gaps: the features of nodes as learners of tables read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from graphclean.data.features import to_scipy
from graphclean.data.frame_columns import column_kind, is_number, levels, numbers
from graphclean.data.neighbour_features import (
    check_statistics,
    neighbour_shares,
    neighbour_statistic,
    undirected,
)
from graphclean.data.structure import STRUCTURE_NAMES, structural_columns
from graphclean.data.text_columns import TextColumns, read_text, svd_basis, text_columns
from graphclean.types import InputError

MAX_SHARES = 20
"""The most levels of a category whose shares among the neighbours are columns."""

MAX_DENSE_BYTES = 2**30
"""Sparse features that would take more than this as dense float32 are not spread out."""

_LARGEST = float(np.finfo(np.float32).max)


class TableLayout(TypedDict):
    """Which columns a table has and how they are made: numbers, strings and arrays only.

    Attributes:
        source: ``"node_frame"`` or ``"x"``.
        numbers: Columns of the frame that are read as numbers.
        categories: Categories of the frame, each with its most frequent levels.
        texts: Columns of text, each with its words and their basis.
        width: Number of columns of ``x``; 0 where the frame is read.
        basis: ``[F, k]``, what ``x`` is multiplied with; None where it is read as it is.
    """

    source: str
    numbers: list[str]
    categories: dict[str, list[str]]
    texts: dict[str, TextColumns]
    width: int
    basis: np.ndarray | None


@dataclass(frozen=True, eq=False)
class MixedTable:
    """One row a node: numbers and categories, both with gaps.

    Attributes:
        numeric: Float32 ``[N, P]``, NaN = missing.
        numeric_names: ``P`` names.
        categorical: ``Q`` object arrays ``[N]`` of strings, None = missing.
        categorical_names: ``Q`` names.
        layout: How the columns were made, for `mixed_table` of another graph; None if unknown.

    Raises:
        InputError: The parts do not fit together.
    """

    numeric: np.ndarray
    numeric_names: tuple[str, ...]
    categorical: tuple[np.ndarray, ...] = ()
    categorical_names: tuple[str, ...] = ()
    layout: TableLayout | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.numeric.ndim != 2 or self.numeric.shape[1] != len(self.numeric_names):
            raise InputError(
                "numeric",
                f"shape {self.numeric.shape}",
                f"Pass a matrix [N, {len(self.numeric_names)}]: one column for each name.",
            )
        shapes = {column.shape for column in self.categorical}
        fits = len(self.categorical) == len(self.categorical_names)
        if not fits or not shapes <= {(self.num_rows,)}:
            raise InputError(
                "categorical",
                f"{len(self.categorical)} columns of shape {sorted(shapes)}",
                f"Pass {len(self.categorical_names)} columns [{self.num_rows}].",
            )

    @property
    def num_rows(self) -> int:
        """Number of rows N."""
        return len(self.numeric)

    def take(self, rows: Any) -> MixedTable:
        """Return some rows, in their order: a bool mask ``[N]`` or row numbers."""
        at = rows.detach().cpu().numpy() if isinstance(rows, torch.Tensor) else np.asarray(rows)
        return MixedTable(
            self.numeric[at],
            self.numeric_names,
            tuple(column[at] for column in self.categorical),
            self.categorical_names,
            self.layout,
        )

    def with_numeric(self, values: Any, names: Sequence[str]) -> MixedTable:
        """Return the table with further columns of numbers ``[N, P']`` behind its own.

        Raises:
            InputError: There is not one row a node, or one name a column.
        """
        given = values.detach().cpu() if isinstance(values, torch.Tensor) else values
        added = np.asarray(given, dtype=np.float32)
        if added.ndim != 2 or added.shape != (self.num_rows, len(names)):
            raise InputError(
                "values", f"shape {added.shape}", f"Pass a matrix [{self.num_rows}, {len(names)}]."
            )
        return MixedTable(
            np.hstack([self.numeric, added]),
            (*self.numeric_names, *names),
            self.categorical,
            self.categorical_names,
            self.layout,
        )


def mixed_table(
    data: Any,
    *,
    neighbours: tuple[str, ...] = (),
    structure: bool = False,
    svd: int | None = None,
    layout: TableLayout | None = None,
) -> MixedTable:
    """Return the features of all nodes as numbers and categories, without looking at labels.

    The columns come from ``data.node_frame`` where there is one, else from ``x``:

    - numbers, bools (0, 1) and dates (seconds since 1970) as they are, NaN where missing;
    - strings and pandas categories with few levels as categories (see `column_kind`);
    - other strings as tf-idf of their words, reduced to 16 numbers;
    - columns of ``x``, reduced to ``svd`` numbers where there are more.

    Columns of the frame that hold one value only are left out. With the same graph and arguments
    the table is always the same, and nodes in another order give the same rows.

    Args:
        data: A graph that `check` has seen.
        neighbours: Any of ``"mean"``, ``"max"``, ``"min"``: of every number among the neighbours,
            gaps left out; with ``"mean"`` also the share of each of the 20 most frequent levels of
            a category. NaN where no neighbour has a value. Edges count in both directions,
            whatever their weight.
        structure: Whether to add the four columns of `structural_columns`.
        svd: The most columns that ``x`` may give; beyond, a truncated singular value
            decomposition gives this many. Columns of a frame are never reduced.
        layout: Of a table of another graph: the same columns are made of this one.

    Raises:
        InputError: There is neither a frame nor ``x``, a number is infinite, an argument is out of
            range, sparse features are too wide to be spread out, or columns of ``layout`` are
            missing.
    """
    check_statistics(neighbours)
    if svd is not None and svd < 1:
        raise InputError("svd", svd, "Pass a positive number of columns, or None.")
    frame, x = getattr(data, "node_frame", None), getattr(data, "x", None)
    made = _layout(frame, x, svd) if layout is None else layout
    blocks, names, categorical = _own_columns(frame, x, getattr(data, "feature_names", None), made)
    own = np.hstack(blocks) if len(blocks) > 1 else blocks[0]
    all_blocks, all_names = [own], list(names)
    if structure:
        all_blocks.append(structural_columns(undirected(data)))
        all_names += STRUCTURE_NAMES
    for statistic in neighbours:
        graph = undirected(data)
        all_blocks.append(neighbour_statistic(graph, own, statistic))
        all_names += [f"{name} (neighbour {statistic})" for name in names]
        for name, column in categorical.items() if statistic == "mean" else ():
            wanted = made["categories"][name]
            all_blocks.append(neighbour_shares(graph, column, wanted))
            all_names += [f"{name}={level} (neighbour share)" for level in wanted]
    numeric = np.hstack(all_blocks) if len(all_blocks) > 1 else own
    return MixedTable(
        numeric, tuple(all_names), tuple(categorical.values()), tuple(categorical), made
    )


def _layout(frame: pd.DataFrame | None, x: torch.Tensor | None, svd: int | None) -> TableLayout:
    """Decide which columns a table has."""
    made = TableLayout(
        source="node_frame", numbers=[], categories={}, texts={}, width=0, basis=None
    )
    columns = {} if frame is None else {name: frame[name] for name in frame.columns}
    for name, column in columns.items():
        kind = column_kind(column)
        if kind == "number":
            made["numbers"].append(name)
        elif kind == "category":
            counts = Counter(level for level in levels(column) if level is not None)
            frequent = sorted(counts, key=lambda level: (-counts[level], level))
            made["categories"][name] = frequent[:MAX_SHARES]
        elif kind == "text":
            text = text_columns(levels(column))
            if text is not None:
                made["texts"][name] = text
    if made["numbers"] or made["categories"] or made["texts"]:
        return made
    if x is None:
        raise InputError("data", "neither a node_frame that says anything nor x", "Pass features.")
    made["source"], made["width"] = "x", int(x.shape[1])
    if svd is not None and made["width"] > svd:
        made["basis"] = svd_basis(_matrix(x), svd)
    return made


def _own_columns(
    frame: pd.DataFrame | None,
    x: torch.Tensor | None,
    feature_names: Sequence[str] | None,
    made: TableLayout,
) -> tuple[list[np.ndarray], list[str], dict[str, np.ndarray]]:
    """Return blocks of numbers, their names, and categories by name."""
    if made["source"] == "x":
        block, names = _columns_of_x(x, feature_names, made)
        return [block], names, {}
    wanted = [*made["numbers"], *made["categories"], *made["texts"]]
    missing = [name for name in wanted if frame is None or name not in frame.columns]
    if frame is None or missing:
        raise InputError(
            "data.node_frame", f"has no column {missing[0]!r}", "Pass the columns that were fitted."
        )
    size = (len(frame), len(made["numbers"]))
    block = np.empty(size, dtype=np.float32)
    for position, name in enumerate(made["numbers"]):
        if not is_number(frame[name]) and frame[name].notna().any():
            raise InputError(
                "data.node_frame", f"column {name!r} holds no numbers", "Pass numbers, as in fit."
            )
        block[:, position] = np.clip(numbers(frame[name]), -_LARGEST, _LARGEST)
    blocks, names = [block], list(made["numbers"])
    for name, text in made["texts"].items():
        found = read_text(levels(frame[name]), text)
        blocks.append(found)
        names += [f"{name}~{number}" for number in range(found.shape[1])]
    return blocks, names, {name: levels(frame[name]) for name in made["categories"]}


def _columns_of_x(
    x: torch.Tensor | None, feature_names: Sequence[str] | None, made: TableLayout
) -> tuple[np.ndarray, list[str]]:
    width, basis = made["width"], made["basis"]
    if x is None or x.shape[1] != width:
        found = "missing" if x is None else f"{x.shape[1]} columns"
        raise InputError("data.x", found, f"Pass the {width} columns that were fitted.")
    matrix = _matrix(x)
    if basis is not None:
        reduced = np.asarray(matrix @ basis, dtype=np.float32)
        return reduced, [f"svd{number}" for number in range(reduced.shape[1])]
    if sp.issparse(matrix):
        if 4 * matrix.shape[0] * width > MAX_DENSE_BYTES:
            shown = f"None with sparse features of {width} columns"
            raise InputError("svd", shown, "Pass svd=64: dense they do not fit 1 GB.")
        matrix = matrix.toarray()
    names = [f"x{number}" for number in range(width)] if feature_names is None else feature_names
    return np.array(matrix, dtype=np.float32), [str(name) for name in names]


def _matrix(x: torch.Tensor) -> Any:
    """Return ``x`` as an array or, if it is sparse, as a SciPy matrix."""
    x = x.detach().cpu()
    return x.numpy() if x.layout == torch.strided else to_scipy(x.to_sparse_csr())
