"""Nodes grouped by class, degree or neighbour agreement, with the share that looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_DEGREES = [0, 1, 2, 3, 5, 9, 17, 33, 65, 129]
_AGREEMENT = ["none agree", "up to 25%", "25 to 50%", "50 to 75%", "75 to 99%", "all agree"]
_NO_NEIGHBOUR = "no labelled neighbour"


@dataclass(frozen=True)
class Group:
    """One group of labelled nodes: how many, how many flagged, how many expected wrong."""

    name: str
    nodes: int
    flagged: int
    expected: float

    @property
    def expected_share(self) -> float:
        """Mean mislabel probability of the group."""
        return self.expected / self.nodes

    @property
    def flagged_share(self) -> float:
        """Share of the group that is flagged."""
        return self.flagged / self.nodes


def by_class(frame: pd.DataFrame, class_names: Sequence[str]) -> list[Group]:
    """Group by given label, in class order."""
    codes = pd.Index(class_names).get_indexer(pd.Index(frame["given_label"]))
    return _grouped(frame, codes, class_names)


def by_degree(frame: pd.DataFrame) -> list[Group]:
    """Group by degree, in bins that double."""
    codes = np.searchsorted(_DEGREES, frame["degree"].to_numpy(), side="right") - 1
    ends = [*(low - 1 for low in _DEGREES[1:]), None]
    names = [_span(low, high) for low, high in zip(_DEGREES, ends, strict=True)]
    return _grouped(frame, codes, names)


def by_agreement(frame: pd.DataFrame, agreement: np.ndarray) -> list[Group]:
    """Group by the share of labelled neighbours with the same given label (NaN = no neighbour)."""
    unknown = np.isnan(agreement)
    known = np.where(unknown, 0.0, agreement)
    inner = 1 + np.searchsorted([0.25, 0.5, 0.75], known, side="left")
    codes = np.select([unknown, known <= 0, known >= 1], [len(_AGREEMENT), 0, 5], inner)
    return _grouped(frame, codes, [*_AGREEMENT, _NO_NEIGHBOUR])


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"


def _grouped(frame: pd.DataFrame, codes: np.ndarray, names: Sequence[str]) -> list[Group]:
    size = len(names)
    nodes = np.bincount(codes, minlength=size)
    flagged = np.bincount(codes, frame["is_label_issue"].to_numpy(dtype=float), minlength=size)
    expected = np.bincount(codes, frame["mislabel_probability"].to_numpy(), minlength=size)
    return [
        Group(names[i], int(nodes[i]), int(flagged[i]), float(expected[i]))
        for i in range(size)
        if nodes[i]
    ]
