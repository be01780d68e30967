"""K = 3 hop features: ours against the published step, which forms S^2 and S^3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.nn import SimpleConv

from graphclean.evaluate.speed.cases import Case
from graphclean.evaluate.speed.comparison import OURS, Comparison
from graphclean.evaluate.speed.product import ours, pyg_csr, pyg_edges, settle
from graphclean.sparse import Adjacency, HopOperator, Propagator
from graphclean.types import numpy_rng

HOPS = 3
_CHECKED_ROWS = 64
_SAMPLED_ROWS = 32
_SECONDS = 20.0
_PRODUCTS_PER_SECOND = 2e8
"""Multiplications that SciPy's sparse product makes in a second, roughly."""


@dataclass(frozen=True)
class Fill:
    """Size of the published step, estimated from rows drawn at random.

    Attributes:
        square: Stored entries of S².
        cube: Stored entries of S³.
        products: Multiplications to form both.
    """

    square: float
    cube: float
    products: float

    @property
    def num_bytes(self) -> int:
        """Bytes of S² and S³ as SciPy holds them: float64 values, int32 or int64 columns."""
        each = (self.square, self.cube)
        return int(sum(count * (8 + (4 if count < 2**31 else 8)) for count in each))


def hop_features(case: Case) -> Comparison:
    """Compare the 2K + 1 agreement features, with all that is computed from S alone, on the CPU.

    Ours starts from the adjacency without any cached diagonal, the published step from S.
    """
    probs, onehot, labels = case.probabilities(), case.onehot(), case.labels()
    rows = _some_rows(case, _CHECKED_ROWS)
    found = Comparison(
        f"hops/{case.name}",
        f"hop features, K = {HOPS}, {case.sizes}, {case.num_classes} classes",
        expected=lambda: _explicit_rows(case, rows),
    )
    adjacency = found.prepare(
        "graphclean: edges to CSR", lambda: Adjacency.from_edges(case.edge_index, case.num_nodes)
    )

    def cold() -> Tensor:
        unseen = Adjacency(adjacency.matrix, weighted=False)
        operator = HopOperator(Propagator.from_adjacency(unseen), HOPS)
        return _features(operator, probs, labels)

    operator = found.prepare(
        "graphclean: diagonals",
        lambda: HopOperator(Propagator.from_adjacency(adjacency), HOPS),
    )

    def warm() -> Tensor:
        return _features(operator, probs, labels)

    found.add(OURS, cold, check=lambda: cold()[rows], note="cold: diagonals computed anew")
    found.add(
        "graphclean_warm",
        warm,
        check=lambda: warm()[rows],
        like_for_like=False,
        note="diagonals cached with the graph",
    )
    fill = predicted_fill(case)
    size = f"{fill.num_bytes / 2**30:,.{0 if fill.num_bytes > 2**33 else 2}f} GiB"
    found.notes.append(
        f"published step: S² has about {fill.square:.2g} entries and S³ {fill.cube:.2g}, {size}"
    )
    if fill.products / _PRODUCTS_PER_SECOND > _SECONDS:
        found.skipped["released_scipy"] = (
            f"would take {size} and about {fill.products / _PRODUCTS_PER_SECOND:,.0f} s a run "
            "(predicted)"
        )
        return found
    matrix = case.operator
    dense = (probs.numpy().astype(np.float64), onehot.numpy().astype(np.float64), labels.numpy())

    def released() -> NDArray[np.float64]:
        return released_step(matrix, *dense)

    found.add(
        "released_scipy",
        released,
        check=lambda: released()[rows],
        needs=fill.num_bytes,
        note="the published step: explicit S² and S³, float64",
    )
    return found


def hop_products(case: Case, device: str) -> Comparison:
    """Compare the same features where the diagonals are known: K products of [P | L]."""
    probs, onehot, labels = (
        part.to(device) for part in (case.probabilities(), case.onehot(), case.labels())
    )
    rows = _some_rows(case, _CHECKED_ROWS)
    found = Comparison(
        f"hops_warm/{case.name}",
        f"hop features, K = {HOPS}, diagonals known, {case.sizes}, {case.num_classes} classes",
        expected=lambda: _explicit_rows(case, rows),
    )
    propagator = found.prepare("graphclean: edges to CSR", lambda: ours(case, device))
    operator = found.prepare("graphclean: diagonals", lambda: HopOperator(propagator, HOPS))
    weighted = found.prepare(
        "pyg: gcn_norm of edge_index", lambda: pyg_edges(case, device, loops=False)
    )
    csr = found.prepare("pyg_csr: to torch CSR", lambda: pyg_csr(case.num_nodes, weighted))
    conv, by_csr = SimpleConv(aggr="sum"), SimpleConv(aggr="sum")
    diagonals = [diagonal.to(device) for diagonal in operator.diagonals]

    def by_products(product: Callable[[Tensor], Tensor]) -> Tensor:
        start = torch.cat([probs, onehot], dim=1)
        walked, columns = start, [probs.gather(1, labels.unsqueeze(1))]
        query = torch.stack([labels, labels + case.num_classes], dim=1)
        for diagonal in diagonals:
            walked = product(walked)
            own = diagonal.unsqueeze(1) * start.gather(1, query)
            columns.append(walked.gather(1, query) - own)
        found_columns = torch.cat(columns, dim=1)
        return found_columns[:, [0, 1, 3, 5, 2, 4, 6]]

    def add(name: str, run: Callable[[], Tensor], **options: Any) -> None:
        found.add(name, run, check=lambda: run()[rows], **options)

    settle(found, lambda: _features(operator, probs, labels))
    add(OURS, lambda: _features(operator, probs, labels))
    add(
        "pyg",
        lambda: by_products(lambda x: conv(x, *weighted)),
        needs=2 * case.num_edges * 2 * case.num_classes * 4,
        note="the same matrix-free formula on edge_index",
    )
    add(
        "pyg_csr",
        lambda: by_products(lambda x: by_csr(x, csr)),
        note="the same matrix-free formula on torch CSR, int64",
    )
    return found


def released_step(
    matrix: sp.csr_array,
    probs: NDArray[np.float64],
    onehot: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the features as the published code computes them: powers, zeroed diagonals, gather.

    Columns: P, then M_k P for k = 1..3, then M_k L, each at the node's own label.
    """
    square = matrix @ matrix
    cube = matrix @ square
    square.setdiag(0)
    cube.setdiag(0)
    powers = (matrix, square, cube)
    everyone = np.arange(len(labels))
    columns = [probs[everyone, labels]]
    for x in (probs, onehot):
        columns += [(power @ x)[everyone, labels] for power in powers]
    return np.stack(columns, axis=1)


def predicted_fill(case: Case) -> Fill:
    """Estimate what the published step stores and multiplies, from the rows of some nodes."""
    rows = _some_rows(case, _SAMPLED_ROWS)
    matrix = case.operator
    scale = case.num_nodes / max(len(rows), 1)
    degree = np.diff(matrix.indptr)
    square = matrix[rows] @ matrix
    cube = square @ matrix
    to_square = float(degree[matrix.indices].sum())
    return Fill(
        square=square.nnz * scale,
        cube=cube.nnz * scale,
        products=to_square + float(degree[square.indices].sum()) * scale,
    )


def _features(operator: HopOperator, probs: Tensor, labels: Tensor) -> Tensor:
    own = probs.gather(1, labels.unsqueeze(1))
    return torch.cat([own, operator.features(labels, probs, labels)], dim=1)


def _some_rows(case: Case, count: int) -> NDArray[np.int64]:
    count = min(count, case.num_nodes)
    chosen: NDArray[np.int64] = numpy_rng(case.seed).choice(
        case.num_nodes, size=count, replace=False
    )
    return np.sort(chosen)


def _explicit_rows(case: Case, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the features of some nodes from explicit float64 rows of S, S² and S³."""
    probs, onehot = (x.numpy().astype(np.float64) for x in (case.probabilities(), case.onehot()))
    labels = case.labels().numpy()[rows]
    place = np.arange(len(rows))
    power, powers = case.operator[rows], []
    for _ in range(HOPS):
        without = power.tocoo(copy=True)
        without.data[without.col == rows[without.row]] = 0.0
        powers.append(without.tocsr())
        power = power @ case.operator
    columns = [probs[rows, labels]]
    for x in (probs, onehot):
        columns += [(walked @ x)[place, labels] for walked in powers]
    return np.stack(columns, axis=1)
