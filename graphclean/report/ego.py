"""Ego networks: a node, its neighbours and some of theirs, laid out for the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphclean.report.neighbours import Neighbours

SIZE = 240.0
"""Side of the square that an ego network is drawn in."""

_INNER, _OUTER = 62.0, 103.0
_WORDS = 4
_CLEAR = 27.0
_WIDEST = math.radians(70)


@dataclass(frozen=True)
class Vote:
    """One given label among the neighbours: its mark in the drawing, its colour, its count."""

    mark: str
    role: str
    label: str
    count: int


@dataclass(frozen=True)
class Dot:
    """One node of the drawing; ``ring`` is 0 for the centre, 1 and 2 for its hops."""

    x: float
    y: float
    ring: int
    mark: str
    role: str
    flagged: bool
    title: str


@dataclass(frozen=True)
class EgoNetwork:
    """A laid out ego network.

    Attributes:
        dots: Nodes, the centre last (drawn on top).
        paths: Edges as SVG path data; those that would cross the centre are bent around it.
        votes: Given labels over all neighbours: suggested first, then given, others, unlabelled.
        drawn: Number of neighbours drawn.
        degree: Number of neighbours there are.
    """

    dots: list[Dot]
    paths: list[str]
    votes: list[Vote]
    drawn: int
    degree: int

    @property
    def words(self) -> str:
        """The votes as text, the first few."""
        text = [f"{vote.count} {vote.label}" for vote in self.votes[:_WORDS]]
        rest = sum(vote.count for vote in self.votes[_WORDS:])
        return ", ".join([*text, f"{rest} others"] if rest else text) or "no neighbours"


def ego_network(
    node: int,
    suggested: int,
    neighbours: Neighbours,
    class_names: Sequence[str],
    first: int = 12,
    second: int = 12,
) -> EgoNetwork:
    """Lay out the surroundings of ``node``, the same way every time.

    Args:
        node: Row position of the centre.
        suggested: Suggested class of the centre.
        neighbours: The graph.
        class_names: Names of the classes.
        first: Neighbours to draw at most; of more, a sample true to the vote.
        second: Nodes two hops away to draw at most.
    """
    given = int(neighbours.label[node])
    around = [int(i) for i in neighbours.of(node)]
    tally = Counter(int(neighbours.label[i]) for i in around)
    order = sorted(tally, key=lambda c: (c != suggested, c != given, c < 0, -tally[c], c))
    styles = _styles([given, suggested, *order])
    around.sort(key=lambda i: (order.index(int(neighbours.label[i])), i))
    picks = np.linspace(0, len(around) - 1, min(first, len(around))).round().astype(int)
    inner = [around[i] for i in picks]
    angle = {i: 2 * math.pi * k / len(inner) - math.pi / 2 for k, i in enumerate(inner)}
    place = {i: _at(_INNER, angle[i]) for i in inner}
    place |= _second_hop(node, around, angle, neighbours, second)
    place[node] = (SIZE / 2, SIZE / 2)
    dots = []
    for i in [*inner, *(i for i in place if i not in angle and i != node), node]:
        label = int(neighbours.label[i])
        mark, role = styles.get(label, ("", "elsewhere"))
        name = "unlabelled" if label < 0 else class_names[label]
        ring = 0 if i == node else 1 if i in angle else 2
        title = f"{neighbours.name(i)}: {name}"
        dots.append(Dot(*place[i], ring, mark, role, bool(neighbours.flagged[i]), title))
    votes = [Vote(*styles[c], "unlabelled" if c < 0 else class_names[c], tally[c]) for c in order]
    return EgoNetwork(dots, _paths(place, angle, node, neighbours), votes, len(inner), len(around))


def _styles(classes: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return mark and role of each class: G given, S suggested, a, b, c... the others."""
    styles = {-1: ("", "unlabelled")}
    for mark, role, label in (("G", "given", classes[0]), ("S", "suggested", classes[1])):
        styles.setdefault(label, (mark, role))
    others = [label for label in dict.fromkeys(classes) if label not in styles]
    for k, label in enumerate(others):
        styles[label] = (chr(ord("a") + k % 26), f"other{1 + k % 4}")
    return styles


def _second_hop(
    node: int, around: Sequence[int], angle: dict[int, float], neighbours: Neighbours, most: int
) -> dict[int, tuple[float, float]]:
    """Place nodes two hops away behind the first drawn neighbour that leads to them."""
    place: dict[int, tuple[float, float]] = {}
    taken = {node, *around}
    each = max(1, min(3, most // max(len(angle), 1)))
    sector = min(2 * math.pi / max(len(angle), 1), _WIDEST)
    for parent, direction in angle.items():
        fresh = [int(i) for i in neighbours.of(parent) if int(i) not in taken]
        fresh = fresh[: min(each, most - len(place))]
        taken.update(fresh)
        for k, i in enumerate(fresh):
            turn = ((k + 0.5) / len(fresh) - 0.5) * 0.8 * sector
            place[i] = _at(_OUTER, direction + turn)
    return place


def _paths(
    place: dict[int, tuple[float, float]],
    angle: dict[int, float],
    node: int,
    neighbours: Neighbours,
) -> list[str]:
    """Return the edges among drawn nodes that touch the centre or a drawn neighbour."""
    paths = []
    for i in angle:
        for other in sorted(place.keys() & {int(j) for j in neighbours.of(i)}):
            if other not in angle or i < other:
                paths.append(_path(place[i], place[other], other == node))
    return paths


def _path(start: tuple[float, float], end: tuple[float, float], to_centre: bool) -> str:
    """Return a line, or a curve around the centre where the line would run into it."""
    (x1, y1), (x2, y2) = start, end
    along_x, along_y = x2 - x1, y2 - y1
    length = math.hypot(along_x, along_y)
    ahead = ((SIZE / 2 - x1) * along_x + (SIZE / 2 - y1) * along_y) / length
    distance = ((SIZE / 2 - y1) * along_x - (SIZE / 2 - x1) * along_y) / length
    if to_centre or abs(distance) >= _CLEAR or not 0 < ahead < length:
        return f"M{x1} {y1}L{x2} {y2}"
    push = 2 * (distance - math.copysign(_CLEAR, distance)) / length
    x, y = (x1 + x2) / 2 - push * along_y, (y1 + y2) / 2 + push * along_x
    return f"M{x1} {y1}Q{x:.1f} {y:.1f} {x2} {y2}"


def _at(radius: float, angle: float) -> tuple[float, float]:
    return (
        round(SIZE / 2 + radius * math.cos(angle), 1),
        round(SIZE / 2 + radius * math.sin(angle), 1),
    )
