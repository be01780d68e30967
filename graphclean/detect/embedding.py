"""A label-free embedding of the nodes, and the nearest nodes in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from graphclean.nn.features import features_of
from graphclean.nn.matrix import SparseMatrix
from graphclean.sparse import Propagator
from graphclean.types import InputError, Seed

_NOTHING = 1e-9
"""Length, relative to the largest one, below which a row is rounding."""

_CONSTANT = 1e-6
"""Spread, relative to the largest entry, below which a float32 column is constant."""

_ENTRIES = 2**22
"""Numbers that are held at once: 16 MiB of float32."""

_SPARE = 8
"""Candidates beyond k that are compared exactly: float32 may confuse the last places."""


def node_embedding(
    graph: Any, *, hops: int = 2, dimensions: int = 128, random_state: Seed = 0
) -> Tensor:
    r"""Return propagated features as unit vectors, for methods that compare nodes by cosine.

    .. math::
        f_i = u\Big(u(h_i) - \frac{1}{N} \sum_j u(h_j)\Big), \qquad
        h = \hat S^K X, \qquad \hat S = \hat D^{-1/2} (A + I) \hat D^{-1/2}, \qquad
        u(v) = v / \lVert v \rVert_2

    What all nodes have in common is subtracted: in a dense graph propagation makes every pair of
    nodes alike (mean cosine .98 on BlogCatalog after two hops), and with it no cosine tells
    anything. Dense features are standardised column by column; those that are less than 10 %
    non-zero are taken for a bag of words, whose rows are divided by their sums. More than
    ``dimensions`` columns are first reduced to as many leading singular vectors (truncated SVD,
    which keeps sparse features sparse). No label is read. A graph that came without features has
    the structural ones that ``check`` gave it.

    Args:
        graph: Checked ``Data``.
        hops: K >= 0; 0 leaves the edges out.
        dimensions: Most columns of the result, >= 1.
        random_state: Seed of the randomised SVD.

    Returns:
        ``[N, d]``, float32, d <= ``dimensions``, rows of length 1; a node of which the features say
        nothing has a row of zeros, whose cosine with everything is 0.
    """
    x = torch.from_numpy(np.ascontiguousarray(_columns(graph, dimensions, random_state)))
    operator = Propagator.from_data(graph, norm="sym", self_loops=True, dtype=torch.float64)
    for _ in range(hops):
        x = operator @ x
    length = x.norm(dim=1, keepdim=True)
    known = length > _NOTHING * length.max()
    unit = torch.where(known, x / torch.where(known, length, 1.0), 0.0)
    away = unit - unit.mean(dim=0)
    length = away.norm(dim=1, keepdim=True)
    known &= length > _NOTHING
    return torch.where(known, away / torch.where(known, length, 1.0), 0.0).float()


def nearest(embedding: Tensor, k: int, among: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k most similar other nodes of every node, most similar first.

    The similarities to ``among`` are computed in blocks of rows, never as a whole ``[N, N]``, in
    float32; the best of them are compared again in float64. Equal ones are ordered by node number.

    Args:
        embedding: Unit rows ``[N, d]``, float32.
        k: Neighbours >= 1; fewer are returned where ``among`` has no k + 1 nodes.
        among: Nodes that may be neighbours ``[N]``, bool.

    Returns:
        Node numbers ``[N, k]``, long, and cosines ``[N, k]``, float64 in [-1, 1].

    Raises:
        InputError: ``k`` is no integer >= 1.
    """
    candidates = among.nonzero().view(-1)
    nodes, count = len(embedding), len(candidates)
    k = min(check_neighbours(k), max(count - 1, 0))
    wide = min(k + _SPARE, count)
    place = torch.full((nodes,), -1)
    place[candidates] = torch.arange(count)
    exact, columns = embedding.double(), embedding[candidates].t().contiguous()
    index = torch.empty(nodes, k, dtype=torch.long)
    cosine = torch.empty(nodes, k, dtype=torch.float64)
    for rows in torch.split(torch.arange(nodes), max(_ENTRIES // max(count, 1), 1)):
        near = embedding[rows] @ columns
        inside = place[rows] >= 0
        near[inside, place[rows][inside]] = -torch.inf
        found = candidates[near.topk(wide, dim=1, sorted=False).indices].sort(dim=1).values
        similarity = torch.einsum("nd,nkd->nk", exact[rows], exact[found])
        similarity[found == rows.unsqueeze(1)] = -torch.inf
        order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
        index[rows], cosine[rows] = found.gather(1, order), similarity.gather(1, order)
    return index, cosine.clamp(-1.0, 1.0)


def pair_cosines(embedding: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of every pair of nodes: numbers ``[M]`` twice to ``[M]``, float64."""
    step = max(_ENTRIES // max(embedding.shape[1], 1), 1)
    found = torch.zeros(len(first), dtype=torch.float64)
    for part in torch.split(torch.arange(len(first)), step):
        # Summed in float64, so that the order of the summands does not show.
        products = embedding[first[part]] * embedding[second[part]]
        found[part] = products.sum(dim=1, dtype=torch.float64)
    return found.clamp(-1.0, 1.0)


def neighbour_votes(index: Tensor, weight: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the weight of the neighbours of every class ``[N, C]``, float64.

    Args:
        index: Neighbours ``[N, k]``, long.
        weight: Their weights ``[N, k]``, float64.
        labels: Labels of all nodes ``[N]``, long; -1 = no vote.
        classes: C.
    """
    said = labels[index]
    counted = torch.where(said >= 0, weight, 0.0)
    votes = torch.zeros(len(index), classes, dtype=torch.float64)
    return votes.scatter_add_(1, said.clamp_min(0), counted)


def check_neighbours(k: Any) -> int:
    """Return the parameter ``k`` as an integer, or raise InputError."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError("k", k, "Pass an integer >= 1.")
    return int(k)


def _columns(graph: Any, dimensions: int, random_state: Seed) -> np.ndarray:
    """Return the features ``[N, d]``, float64, reduced where they are wide."""
    features = features_of(graph, "auto")
    matrix: Any
    if isinstance(features, SparseMatrix):
        matrix = features.to_scipy().astype(np.float64)
    else:
        matrix = _standardised(features.double()).numpy()
    if matrix.shape[1] > dimensions:
        svd = TruncatedSVD(min(dimensions, *matrix.shape), random_state=random_state)
        return np.asarray(svd.fit_transform(matrix))
    return np.asarray(matrix.toarray() if isinstance(features, SparseMatrix) else matrix)


def _standardised(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=0)
    spread = centred.square().mean(dim=0).sqrt()
    varies = spread > _CONSTANT * x.abs().amax(dim=0)
    return torch.where(varies, centred / torch.where(varies, spread, 1.0), 0.0)
