"""Write the tables of docs/results/robustness.md from the grids that have been run.

    graphclean bench train benchmarks/robustness.toml --jobs 2 --out out/robustness
    graphclean bench train benchmarks/robustness_short.toml --jobs 2 --out out/robustness_short
    graphclean bench train benchmarks/noisygl.toml --jobs 2 --out out/noisygl
    graphclean bench train benchmarks/erase.toml --jobs 2 --out out/erase
    python benchmarks/erase_speed.py --out out/erase_speed
    python benchmarks/robustness_tables.py --robustness out/robustness \
        --robustness-short out/robustness_short --noisygl out/noisygl --erase out/erase \
        --erase-speed out/erase_speed

Only what stands between the markers of the page is replaced; the text around them is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from graphclean.evaluate import averages_against, leaderboard, leaderboard_tables, per_setting
from graphclean.evaluate.grid import load_records, read_grid, training_frame
from graphclean.issues import write_atomic
from graphclean.recipes import get_recipe
from graphclean.robust import DEFAULT_TRAINER

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results" / "robustness.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
GRIDS = ("robustness", "robustness_short", "noisygl", "erase")
COLUMNS = ["method", "rank", "settings", "runs", "failed", "accuracy", "accuracy_se", "ece"]
SETTING = ["graph", "noise", "rate"]


def table(frame: pd.DataFrame) -> str:
    """Return a frame as Markdown, numbers with three digits."""
    shown = frame.reset_index()
    cells = [
        [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row]
        for row in shown.itertuples(index=False)
    ]
    lines = [[str(name) for name in shown.columns], ["---"] * shown.shape[1], *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def state(frame: pd.DataFrame, runs: int) -> str:
    """Return a line on how much of a grid has been run."""
    failed = int(frame["error"].notna().sum())
    return f"{len(frame)} of {runs} runs, {failed} failed.\n"


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return CPU seconds of a fit, and how many times those of the plain GCN in the same cell."""
    cell = [*SETTING, "seed", "protocol"]
    seconds = frame.pivot_table(index=cell, columns="method", values="cpu_seconds")
    times = seconds.div(seconds["gcn"], axis=0)
    return pd.DataFrame({"cpu seconds": seconds.mean(), "times gcn": times.median()})


def robustness(frame: pd.DataFrame) -> list[str]:
    """Return the tables of one protocol."""
    parts = []
    ranked = leaderboard(frame, "accuracy", default=DEFAULT_TRAINER, min_coverage=0.99)
    parts.append(leaderboard_tables.markdown(ranked, COLUMNS))
    settings = per_setting(frame, "accuracy", SETTING).T
    settings.columns = [f"{graph} {noise} {rate:g}" for graph, noise, rate in settings.columns]
    parts += ["### Accuracy in every setting\n", table(settings)]
    noisy = frame[frame["rate"] > 0]
    for title, part in (("30 % noise", noisy), ("right labels", frame[frame["rate"] == 0])):
        found = set(part["method"])
        others = [name for name in ("gcn", "nrgnn") if name in found]
        if DEFAULT_TRAINER in found and others:
            lead = averages_against(part, DEFAULT_TRAINER, others, "accuracy")
            columns = ["other", "difference", "se", "least", "most", "wins", "losses", "pairs"]
            shown = lead[columns].set_index("other")
            parts += [f"### The default against others, {title}\n", table(shown)]
    parts += ["### Cost of a fit\n", table(costs(frame).sort_values("cpu seconds"))]
    return parts


def with_published(frame: pd.DataFrame, method: str, recipe: str, family: str) -> pd.DataFrame:
    """Return mean and standard deviation of a method beside what has been published."""
    own = frame[frame["method"] == method]
    found = own.groupby(SETTING)["accuracy"].agg(["mean", "std", "count"])
    found["train noise"] = own.groupby(SETTING)["train_noise_rate"].mean()
    published = {}
    for row in get_recipe("models", recipe, family).content.get("published", ()):
        kind, _, rate = row["noise"].partition(":")
        if row["protocol"] == own["protocol"].iloc[0]:
            published[(row["dataset"], kind, float(rate))] = row["accuracy"]
    for key in ("mean", "std"):
        found[f"published {key}"] = [
            published.get(place, {}).get(key, float("nan")) for place in found.index
        ]
    found["difference"] = found["mean"] - found["published mean"]
    return found


def sections(kind: str, frame: pd.DataFrame) -> list[str]:
    """Return the tables of one grid."""
    if kind == "robustness":
        return ["## NoisyGL's setting: every method\n", *robustness(frame)]
    if kind == "robustness_short":
        parts = ["## A short list on more graphs, and with dense labels\n"]
        for protocol, part in frame.groupby("protocol", sort=False):
            shown = "Training, validation, test: 60/20/20" if protocol == "dense" else protocol
            parts += [f"### {shown}\n", *(line.replace("###", "####") for line in robustness(part))]
        return parts
    if kind == "noisygl":
        title = "## The plain GCN under NoisyGL's own protocol\n"
        return [title, table(with_published(frame, "gcn", "gcn", "classifier"))]
    parts = ["## ERASE\n"]
    for protocol, part in frame.groupby("protocol"):
        parts.append(f"### Protocol {protocol}\n")
        if protocol == "erase":
            parts.append(table(with_published(part, "erase", "erase", "trainer")))
        parts.append(table(per_setting(part, "accuracy")))
    return parts


def main() -> None:
    """Read the grids, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind in GRIDS:
        parser.add_argument(f"--{kind.replace('_', '-')}", type=Path)
    parser.add_argument("--erase-speed", type=Path)
    options = parser.parse_args()
    parts = []
    for kind in GRIDS:
        folder = getattr(options, kind)
        if folder is None:
            continue
        grid = read_grid(HERE / f"{kind}.toml")
        frame = training_frame(load_records(folder, grid))
        first, *rest = sections(kind, frame)
        parts += [first, state(frame, grid.runs), *rest]
    if options.erase_speed is not None:
        speed = pd.read_csv(options.erase_speed / "erase_speed.csv").set_index("path")
        parts += ["### Seconds of an epoch of ERASE\n", table(speed)]
    text = PAGE.read_text() if PAGE.exists() else f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomic(PAGE, f"{before}{BEGIN}\n\n{chr(10).join(parts)}\n{END}{after}".encode())


if __name__ == "__main__":
    main()
