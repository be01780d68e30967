"""Write what trainers and ensembles scored into their recipes, as ``[[reproduced]]`` rows.

    python benchmarks/reproduced_scores.py --grid benchmarks/robustness.toml out/robustness \
        --grid benchmarks/erase.toml out/erase
    python benchmarks/reproduced_scores.py --stacking out/stacking

Rows are of runs with the method's defaults for the graph. What a recipe holds from the marker to
its end is replaced. The protocol "stacking" is that of ``benchmarks/stacking.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import stacking
import stacking_tables

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


def trainer_runs(grids: list[list[Path]]) -> pd.DataFrame:
    """Return the runs of trainers with their defaults, in ``recipe`` the file's stem."""
    frames = []
    for grid_file, folder in grids:
        names = with_defaults(grid_file)
        runs = training_frame(load_records(folder, read_grid(grid_file)))
        frames.append(runs.assign(recipe="trainer_" + runs["method"].map(names)))
    return pd.concat(frames)


def ensemble_runs(folder: Path) -> pd.DataFrame:
    """Return the runs of ensembles with their defaults, in ``recipe`` the file's stem."""
    names = {"stack": "graph_stacking"} | {name: name for name in stacking.RIVALS}
    runs = stacking_tables.read(folder)
    runs["noise"] = runs["noise"].replace("clean", "uniform")
    return runs.assign(recipe="ensemble_" + runs["method"].map(names), protocol="stacking")


def main() -> None:
    """Read the runs, rewrite the recipes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", nargs=2, type=Path, action="append", default=[])
    parser.add_argument("--stacking", type=Path)
    options = parser.parse_args()
    frames = [trainer_runs(options.grid)] if options.grid else []
    frames += [ensemble_runs(options.stacking)] if options.stacking else []
    if not frames:
        parser.error("pass --grid or --stacking")
    everything = pd.concat(frames).drop_duplicates([*SETTING, "seed", "recipe"])
    for recipe, runs in everything.groupby("recipe"):
        path = MODELS / f"{recipe}.toml"
        kept = path.read_text().split(MARKER)[0].rstrip("\n")
        write_atomic(path, "\n\n".join([kept, "\n".join([MARKER, *rows(runs)])]).encode())
        family, name = str(recipe).split("_", 1)
        get_recipe("models", name, family)


if __name__ == "__main__":
    main()
