from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch_geometric.data import Data

from graphclean.noise import NeighbourhoodNoise
from graphclean.noise.neighbourhood import SELECTIONS
from graphclean.types import InputError


def neighbours(data: Data) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in range(data.num_nodes)]
    for a, b in data.edge_index.t().tolist():
        if a != b:
            found[a].add(b)
            found[b].add(a)
    return found


def allowed_labels(data: Data) -> list[set[int]]:
    """The classes that a node may flip to, by walking the graph node by node."""
    y, around = data.y.tolist(), neighbours(data)
    classes = set(range(max(y) + 1))
    result = []
    for node, own in enumerate(y):
        one = {y[u] for u in around[node]} - {own, -1}
        two = {y[w] for u in around[node] for w in around[u]} - {own, -1}
        result.append(one or two or classes - {own})
    return result


@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_labels_come_from_the_neighbourhood(ragged: Data, select: str, seed: int) -> None:
    sample = NeighbourhoodNoise(1.0, select=select).sample(ragged, seed)
    for node, allowed in enumerate(allowed_labels(ragged)):
        if ragged.y[node] >= 0:
            assert int(sample.y[node]) in allowed


def path(*labels: int) -> Data:
    """A path with these labels and, apart from it, one node of class 0."""
    ends = torch.arange(len(labels) - 1)
    y = torch.tensor([*labels, 0])
    return Data(edge_index=torch.stack([ends, ends + 1]), y=y, num_nodes=len(y))


def test_fallbacks_by_hand() -> None:
    data = path(0, 0, 2, -1, 1, 1, 3)
    outcomes: list[set[int]] = [set() for _ in range(8)]
    for seed in range(40):
        for node, label in enumerate(NeighbourhoodNoise(1.0).sample(data, seed).y.tolist()):
            outcomes[node].add(label)
    assert outcomes == [
        {2},  # no neighbour disagrees: two steps away there is a 2
        {2},
        {0},  # one neighbour is a 0, the other unlabelled
        {-1},
        {2, 3},  # neighbours: unlabelled and 1; two steps away: 2 and 3
        {3},
        {1},
        {1, 2, 3},  # isolated: any other class
    ]


def test_labels_are_drawn_in_proportion_to_the_neighbours() -> None:
    stars = 600  # each centre of class 0 has leaves 1, 1, 1, 2
    centres = torch.arange(stars)
    leaves = torch.arange(stars, 5 * stars)
    y = torch.cat([torch.zeros(stars, dtype=torch.long), torch.tensor([1, 1, 1, 2]).repeat(stars)])
    data = Data(edge_index=torch.stack([leaves, centres.repeat_interleave(4)]), y=y)
    data.num_nodes = len(y)
    tally = Counter(NeighbourhoodNoise(1.0).sample(data, 0).y[:stars].tolist())
    assert set(tally) == {1, 2}
    assert tally[1] == pytest.approx(450, abs=5 * (600 * 0.75 * 0.25) ** 0.5)


def test_edge_direction_duplicates_and_self_loops_do_not_matter(ragged: Data) -> None:
    model = NeighbourhoodNoise(0.5, select="low_homophily")
    expected = model.sample(ragged, 1).y
    loops = torch.arange(97).repeat(2, 1)
    ragged.edge_index = torch.cat(
        [ragged.edge_index.flip(0), *[ragged.edge_index[:, ::3]] * 4, loops], dim=1
    )
    assert torch.equal(model.sample(ragged, 1).y, expected)


def test_low_homophily_flips_disagreeing_nodes_first(six_nodes: Data) -> None:
    # only the two ends of the bridge have a neighbour of the other class
    for seed in range(10):
        sample = NeighbourhoodNoise(1 / 3, select="low_homophily").sample(six_nodes, seed)
        assert torch.nonzero(sample.flip_mask).flatten().tolist() == [2, 3]


def test_high_degree_leaves_isolated_nodes_for_last() -> None:
    data = path(0, 1, 0, 1)
    for seed in range(10):
        sample = NeighbourhoodNoise(0.8, select="high_degree").sample(data, seed)
        assert sample.flip_mask.tolist() == [True, True, True, True, False]


def test_selection_moves_the_degree_of_the_flipped_nodes(ragged: Data) -> None:
    degree = torch.tensor([float(len(around)) for around in neighbours(ragged)])
    mean = {}
    for select in ("low_degree", "uniform", "high_degree"):
        model = NeighbourhoodNoise(0.1, select=select)
        flipped = [degree[model.sample(ragged, seed).flip_mask] for seed in range(60)]
        mean[select] = float(torch.cat(flipped).mean())
    assert mean["low_degree"] < mean["uniform"] - 0.3
    assert mean["high_degree"] > mean["uniform"] + 0.3


def test_nodes_whose_homophily_is_unknown_are_average() -> None:
    # hub 0 disagrees with all its leaves; the isolated node 5 has no neighbours at all
    edges = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]])
    data = Data(edge_index=edges, y=torch.tensor([0, 1, 1, 1, 1, 1]), num_nodes=6)
    picked = {
        int(
            NeighbourhoodNoise(1 / 6, select="low_homophily")
            .sample(data, seed)
            .flip_mask.int()
            .argmax()
        )
        for seed in range(60)
    }
    assert picked == set(range(6))


def test_a_graph_without_edges_gets_uniform_flips(ragged: Data) -> None:
    ragged.edge_index = torch.empty(2, 0, dtype=torch.long)
    for select in SELECTIONS:
        sample = NeighbourhoodNoise(1.0, select=select).sample(ragged, 0)
        assert set(sample.y[ragged.y == 0].tolist()) == {1, 2, 3}


def test_an_unknown_selection_is_refused() -> None:
    with pytest.raises(InputError, match="low_homophily"):
        NeighbourhoodNoise(0.1, select="homophily")
