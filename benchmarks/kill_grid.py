"""Kill -9 the experiment grid at random moments, resume it, and compare with an undisturbed run.

    python benchmarks/kill_grid.py --kills 10 --jobs 2 --out out/kill_grid

Prints what was done when each kill struck and, in the end, whether the records are the same, times
aside. Ends with 1 if they are not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

TIMES = ("seconds", "cpu_seconds", "probs_cpu_seconds", "peak_mb")
GRID = """
[[grid]]
graphs = ["karateclub", "digits"]
noise = ["uniform", "pair"]
rates = [0.1]
seeds = [0, 1, 2]

[learners.sgc]
params = { epochs = 50, val_fraction = 0.0, patience = "none" }

[learners.mlp]
params = { epochs = 50, val_fraction = 0.0, patience = "none" }

[[method]]
detector = "self_confidence"
probs = "best"

[[method]]
detector = "confident_learning"
probs = "mlp"

[[method]]
detector = "neighbour_agreement"

[[method]]
detector = "graphcleaner"
params = { draws = 2 }
probs = "best"
"""


def command(grid, out, jobs):
    """Return the command line of the grid."""
    start = [sys.executable, "-m", "graphclean", "bench", "detect", str(grid)]
    return [*start, "--jobs", str(jobs), "--out", str(out), "--quiet"]


def records(out):
    """Return the records of a folder by key, without the times."""
    found = {}
    for path in (out / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        found[path.stem] = {k: v for k, v in record.items() if k not in TIMES}
    return found


def kill_once(line, out, rng, longest):
    """Start the grid, kill it and its workers after its next record; return whether it was hit."""
    before = len(records(out))
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and len(records(out)) <= before:
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, longest))
    hit = process.poll() is None
    # The process group, so that no worker goes on in secret.
    if hit:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return hit


def main():
    """Run undisturbed, then with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds from record to kill")
    parser.add_argument("--out", type=Path, default=Path("out/kill_grid"))
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    grid = options.out / "grid.toml"
    grid.write_text(GRID)

    calm, killed = options.out / "undisturbed", options.out / "killed"
    subprocess.run(command(grid, calm, options.jobs), check=True, stdout=subprocess.DEVNULL)
    expected = records(calm)
    print(f"undisturbed: {len(expected)} runs")
    hits = attempts = 0
    while hits < options.kills:
        attempts += 1
        if kill_once(command(grid, killed, options.jobs), killed, rng, options.longest):
            hits += 1
            print(f"kill {hits}: {len(records(killed))} of {len(expected)} runs are done")
        else:
            # It ended before the kill: take half of the records away and go on.
            finished = sorted((killed / "runs").glob("*.json"))
            for path in rng.choice(finished, len(finished) // 2, replace=False):
                Path(path).unlink()
    subprocess.run(command(grid, killed, options.jobs), check=True, stdout=subprocess.DEVNULL)
    same = records(killed) == expected
    print(f"{hits} kills: the records are {'the same' if same else 'NOT the same'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
