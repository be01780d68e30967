"""Clean a seeded power-law graph of 1M nodes and 10M edges: time per stage, memory, agreement.

    python benchmarks/large_graph.py --work /tmp/large --out docs/results/large_graph.md

Draws the graph, runs ``graphclean clean`` on it as a user would and adds up the memory of all its
processes while it runs; then converts the edges to a memory-mapped folder and compares the hop
features of the mapped and the in-memory mode with rows of the explicit powers of S. Every step is
skipped when its result is there already. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from graphclean.data import load_npz, save_npz
from graphclean.evaluate.speed.graphs import planted_graph
from graphclean.issues import write_atomic
from graphclean.sparse import (
    HopOperator,
    MappedPropagator,
    Propagator,
    convert_edges,
    open_csr,
)

PAGE = """# A graph of {nodes:,} nodes and {edges:,} edges on two cores

    python benchmarks/large_graph.py {arguments}

Seeded power-law graph (exponent 2.6) with {classes} planted classes, homophily .8, {features} weak
features, 10 % uniform mislabels. `graphclean clean` as its user runs it, default settings:

    {command}

{wall:.0f} s of wall time; at most {peak:.2f} GiB over all processes together (proportional set
size, sampled every two seconds: what processes share counts once).
Load average of the machine during the run: {load:.1f} (2.0 would be this run alone).

```
{stages}
```

Detection: AP {ap:.4f}, F1 {f1:.4f}; estimated noise rate {rate:.2%} (true: 10 %). The graph is an
easy one: the run shows that the method gets through, not how good it is.

Hop features (K = 3, labels and predictions) of {sampled} random nodes:

| mode | largest difference from rows of the explicit float64 powers |
|---|---|
| in memory, float32 | {plain:.1e} |
| memory-mapped row blocks, float32 | {mapped:.1e} |

Largest difference between the two modes over all nodes, relative to values above one (a hub's sums
go up to hundreds): {modes:.1e}.
"""


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000, help="undirected edges")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--sample", type=int, default=100, help="nodes whose features are checked")
    parser.add_argument("--work", type=Path, required=True, help="folder for graph and results")
    parser.add_argument("--out", type=Path, help="the page; default: print it")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    graph = options.work / "graph.npz"
    if not graph.exists():
        entries, size = 2 * options.edges, (options.classes, options.features)
        save_npz(planted_graph(options.nodes, entries, *size, seed=0), graph)
    facts = {
        "nodes": options.nodes,
        "edges": options.edges,
        "classes": options.classes,
        "features": options.features,
        "sampled": options.sample,
        "arguments": " ".join(sys.argv[1:]),
        **step(options.work / "clean.json", lambda: clean(graph, options.work / "out")),
        **step(options.work / "features.json", lambda: features(graph, options)),
    }
    page = PAGE.format(**facts)
    if options.out is None:
        print(page)
    else:
        write_atomic(options.out, page.encode())


def step(path: Path, compute: object) -> dict:
    """Return the stored result of a step, or compute and store it."""
    if not path.exists():
        write_atomic(path, json.dumps(compute()).encode())
    return json.loads(path.read_text())


def clean(graph: Path, out: Path) -> dict:
    """Run the command and watch its memory."""
    arguments = ["clean", "--graph", str(graph), "--noise", "uniform:0.1", "--seed", "0"]
    command = [*arguments, "--out", str(out)]
    began, load = time.perf_counter(), []
    with subprocess.Popen(
        [sys.executable, "-m", "graphclean", *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        peak, lines = 0, []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
        reader.start()
        while process.poll() is None:
            peak = max(peak, sum(pss(pid) for pid in family(process.pid)))
            load.append(float(Path("/proc/loadavg").read_text().split()[0]))
            time.sleep(2)
        reader.join()
    if process.returncode:
        raise SystemExit("".join(lines))
    text = "".join(lines).replace("\r", "\n")
    scores = json.loads((out / "evaluation.json").read_text())
    return {
        "command": "graphclean " + " ".join(command),
        "wall": time.perf_counter() - began,
        "peak": peak / 2**20,
        "load": float(np.mean(load)),
        "stages": text[text.index("Time:") :].rstrip(),
        "ap": scores["ap"],
        "f1": scores["f1"],
        "rate": scores["estimated_noise_rate"],
    }


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        below = [int(child) for child in children.read_text().split()]
    except OSError:
        below = []
    return [pid, *(each for child in below for each in family(child))]


def pss(pid: int) -> int:
    """Return the memory of a process in KiB, pages that several share counted in shares."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def features(graph: Path, options: argparse.Namespace) -> dict:
    """Compare both modes with explicit rows of S, S^2 and S^3."""
    data = load_npz(graph)
    folder = options.work / "graph.csr"
    if not folder.exists():
        edges = options.work / "edges.parquet"
        ends = dict(zip(("source", "target"), data.edge_index.numpy(), strict=True))
        pd.DataFrame(ends).to_parquet(edges)
        convert_edges(edges, folder, num_nodes=options.nodes)
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(options.nodes, options.classes, generator=generator).softmax(dim=1)
    labels = data.y.view(-1)
    found = [
        HopOperator(operator, 3).features(labels, probs, labels)
        for operator in (Propagator.from_data(data), MappedPropagator(open_csr(folder)))
    ]
    chosen = torch.randperm(options.nodes, generator=generator)[: options.sample].numpy()
    matrix = Propagator.from_data(data).matrix
    onehot = torch.nn.functional.one_hot(labels, options.classes).double().numpy()
    expected = np.empty((options.sample, 6))
    rows = matrix[chosen]
    for hop in range(3):
        for place, node in enumerate(chosen):
            start, end = rows.indptr[place], rows.indptr[place + 1]
            others = rows.indices[start:end] != node
            weight, near = rows.data[start:end][others], rows.indices[start:end][others]
            label = int(labels[node])
            expected[place, hop] = weight @ probs[near, label].double().numpy()
            expected[place, 3 + hop] = weight @ onehot[near, label]
        if hop < 2:
            rows = rows @ matrix
    apart = (found[0] - found[1]).abs() / found[0].abs().clamp_min(1.0)
    modes = float(apart.max())
    plain, mapped = (float(np.abs(f.numpy()[chosen] - expected).max()) for f in found)
    return {"plain": plain, "mapped": mapped, "modes": modes}


if __name__ == "__main__":
    main()
