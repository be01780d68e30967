"""Train a two-layer stack on a large graph with a table: time, memory, accuracy.

    python benchmarks/stacking_large.py --jobs 2 --out out/stacking_large
    python benchmarks/stacking_large.py --nodes 5000 --dask 2 --out out/stacking_dask

The graph is made here: ten classes, an edge joins two nodes of one class in three of five cases,
30 numbers and 20 categories that say a little about the class, a twentieth of their cells empty,
and 20 % wrong labels. ``--dask`` sends the fits to a LocalCluster of so many workers and checks
that the probabilities are, bit for bit, those of one process.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from torch_geometric.data import Data

import graphclean as gc
from graphclean.ensemble import GraphStackingClassifier
from graphclean.evaluate.grid.cluster import on_cluster
from graphclean.issues import write_atomic

CLASSES, NUMBERS, CATEGORIES = 10, 30, 20
ALIKE, GAPS, WRONG = 0.6, 0.05, 0.2


def large_graph(nodes: int, edges: int, seed: int = 0) -> Data:
    """Return the graph, given labels in ``y``, true ones in ``y_clean``, masks 60/20/20."""
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=nodes)
    source = rng.integers(nodes, size=edges // 2)
    target = rng.integers(nodes, size=edges // 2)
    order = np.argsort(y, kind="stable")
    starts = np.searchsorted(y[order], np.arange(CLASSES + 1))
    size = np.diff(starts)[y[source]]
    peers = order[starts[y[source]] + (rng.random(len(source)) * size).astype(np.int64)]
    target = np.where(rng.random(len(source)) < ALIKE, peers, target)
    frame = {}
    for number in range(NUMBERS):
        values = rng.normal(scale=0.5, size=CLASSES)[y] + rng.normal(size=nodes)
        values[rng.random(nodes) < GAPS] = np.nan
        frame[f"n{number}"] = values.astype(np.float32)
    for category in range(CATEGORIES):
        levels = int(rng.integers(3, 12))
        shares = rng.dirichlet(np.full(levels, 3.0), size=CLASSES).cumsum(axis=1)
        codes = (rng.random(nodes)[:, None] > shares[y]).sum(axis=1).clip(max=levels - 1)
        codes[rng.random(nodes) < GAPS] = -1
        names = [f"level {level}" for level in range(levels)]
        frame[f"c{category}"] = pd.Categorical.from_codes(codes, names)
    ends = torch.from_numpy(np.stack([source, target]))
    data = Data(edge_index=torch.cat([ends, ends.flip(0)], dim=1), num_nodes=nodes)
    data.y = torch.from_numpy(y)
    data.node_frame = pd.DataFrame(frame)
    return gc.FlipLabels("uniform", WRONG, seed=seed)(
        gc.split(gc.check(data), "fractions", random_state=seed)
    )


def fit(data: Data, jobs: int, *, progress: bool) -> tuple[GraphStackingClassifier, float]:
    """Return the fitted default stack and the seconds that it took."""
    start = time.perf_counter()
    model = GraphStackingClassifier(random_state=0, n_jobs=jobs, progress=progress)
    model.fit(data, mask=data.train_mask, val_mask=data.val_mask)
    return model, time.perf_counter() - start


class PeakMemory:
    """Watch the memory of this process and all its workers, twice a second.

    Pages that several of them share are counted for each: an upper bound.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def gigabytes(self) -> float:
        """The largest sum seen, in GB."""
        return self.peak / 2**30

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._done.wait(0.5):
            self.peak = max(self.peak, sum(map(_resident, [own, *own.children(recursive=True)])))


def _resident(process: psutil.Process) -> int:
    """Return bytes in memory, 0 of a process that has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Train, measure, write ``stacking_large.json`` and ``scores.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--degree", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--dask", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = large_graph(options.nodes, options.nodes * options.degree)
    with PeakMemory() as memory:
        model, seconds = fit(data, options.jobs, progress=True)
    test = data.test_mask
    right = model.store_.stack.argmax(dim=1) == data.y_clean
    record = {
        "nodes": options.nodes,
        "edges": int(data.edge_index.shape[1]),
        "jobs": options.jobs,
        "seconds": seconds,
        "gigabytes": memory.gigabytes,
        "accuracy": float(right[test].float().mean()),
        "optimism_gap": model.optimism_gap_,
    }
    if options.dask:
        with on_cluster("local", options.dask):
            other, record["dask_seconds"] = fit(data, options.dask, progress=True)
        record["dask_same"] = bool(torch.equal(other.store_.stack, model.store_.stack))
    text = json.dumps(record, indent=1) + "\n"
    write_atomic(options.out / "stacking_large.json", text.encode())
    write_atomic(options.out / "scores.csv", model.scores_.to_csv(index=False).encode())
    print(text + model.scores_.to_string(index=False))


if __name__ == "__main__":
    main()
