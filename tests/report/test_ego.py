from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from graphclean.issues import LabelIssues, NoiseRate
from graphclean.report.ego import SIZE, EgoNetwork, ego_network
from graphclean.report.neighbours import Neighbours

NAMES = ("red", "green", "blue", "grey")
RADIUS = (19, 13.5, 8.5)


def issues_of(label: np.ndarray, degree: list[int]) -> tuple[LabelIssues, SimpleNamespace]:
    node = np.flatnonzero(label >= 0)
    given = [NAMES[i] for i in label[node]]
    frame = pd.DataFrame(
        {
            "node": node,
            "is_label_issue": node % 5 == 1,
            "label_quality": 0.5,
            "mislabel_probability": 0.5,
            "given_label": given,
            "predicted_label": given,
            "suggested_label": given,
            "suggestion_confidence": 1.0,
            "degree": [degree[i] for i in node],
        },
        index=[f"n{i}" for i in node],
    )
    edges = torch.zeros((2, 0), dtype=torch.long)
    graph = SimpleNamespace(edge_index=edges, num_nodes=len(label))
    return LabelIssues(frame, NAMES, NoiseRate(0, 0, 1)), graph


def make(graph: nx.Graph, labels: list[int]) -> tuple[Neighbours, np.ndarray]:
    label = np.array(labels)
    issues, data = issues_of(label, [graph.degree[i] for i in range(len(graph))])
    edges = [edge[:2] for edge in graph.edges]
    data.edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Neighbours(issues, data), label


@pytest.fixture(scope="module")
def random_graph() -> tuple[nx.Graph, Neighbours, np.ndarray]:
    graph = nx.gnp_random_graph(80, 0.07, seed=4)
    labels = [i % 5 - 1 for i in range(80)]
    return graph, *make(graph, labels)


def node_of(ego: EgoNetwork, dot: int) -> int:
    return int(re.match(r"n?(\d+): ", ego.dots[dot].title)[1])  # type: ignore[index]


def test_neighbours_are_undirected_without_loops_or_doubles() -> None:
    graph = nx.MultiDiGraph([(0, 1), (1, 0), (1, 0), (2, 0), (3, 3), (3, 2)])
    neighbours, _ = make(graph, [1, 1, -1, 0])
    assert [neighbours.of(i).tolist() for i in range(4)] == [[1, 2], [0], [0, 3], [2]]
    assert [neighbours.name(i) for i in range(4)] == ["n0", "n1", "2", "n3"]


def test_nodes_that_were_not_judged_keep_their_id_and_given_label() -> None:
    issues, graph = issues_of(np.array([0, -1, 2, -1]), [1, 1, 1, 1])
    graph.y = torch.tensor([3, 1, 3, -1])
    graph.node_ids = ["p0", "p1", "p2", "p3"]
    neighbours = Neighbours(issues, graph)
    assert neighbours.label.tolist() == [0, 1, 2, -1]
    assert [neighbours.name(i) for i in range(4)] == ["n0", "p1", "n2", "p3"]
    for unfit in (torch.rand(4), torch.tensor([1, 2]), torch.full((4,), 9), None):
        graph.y = unfit
        assert Neighbours(issues, graph).label.tolist() == [0, -1, 2, -1]


def test_agreement_is_the_share_of_labelled_neighbours_with_the_same_label(
    random_graph: tuple[nx.Graph, Neighbours, np.ndarray],
) -> None:
    graph, neighbours, label = random_graph
    node = np.flatnonzero(label >= 0)[::-1]
    found = neighbours.agreement(node)
    for i, share in zip(node, found, strict=True):
        votes = [label[j] == label[i] for j in graph[i] if label[j] >= 0]
        assert share == pytest.approx(np.mean(votes)) if votes else np.isnan(share)


def test_the_votes_count_all_neighbours(
    random_graph: tuple[nx.Graph, Neighbours, np.ndarray],
) -> None:
    graph, neighbours, label = random_graph
    for node in np.flatnonzero(label >= 0):
        ego = ego_network(int(node), 2, neighbours, NAMES)
        names = [NAMES[label[j]] if label[j] >= 0 else "unlabelled" for j in graph[node]]
        assert {vote.label: vote.count for vote in ego.votes} == Counter(names)
        assert ego.degree == len(names)
        marks = {vote.label: vote.mark for vote in ego.votes}
        given = NAMES[label[node]]
        assert marks.get(given, "G") == "G"
        assert given == "blue" or marks.get("blue", "S") == "S"
        assert marks.get("unlabelled", "") == ""
        assert len(set(marks.values())) == len(marks)


def test_the_drawing_is_the_induced_graph(
    random_graph: tuple[nx.Graph, Neighbours, np.ndarray],
) -> None:
    graph, neighbours, label = random_graph
    for node in np.flatnonzero(label >= 0):
        ego = ego_network(int(node), 2, neighbours, NAMES)
        ring = {node_of(ego, k): dot.ring for k, dot in enumerate(ego.dots)}
        assert len(ring) == len(ego.dots)
        assert ring[node] == 0
        assert [i for i in ring if ring[i] == 1 and i not in graph[node]] == []
        assert [i for i in ring if ring[i] == 2 and (i in graph[node] or i == node)] == []
        edges = [e for e in graph.subgraph(ring).edges if 2 not in (ring[e[0]], ring[e[1]])]
        edges += [e for e in graph.subgraph(ring).edges if {ring[e[0]], ring[e[1]]} == {1, 2}]
        place = {(d.x, d.y): node_of(ego, k) for k, d in enumerate(ego.dots)}
        drawn = []
        for path in ego.paths:
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
            drawn.append(frozenset((place[*numbers[:2]], place[*numbers[-2:]])))
        assert sorted(map(sorted, drawn)) == sorted(sorted(edge) for edge in edges)
        flags = {node_of(ego, k): dot.flagged for k, dot in enumerate(ego.dots)}
        assert flags == {i: bool(label[i] >= 0 and i % 5 == 1) for i in ring}


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6, 7, 12, 13, 500])
def test_nothing_overlaps_or_leaves_the_square(degree: int) -> None:
    graph = nx.star_graph(degree)
    for i in range(1, degree + 1):
        nx.add_star(graph, [i, *range(len(graph), len(graph) + 4)])
    neighbours, _ = make(graph, [i % 4 for i in range(len(graph))])
    ego = ego_network(0, 1, neighbours, NAMES)
    assert ego.drawn == min(degree, 12)
    assert len(ego.dots) <= 1 + 12 + 12
    for dot in ego.dots:
        r = RADIUS[dot.ring]
        assert r <= dot.x <= SIZE - r
        assert r <= dot.y <= SIZE - r
    for one, two in itertools.combinations(ego.dots, 2):
        assert math.dist((one.x, one.y), (two.x, two.y)) > RADIUS[one.ring] + RADIUS[two.ring] - 2


def test_a_hub_is_sampled_true_to_the_vote() -> None:
    neighbours, _ = make(nx.star_graph(400), [0, *[1] * 300, *[2] * 100])
    ego = ego_network(0, 1, neighbours, NAMES)
    drawn = Counter(dot.title.split(": ")[1] for dot in ego.dots if dot.ring == 1)
    assert drawn == {"green": 9, "blue": 3}
    assert ego.words == "300 green, 100 blue"


def test_edges_keep_clear_of_the_centre() -> None:
    neighbours, _ = make(nx.complete_graph(5), [0, 1, 1, 1, 1])
    ego = ego_network(0, 1, neighbours, NAMES)
    curves = [path for path in ego.paths if "Q" in path]
    assert len(curves) == 2
    for path in curves:
        x1, y1, x, y, x2, y2 = (float(number) for number in re.findall(r"-?[\d.]+", path))
        for t in np.linspace(0, 1, 50):
            px = (1 - t) ** 2 * x1 + 2 * t * (1 - t) * x + t**2 * x2
            py = (1 - t) ** 2 * y1 + 2 * t * (1 - t) * y + t**2 * y2
            assert math.dist((px, py), (SIZE / 2, SIZE / 2)) > 20


def test_the_layout_is_the_same_every_time(
    random_graph: tuple[nx.Graph, Neighbours, np.ndarray],
) -> None:
    _, neighbours, _ = random_graph
    assert ego_network(3, 1, neighbours, NAMES) == ego_network(3, 1, neighbours, NAMES)
