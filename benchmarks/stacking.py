"""Compare stacks, their members and their neighbours on graphs with tables.

    python benchmarks/stacking.py --out out/stacking --jobs 2
    python benchmarks/stacking_tables.py out/stacking

A cell is a graph, a noise and a seed: a fresh split and fresh wrong labels in exactly the nominal
share of the training rows and of the validation rows. Test labels are right, and only score.
The members are fitted once a cell and serve all stacks. Every finished run is one file, written
whole, so that the same command goes on where it was stopped; ``--graph``, ``--noise``, ``--seed``
and ``--method`` choose a part.

``gap`` is the accuracy on given training labels, out of fold, less that on test labels with the
same noise: 0 for a method that does not fool itself.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

import graphclean as gc
from graphclean.data import check, split
from graphclean.ensemble import EnsembleClassifier, GraphStackingClassifier
from graphclean.ensemble.members import default_members
from graphclean.evaluate import detection_scores
from graphclean.issues import write_atomic
from graphclean.nn import cross_fit
from graphclean.noise import parse_noise
from graphclean.types import spawn_seeds

SEEDS = {
    "county_election": 5,
    "german_credit": 5,
    "cora": 5,
    "california_housing": 3,
    "tolokers": 3,
}
FRACTIONS = {"california_housing": (0.1, 0.1, 0.8)}
NOISES = ("clean", "uniform:0.3", "pair:0.3")
SAME = [("pair:0.3", graph) for graph in ("german_credit", "tolokers")]
"""Of two classes, uniform and pair noise are one."""

RANKED_BY_AP = ("tolokers",)
PARTS = ("train", "val", "test")

STACKS: dict[str, dict[str, Any]] = {
    "stack": {},
    "stack, oof": {"consistency": "oof", "fallback": False},
    "stack, no propagation": {"consistency": "none", "fallback": False},
    "stack, mean": {"meta": "mean", "fallback": False},
    "stack, unweighted": {"weighting": None, "drop_flagged": False, "fallback": False},
    "members, mean": {"n_layers": 1, "meta": "mean", "fallback": False},
    "members, greedy": {"n_layers": 1, "fallback": False},
}
"""The default stack, what it is made of, and what it is not, on the same members. ``"oof"`` is as
published but for the weights of rows and the combination, which are the default's."""

RIVALS = ("correct_and_smooth", "boosted_smoothing", "boosted_gnn", "gmnn")


@dataclass(frozen=True)
class Cell:
    """One draw of split and noise."""

    graph: str
    noise: str
    seed: int

    @cached_property
    def data(self) -> Any:
        """The graph with given labels in ``y``, of test rows too, and true ones in ``y_clean``."""
        split_seed, *seeds = spawn_seeds(self.seed, 1 + len(PARTS))
        fractions = FRACTIONS.get(self.graph, (0.5, 0.25, 0.25))
        data = split(gc.load(self.graph), "fractions", fractions=fractions, random_state=split_seed)
        data.y_clean, given = data.y.clone(), data.y.clone()
        if self.noise != "clean":
            model = parse_noise(self.noise)
            for part, seed in zip(PARTS, seeds, strict=True):
                rows = data[f"{part}_mask"]
                given[rows] = model.sample(data, seed, on=(part,)).y[rows]
        data.y = given
        return check(data)

    @cached_property
    def shown(self) -> Any:
        """What methods get: the same without true labels and without labels of test rows."""
        data = copy.copy(self.data)
        del data.y_clean
        data.y = torch.where(data.train_mask | data.val_mask, data.y, -1)
        data.class_names = gc.data.class_names(self.data)
        return data

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``fit``."""
        return {"mask": self.shown.train_mask, "val_mask": self.shown.val_mask}


def stack(**options: Any) -> GraphStackingClassifier:
    """Return a stack with the benchmark's seed."""
    return GraphStackingClassifier(random_state=0, **options)


def scores(cell: Cell, probs: Tensor, out_of_fold: Tensor | None) -> dict[str, float]:
    """Score probabilities of all nodes and, of training rows, out of fold."""
    data, test = cell.data, cell.data.test_mask
    found = {"accuracy": accuracy(probs, data.y_clean, test)}
    if cell.graph in RANKED_BY_AP:
        found["ap"] = float(average_precision_score(data.y_clean[test] == 1, probs[test, 1]))
    found["score"] = found.get("ap", found["accuracy"])
    if out_of_fold is not None:
        train = data.train_mask
        found["gap"] = accuracy(out_of_fold, data.y, train) - accuracy(probs, data.y, test)
        wrong = (data.y != data.y_clean)[train].numpy()
        if wrong.any():
            doubt = 1 - out_of_fold[train].gather(1, data.y[train].unsqueeze(1)).squeeze(1)
            found_wrong = detection_scores(wrong, doubt.numpy(), doubt.numpy() > 0.5)
            found |= {f"detection_{key}": found_wrong[key] for key in ("auroc", "ap")}
    return found


def accuracy(probs: Tensor, labels: Tensor, rows: Tensor) -> float:
    """Return the share of rows whose most probable class is the label."""
    return float((probs.argmax(dim=1) == labels)[rows].float().mean())


class Work:
    """The runs of one cell; members are fitted when the first run needs them."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.member_seconds = 0.0

    @cached_property
    def members(self) -> Any:
        """The cross-fitted members."""
        start = time.process_time()
        found = stack().cross_fit_members(self.cell.shown, **self.cell.arguments)
        self.member_seconds = time.process_time() - start
        return found

    def stacked(self, name: str) -> dict[str, float]:
        """Run a stack on the shared members."""
        members, start = self.members, time.process_time()
        model = stack(**STACKS[name])
        model.fit(self.cell.shown, **self.cell.arguments, prepared=members)
        spent = time.process_time() - start
        probs = model.store_.stack  # Of test rows: the mean of all pipelines.
        found = scores(self.cell, probs, model.stack_oof_)
        own = {"optimism_gap": model.optimism_gap_, "overfits": float(model.overfits_)}
        return found | own | {"cpu_seconds": spent + self.member_seconds}

    def member(self, name: str) -> dict[str, float]:
        """Score a member by the mean of its models, as it is in the stack."""
        layer = self.members.layer
        probs = layer.results[name].pred_probs
        return scores(self.cell, probs, probs) | {"cpu_seconds": layer.seconds[name]}

    def alone(self, name: str) -> dict[str, float]:
        """Fit a member once on all training rows."""
        model = dict(default_members())[name]
        model.set_params(random_state=0)
        start = time.process_time()
        model.fit(self.cell.shown, **self.cell.arguments)
        probs = model.predict_proba(self.cell.shown)
        spent = time.process_time() - start
        return scores(self.cell, probs, None) | {"cpu_seconds": spent}

    def rival(self, name: str) -> dict[str, float]:
        """Fit a rival on all training rows, and on folds for its gap and its detection."""
        model = EnsembleClassifier.create(name, random_state=0)
        start = time.process_time()
        model.fit(self.cell.shown, **self.cell.arguments)
        probs = model.predict_proba(self.cell.shown)
        spent = time.process_time() - start
        shown = self.cell.shown
        folds = cross_fit(model, shown, mask=shown.train_mask, n_folds=5, random_state=0)
        return scores(self.cell, probs, folds.pred_probs) | {"cpu_seconds": spent}


def methods() -> dict[str, Callable[[Work], dict[str, float]]]:
    """Return all runs of a cell by name."""
    found: dict[str, Callable[[Work], dict[str, float]]] = {}
    for name, _ in default_members():
        found[f"{name}, one fit"] = lambda work, name=name: work.alone(name)
        found[f"{name}, bagged"] = lambda work, name=name: work.member(name)
    for name in STACKS:
        found[name] = lambda work, name=name: work.stacked(name)
    for name in RIVALS:
        found[name] = lambda work, name=name: work.rival(name)
    return found


def path_of(out: Path, cell: Cell, method: str) -> Path:
    """Return the file of a run."""
    parts = (cell.graph, cell.noise.replace(":", "-"), str(cell.seed), method.replace(", ", "-"))
    return out / "runs" / f"{'__'.join(parts).replace(' ', '_')}.json"


def run_cell(out: Path, cell: Cell, wanted: list[str]) -> list[str]:
    """Make the runs of a cell that are missing; return what failed."""
    torch.set_num_threads(1)
    runs, failed, work = methods(), [], Work(cell)
    with threadpool_limits(1):
        for method in wanted:
            try:
                found = runs[method](work)
            except Exception:
                failed.append(f"{cell} {method}\n{traceback.format_exc()}")
                continue
            record = {"graph": cell.graph, "noise": cell.noise, "seed": cell.seed}
            record |= {"method": method, "scores": found}
            text = json.dumps(record, indent=1, default=float) + "\n"
            write_atomic(path_of(out, cell, method), text.encode())
    return failed


def main() -> None:
    """Make all missing runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    for option, known in (("graph", SEEDS), ("noise", NOISES), ("method", methods())):
        parser.add_argument(f"--{option}", action="append", choices=list(known))
    parser.add_argument("--seed", action="append", type=int)
    options = parser.parse_args()
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    cells = [
        Cell(graph, noise, seed)
        for seed in options.seed or range(max(SEEDS.values()))
        for graph, count in SEEDS.items()
        for noise in NOISES
        if (options.seed is not None or seed < count)
        and graph in (options.graph or SEEDS)
        and (noise, graph) not in SAME
        and noise in (options.noise or NOISES)
    ]
    names = [name for name in methods() if name in (options.method or methods())]
    missing = {
        cell: [name for name in names if not path_of(options.out, cell, name).exists()]
        for cell in cells
    }
    tasks = [delayed(run_cell)(options.out, cell, todo) for cell, todo in missing.items() if todo]
    done = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(tasks)
    failed = np.concatenate([[], *tqdm(done, total=len(tasks), desc="cells")])
    for each in failed:
        print(each, file=sys.stderr)
    sys.exit(int(len(failed) > 0))


if __name__ == "__main__":
    import stacking  # Workers find its classes by name; cached properties of __main__ hold locks.

    stacking.main()
