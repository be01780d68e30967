"""What the mini-batch learner of large graphs costs in quality, on graphs where both can run.

    python benchmarks/large_learner.py --seeds 5 --out out/large_learner

The default detector with its full-batch base learner (APPNP) and with the one that it takes above
100,000 nodes or 2,000,000 entries (SIGN in mini-batches), on the same noise draws. One JSON line a
run in runs.jsonl; a run that is there is not repeated. Writes docs/results/large_learner.md.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

import graphclean as gc
from graphclean.detect import GraphCleaner, base_learner
from graphclean.evaluate import evaluate_issues
from graphclean.issues import write_atomic
from graphclean.noise import FlipLabels

LEARNERS = {"full batch (APPNP)": 100_000, "mini-batches (SIGN)": 0}
"""Number of nodes above which a graph counts as large."""

PAGE = """# The mini-batch learner of large graphs

    python benchmarks/large_learner.py --seeds {seeds} --graphs {graphs}

Default detector, whole graph, 10 % wrong labels, fresh draw per seed; mean and standard error over
{seeds} seeds. Above 100,000 nodes or 2,000,000 directed entries the base learner is SIGN in
mini-batches instead of APPNP: here both run on graphs where both can. CPU seconds on one thread,
on a machine that other work shared.

{table}

{verdict}
"""


def run(graph: str, noise: str, seed: int, learner: str) -> dict:
    """Inject, detect, score."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = gc.check(FlipLabels(noise, 0.1, seed=seed)(gc.load(graph)))
    limit = base_learner.LARGE_NODES
    base_learner.LARGE_NODES = LEARNERS[learner]
    began = time.process_time()
    try:
        detector = GraphCleaner(random_state=seed).fit(data)
    finally:
        base_learner.LARGE_NODES = limit
    seconds = time.process_time() - began
    scores = evaluate_issues(detector.find_label_issues(), data)
    kept = {key: scores[key] for key in ("ap", "f1", "estimated_noise_rate", "ece")}
    settings = {"graph": graph, "noise": noise, "seed": seed, "learner": learner}
    return {**settings, **kept, "seconds": seconds}


def page(rows: pd.DataFrame, seeds: int) -> str:
    """Return the page of all runs."""
    lines = [
        "| graph | noise | learner | AP | F1 | estimated rate | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for (graph, noise, learner), part in rows.groupby(["graph", "noise", "learner"], sort=False):
        cells = [
            f"{part[key].mean():.3f} ± {part[key].std() / np.sqrt(len(part)):.3f}"
            for key in ("ap", "f1", "estimated_noise_rate")
        ]
        row = [graph, noise, learner, *cells, f"{part['seconds'].mean():.0f}"]
        lines.append(f"| {' | '.join(row)} |")
    wide = rows.pivot_table(index=["graph", "noise", "seed"], columns="learner", values="ap")
    lead = wide["mini-batches (SIGN)"] - wide["full batch (APPNP)"]
    verdict = (
        f"Mini-batches minus full batch, AP: {lead.mean():+.4f} on average over {len(lead)} paired "
        f"runs, {lead.min():+.3f} to {lead.max():+.3f}."
    )
    return PAGE.format(
        seeds=seeds,
        graphs=" ".join(dict.fromkeys(rows["graph"])),
        table="\n".join(lines),
        verdict=verdict,
    )


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--graphs", nargs="+", default=["cora", "citeseer", "photo"])
    parser.add_argument("--out", type=Path, default=Path("out/large_learner"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "runs.jsonl"
    lines = store.read_text().splitlines() if store.exists() else []
    rows = [json.loads(line) for line in lines]
    known = {(r["graph"], r["noise"], r["seed"], r["learner"]) for r in rows}
    wanted = [
        (graph, noise, seed, learner)
        for graph in options.graphs
        for noise in ("uniform", "pair")
        for seed in range(options.seeds)
        for learner in LEARNERS
    ]
    for settings in tqdm([each for each in wanted if each not in known]):
        row = run(*settings)
        rows.append(row)
        with store.open("a") as file:
            file.write(json.dumps(row) + "\n")
    order = {settings: place for place, settings in enumerate(wanted)}
    frame = pd.DataFrame(
        sorted(
            (r for r in rows if (r["graph"], r["noise"], r["seed"], r["learner"]) in order),
            key=lambda r: order[r["graph"], r["noise"], r["seed"], r["learner"]],
        )
    )
    write_atomic("docs/results/large_learner.md", page(frame, options.seeds).encode())


if __name__ == "__main__":
    main()
