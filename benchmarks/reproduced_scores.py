"""Write what trainers scored in the grids into their recipes, as ``[[reproduced]]`` rows.

    python benchmarks/reproduced_scores.py --grid benchmarks/robustness.toml out/robustness \
        --grid benchmarks/erase.toml out/erase

Rows are of runs with the trainer's defaults for the graph. What a recipe holds from the marker to
its end is replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from graphclean.evaluate.grid import load_records, read_grid, training_frame
from graphclean.issues import write_atomic
from graphclean.recipes import get_recipe
from graphclean.robust import RobustTrainer

MODELS = Path(__file__).parent.parent / "models"
MARKER = "# Reproduced: written by benchmarks/reproduced_scores.py from the grids of docs/results/."
SETTING = ["protocol", "graph", "noise", "rate"]


def with_defaults(grid_file: Path) -> dict[str, str]:
    """Return the trainer of every entry of a grid that changes none of its parameters."""
    found = {}
    for entry in read_grid(grid_file).trainers:
        if entry.trainer not in RobustTrainer.registry:
            continue
        defaults = RobustTrainer.registry[entry.trainer]().get_params(deep=False)
        if all(defaults[key] == value for key, value in entry.params.items()):
            found[entry.name] = entry.trainer
    return found


def rows(runs: pd.DataFrame) -> Iterator[str]:
    """Yield a table of TOML for every setting that some seeds have been run in."""
    for place, part in runs.groupby(SETTING):
        accuracy = part["accuracy"].dropna()
        if len(accuracy) < 2:
            continue
        protocol, graph, noise, rate = place
        yield (
            f'[[reproduced]]\ndataset = "{graph}"\nnoise = "{noise}:{rate}"\n'
            f'protocol = "{protocol}"\nseeds = {len(accuracy)}\n'
            f"accuracy = {{ mean = {accuracy.mean():.4f}, std = {accuracy.std():.4f} }}\n"
        )


def main() -> None:
    """Read the grids, rewrite the recipes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", nargs=2, type=Path, action="append", required=True)
    frames = []
    for grid_file, folder in parser.parse_args().grid:
        names = with_defaults(grid_file)
        runs = training_frame(load_records(folder, read_grid(grid_file)))
        frames.append(runs.assign(trainer=runs["method"].map(names)))
    everything = pd.concat(frames).drop_duplicates([*SETTING, "seed", "trainer"])
    for trainer, runs in everything.groupby("trainer"):
        path = MODELS / f"trainer_{trainer}.toml"
        kept = path.read_text().split(MARKER)[0].rstrip("\n")
        write_atomic(path, "\n\n".join([kept, "\n".join([MARKER, *rows(runs)])]).encode())
        get_recipe("models", str(trainer), "trainer")


if __name__ == "__main__":
    main()
