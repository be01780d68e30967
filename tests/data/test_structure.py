from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from graphclean.data.neighbour_features import undirected
from graphclean.data.structure import clustering, core_number, pagerank, structural_columns

GRAPHS = {
    "random": nx.gnp_random_graph(60, 0.08, seed=1),
    "hubs": nx.barabasi_albert_graph(80, 3, seed=2),
    "cliques and a tail": nx.lollipop_graph(7, 12),
    "communities": nx.planted_partition_graph(4, 12, 0.6, 0.05, seed=3),
    "path": nx.path_graph(9),
    "no edges": nx.empty_graph(4),
    "one node": nx.empty_graph(1),
}
GRAPHS["isolated nodes"] = nx.disjoint_union(nx.karate_club_graph(), nx.empty_graph(3))


def structure(graph: nx.Graph) -> sp.csr_array:
    return sp.csr_array(nx.to_scipy_sparse_array(graph, weight=None, dtype=np.float64))


@pytest.mark.parametrize("name", GRAPHS)
def test_equals_networkx(name: str) -> None:
    graph = GRAPHS[name]
    matrix, nodes = structure(graph), list(graph)
    rank = nx.pagerank(graph, tol=1e-13, max_iter=1000, weight=None)
    assert pagerank(matrix) == pytest.approx([rank[node] for node in nodes], rel=1e-8)
    core = nx.core_number(graph)
    assert core_number(matrix).tolist() == [core[node] for node in nodes]
    share = nx.clustering(graph)
    assert clustering(matrix) == pytest.approx([share[node] for node in nodes], abs=1e-12)


def test_columns_read_neither_weights_nor_directions_nor_loops_nor_labels() -> None:
    graph = GRAPHS["isolated nodes"]
    edges = torch.tensor(list(graph.edges)).t()
    nodes = graph.number_of_nodes()
    plain = structural_columns(undirected(Data(edge_index=edges, num_nodes=nodes)))
    rank = nx.pagerank(graph, tol=1e-13, weight=None)
    expected = np.stack(
        [
            np.log1p([graph.degree(node) for node in graph]),
            np.log([nodes * rank[node] for node in graph]),
            list(nx.core_number(graph).values()),
            list(nx.clustering(graph).values()),
        ],
        axis=1,
    )
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    turned = torch.cat([edges.flip(0), edges[:, :5], torch.full((2, 1), 3)], dim=1)
    weighted = Data(
        edge_index=turned,
        edge_weight=torch.rand(turned.shape[1]) + 0.5,
        y=torch.zeros(nodes, dtype=torch.long),
        num_nodes=nodes,
    )
    np.testing.assert_allclose(structural_columns(undirected(weighted)), expected, atol=1e-5)
    again = structural_columns(undirected(weighted))
    assert again is structural_columns(undirected(weighted))
