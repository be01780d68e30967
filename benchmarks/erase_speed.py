"""Time an epoch of ERASE: ours, two dense ways from the paper's formulas, and against graph size.

    python benchmarks/erase_speed.py --out out/erase_speed

``dense`` fills what the released code fills: an ``[N, N]`` adjacency matrix and ``[C, N, N]``
memberships in float64, multiplied out; ``dense, masks`` keeps the ``[N, N]`` matrix and sums over
the rows of each class. Both leave the rest (attention, probe, Adam) to the libraries that it uses.
Seconds are CPU seconds of one thread, so that they hold on a busy machine; compare within a run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import GATConv
from torch_geometric.utils import to_dense_adj

import graphclean as gc
from graphclean.issues import write_atomic
from graphclean.robust.erase import ERASE

EPSILON, GAMMA1, GAMMA2, ALPHA, BETA, STEPS = 0.05, 1.0, 2.0, 0.6, 0.6, 5


class DenseEncoder(torch.nn.Module):
    """The published encoder on PyG's attention."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = GATConv(features, 32, heads=8)
        self.second = GATConv(256, 512)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the embeddings ``[N, 512]``."""
        h = F.dropout(x, 0.5, self.training)
        h = F.normalize(F.leaky_relu(self.first(h, edge_index)), p=1, dim=1)
        return F.relu(F.normalize(self.second(h, edge_index), p=1, dim=1))


def dense_seconds(data: Data, epochs: int, *, masks: bool) -> float:
    """Return CPU seconds an epoch of the dense path on a graph with a training mask."""
    x = data.x / data.x.sum(dim=1, keepdim=True).clamp_min(1e-12)
    classes, rows = int(data.y.max()) + 1, data.train_mask
    adjacency = to_dense_adj(data.edge_index, max_num_nodes=data.num_nodes)[0]
    walk = adjacency / adjacency.sum(dim=0).clamp_min(1)
    given = F.one_hot(data.y[rows], classes).float()
    network = DenseEncoder(x.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-4, amsgrad=True)
    start = 0.0
    for epoch in range(epochs + 1):
        if epoch == 1:  # the first one warms up
            start = time.process_time()
        network.train()
        z = network(x, data.edge_index)
        found = classes_of(z.detach(), walk, given, rows)
        loss = -GAMMA2 * rate(z.t() @ z, GAMMA1 * z.shape[1] / len(z))
        for scatter, size in class_scatters(z, found, classes, masks=masks):
            loss = loss + GAMMA1 * size / len(z) * rate(scatter, z.shape[1] / max(size, 1e-8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.eval()
        with torch.no_grad():
            unit = F.normalize(network(x, data.edge_index), dim=1).double().numpy()
        probe = LogisticRegression(max_iter=1000)
        probe.fit(unit[rows.numpy()], found[rows].numpy())
        probe.predict(unit)
    return (time.process_time() - start) / epochs


def classes_of(z: Tensor, walk: Tensor, given: Tensor, rows: Tensor) -> Tensor:
    """Return the class of every node: prototypes and labels, spread by the dense matrix."""
    prototypes = F.normalize(given.t() @ z[rows], dim=1)
    logits = (1 - BETA) * (F.normalize(z, dim=1) @ prototypes.t()).abs()
    logits[rows] += BETA * given
    spread = logits.softmax(dim=1)
    for _ in range(STEPS):
        spread = (1 - ALPHA) * (walk @ spread) + ALPHA * spread
    return spread.argmax(dim=1)


def class_scatters(
    z: Tensor, found: Tensor, classes: int, *, masks: bool
) -> list[tuple[Tensor, float]]:
    """Return the scatter matrix ``[d, d]`` and the size of every class."""
    if masks:
        parts = [z[found == c] for c in range(classes)]
        return [(part.t() @ part, float(len(part))) for part in parts]
    members = np.zeros((classes, len(z), len(z)))
    members[found.numpy(), np.arange(len(z)), np.arange(len(z))] = 1.0
    diagonals = torch.from_numpy(members).float()
    return [(z.t() @ each @ z, float(each.sum())) for each in diagonals]


def rate(scatter: Tensor, scale: float) -> Tensor:
    """Return half the log determinant of the identity plus a scaled matrix."""
    identity = torch.eye(len(scatter))
    half: Tensor = torch.logdet(identity + scale / EPSILON * scatter) / 2
    return half


def own_seconds(data: Data, epochs: int) -> float:
    """Return CPU seconds an epoch of `ERASE`, its preparation left out."""

    def fit(count: int) -> float:
        start = time.process_time()
        model = ERASE(epochs=count, patience=None, random_state=0)
        model.fit(data, mask=data.train_mask, val_mask=data.val_mask)
        return time.process_time() - start

    fit(1)
    return (fit(epochs + 1) - fit(1)) / epochs


def random_graph(nodes: int, degree: int) -> Data:
    """Return a graph with 7 classes, 64 features and ``nodes * degree / 2`` random edges."""
    rng = torch.Generator().manual_seed(0)
    ends = torch.randint(nodes, (2, nodes * degree // 2), generator=rng)
    y = torch.randint(7, (nodes,), generator=rng)
    x = torch.rand(nodes, 64, generator=rng) + F.one_hot(y, 64)
    data = Data(x=x, edge_index=torch.cat([ends, ends.flip(0)], dim=1), y=y)
    data.train_mask = torch.arange(nodes) < 140
    data.val_mask = (torch.arange(nodes) >= 140) & (torch.arange(nodes) < 640)
    return data


def main() -> None:
    """Time, write ``erase_speed.csv``, show them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--dense-epochs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cora = gc.split(gc.load("cora"), "public")
    few = options.dense_epochs
    runs: list[tuple[str, Data, Callable[[Data], float]]] = [
        ("ours", cora, lambda data: own_seconds(data, options.epochs)),
        ("dense, masks", cora, lambda data: dense_seconds(data, few, masks=True)),
        ("dense", cora, lambda data: dense_seconds(data, few, masks=False)),
    ]
    for nodes, degree in ((5000, 10), (10000, 10), (20000, 10), (5000, 40), (5000, 160)):
        graph = random_graph(nodes, degree)
        runs.append(("ours", graph, lambda data: own_seconds(data, max(options.epochs // 3, 1))))
    found = pd.DataFrame(
        {
            "path": path,
            "nodes": data.num_nodes,
            "edges": data.num_edges,
            "cpu seconds an epoch": seconds(data),
        }
        for path, data, seconds in runs
    )
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out / "erase_speed.csv", found.to_csv(index=False).encode())
    shown = found.to_string(index=False, float_format=lambda value: f"{value:.3f}")
    print(shown)


if __name__ == "__main__":
    main()
