"""Write the tables of docs/results/stacking.md from the runs of ``benchmarks/stacking.py``.

    python benchmarks/stacking_tables.py out/stacking

Only what stands between the markers of the page is replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from graphclean.evaluate import averages_against, leaderboard, leaderboard_tables, per_setting
from graphclean.issues import write_atomic

PAGE = Path(__file__).parent.parent / "docs" / "results" / "stacking.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
DEFAULT = "stack"
SETTING = ["graph", "noise"]
COLUMNS = ["method", "rank", "settings", "runs", "missing", "score", "score_se"]


def read(folder: Path) -> pd.DataFrame:
    """Return one row a run."""
    runs = []
    for path in sorted((folder / "runs").glob("*.json")):
        record = json.loads(path.read_text())
        noise, _, rate = record["noise"].partition(":")
        runs.append({**record.pop("scores"), **record, "noise": noise, "rate": float(rate or 0)})
    return pd.DataFrame(runs)


def table(frame: pd.DataFrame) -> str:
    """Return a frame as Markdown, numbers with three digits."""
    cells = [
        ["" if v != v else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row]
        for row in frame.reset_index().itertuples(index=False)
    ]
    lines = [[str(name) for name in frame.reset_index().columns]]
    lines += [["---"] * len(lines[0]), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def by_setting(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return means of every method (rows) in every setting (columns)."""
    found = per_setting(frame, metric, SETTING).T
    found.columns = [f"{graph}, {noise}" for graph, noise in found.columns]
    return found


def against_mean(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how much larger gaps are than that of the members' mean on the same rows.

    The mean of the members has no way to fool itself: its gap is what the draw of the rows makes.
    """
    wide = frame.pivot_table(index=[*SETTING, "seed"], columns="method", values="gap")
    apart = wide.sub(wide["members, mean"], axis=0)
    chosen = [name for name in apart.columns if name.startswith("stack")]
    found = apart[chosen].groupby(SETTING).agg(["mean", "sem"])
    found.columns = [name if part == "mean" else "se" for name, part in found.columns]
    return found


def against_best(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the default less the best member, one fit or bagged, chosen in hindsight.

    ``se`` is the standard error of the mean difference of the same draws to that member.
    """
    wide = frame.pivot_table(index=[*SETTING, "seed"], columns="method", values="score")
    members = [name for name in wide.columns if name.endswith((", one fit", ", bagged"))]
    found = []
    for setting, runs in wide.groupby(SETTING):
        best = str(runs[members].mean().idxmax())
        apart = runs[DEFAULT] - runs[best]
        row = [runs[DEFAULT].mean(), best, runs[best].mean(), apart.mean(), apart.sem(), len(apart)]
        found.append([*setting, *row])
    names = [*SETTING, "default", "member", "best member", "difference", "se", "draws"]
    return pd.DataFrame(found, columns=names).set_index(SETTING)


def main() -> None:
    """Read the runs, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    frame = read(parser.parse_args().folder)
    ranked = leaderboard(frame, "score", by=SETTING, default=DEFAULT, min_coverage=0.99)
    best = against_best(frame)
    members = sorted(m for m in frame["method"].unique() if m.endswith((", one fit", ", bagged")))
    lead = averages_against(frame, DEFAULT, members, "score")
    parts = [
        f"{len(frame)} runs.\n",
        "## Ranks\n",
        leaderboard_tables.markdown(ranked, COLUMNS),
        "## Score in every setting (accuracy; average precision for Tolokers)\n",
        table(by_setting(frame, "score")),
        "## The default against the best member of every setting\n",
        table(best),
        f"Mean difference {best['difference'].mean():+.4f}, "
        f"least {best['difference'].min():+.4f}; least mean of a graph "
        f"{best.groupby('graph')['difference'].mean().min():+.4f}.\n",
        "## The default against every member\n",
        table(lead.set_index("other")[["difference", "se", "least", "most", "wins", "losses"]]),
        "## Optimism: accuracy out of fold less that on test labels with the same noise\n",
        table(by_setting(frame, "gap")),
        "## Optimism beyond that of the members' mean on the same rows, and its standard error\n",
        table(against_mean(frame)),
        "## Detection of wrong labels: AUROC of 1 - p(given label) out of fold\n",
        table(by_setting(frame, "detection_auroc")),
        "## Detection of wrong labels: average precision\n",
        table(by_setting(frame, "detection_ap")),
        "## CPU seconds\n",
        table(by_setting(frame, "cpu_seconds")),
    ]
    text = PAGE.read_text() if PAGE.exists() else f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomic(PAGE, f"{before}{BEGIN}\n\n{chr(10).join(parts)}\n{END}{after}".encode())


if __name__ == "__main__":
    main()
