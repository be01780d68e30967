"""A speed report as text, as Markdown and as a dictionary for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from graphclean.evaluate.speed.comparison import OURS
from graphclean.evaluate.speed.measure import Measured, Row
from graphclean.evaluate.speed.run import SpeedReport
from graphclean.evaluate.speed.timing import Elapsed, Spread

_HEADER = (
    "implementation",
    "wall ms [p10, p90]",
    "CPU ms",
    "ratio [p10, p90]",
    "extra MiB",
    "GB/s",
    "error",
    "note",
)
_MIB = 2**20
_LEGEND = (
    "ratio: time over graphclean's in the same round, median over rounds that interleave all rows",
    "extra: peak of memory above the start, in the first run",
    "GB/s: bytes moved if every neighbour's row is fetched anew, over the median time",
    "error: max |a - b| / max |b| against float64, checked before anything was timed",
    "*: shown, not compared: another task, or ours under another condition",
)


def text(report: SpeedReport) -> str:
    """Return the report for a terminal, without a final newline."""
    parts = [[*_facts(report), *_LEGEND]]
    for each in report.measured:
        parts.append([each.comparison.name, *_indented(_about(each)), *_aligned(each)])
    if report.left_out:
        lines = [f"{name}: {why}" for name, why in report.left_out.items()]
        parts.append(["Left out", *_indented(lines)])
    return "\n\n".join("\n".join(lines) for lines in parts)


def markdown(report: SpeedReport, command: str) -> str:
    """Return the report as a Markdown page that begins with its command."""
    lines = ["# Speed", "", f"    {command}", ""]
    lines += [f"- {line}" for line in (*_facts(report), *_LEGEND)]
    lines += ["", "## Ratios", "", "Peer time over graphclean's.", ""]
    lines += ["| comparison | ratio |", "|---|---|"]
    lines += [f"| {name} | {_number(value)} |" for name, value in report.ratios.items()]
    for each in report.measured:
        lines += ["", f"## {each.comparison.name}", ""]
        lines += [f"- {line}" for line in _about(each)]
        lines += ["", f"| {' | '.join(_HEADER)} |", "|---" * len(_HEADER) + "|"]
        lines += [f"| {' | '.join(_escaped(_cells(row)))} |" for row in each.rows]
    if report.left_out:
        lines += ["", "## Left out", ""]
        lines += [f"- {name}: {why}" for name, why in report.left_out.items()]
    return "\n".join(lines) + "\n"


def to_dict(report: SpeedReport) -> dict[str, Any]:
    """Return the report as JSON can hold it: seconds, bytes, and None for what is not there."""
    return {
        "benchmark": "speed",
        "settings": dict(report.settings),
        "machine": dict(report.machine),
        "ratios": report.ratios,
        "errors": report.errors,
        "left_out": dict(report.left_out),
        "comparisons": [_comparison(each) for each in report.measured],
    }


def _comparison(each: Measured) -> dict[str, Any]:
    traffic = each.comparison.traffic
    return {
        "name": each.comparison.name,
        "title": each.comparison.title,
        "clock": each.clock,
        "rounds": each.rounds,
        "prepared_s": {name: asdict(time) for name, time in each.comparison.prepared.items()},
        "notes": list(each.comparison.notes),
        "bytes": None if traffic is None else asdict(traffic),
        "bounds": None if each.bounds is None else asdict(each.bounds),
        "rows": [_row(row, each) for row in each.rows],
    }


def _row(row: Row, each: Measured) -> dict[str, Any]:
    found = asdict(row)
    found["ratio_by_clock"] = dict(row.ratio_by_clock)
    for key in ("first", "wall", "cpu"):
        found[f"{key}_s"] = found.pop(key)
    rate = row.bytes_per_second
    found["share_of_copy"] = (
        None if each.bounds is None or rate is None else rate / each.bounds.copy.median
    )
    return found


def _facts(report: SpeedReport) -> list[str]:
    settings, machine = report.settings, report.machine
    where = machine["accelerator"] or machine["processor"]
    versions = (f"{name} {found}" for name, found in machine["versions"].items() if found)
    facts = [
        f"{where}, {machine['cores']} cores, {settings['threads']} threads, {settings['device']}; "
        f"size {settings['size']}, seed {settings['seed']}, ratios by {settings['clock']} time",
        f"{', '.join(versions)}, Python {machine['python']}",
    ]
    load = machine["load_before"]
    if load is not None:
        facts.append(f"load average before {load[0]}, after {machine['load_after'][0]}")
    if machine["busy"]:
        advice = (
            "" if settings["threads"] == 1 else "; threads wait for each other: use --threads 1"
        )
        facts.append(f"the machine was busy: trust ratios, not times{advice}")
    return facts


def _about(each: Measured) -> list[str]:
    found = [f"{each.comparison.title}; {each.rounds} rounds"]
    found += [
        f"{name}: {_milliseconds(time)} (once, in no row)"
        for name, time in each.comparison.prepared.items()
    ]
    firsts = [(row.name, row.first) for row in each.rows if row.first is not None]
    if firsts:
        shown = ", ".join(f"{name} {_milliseconds(time)}" for name, time in firsts)
        found.append(f"first runs: {shown}")
    found += each.comparison.notes
    if each.bounds is not None:
        bounds = each.bounds
        found.append(
            f"copy {bounds.copy.median / 1e9:.1f} GB/s; every row fetched anew at that rate: "
            f"{bounds.no_reuse * 1e3:.3g} ms, bound / graphclean {_spread(bounds.ratio)}; "
            f"compulsory bytes: {bounds.compulsory * 1e3:.3g} ms"
        )
    return found


def _cells(row: Row) -> list[str]:
    name = row.name if row.like_for_like else f"{row.name} *"
    if row.status != "ok":
        return [name, *["-"] * (len(_HEADER) - 2), f"{row.status}: {row.message}"]
    return [
        name,
        "-" if row.wall is None else _spread(row.wall.scaled(1e3)),
        "-" if row.cpu is None else _number(row.cpu.median * 1e3),
        "1" if row.name == OURS else "-" if row.ratio is None else _spread(row.ratio),
        "-" if row.extra_bytes is None else _number(row.extra_bytes / _MIB),
        "-" if row.bytes_per_second is None else _number(row.bytes_per_second / 1e9),
        "-" if row.error is None else f"{row.error:.1e}",
        row.message,
    ]


def _aligned(each: Measured) -> list[str]:
    rows = [list(_HEADER), *(_cells(row) for row in each.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in (0, len(row) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|").replace("*", "\\*") for cell in cells]


def _spread(values: Spread) -> str:
    return f"{_number(values.median)} [{_number(values.p10)}, {_number(values.p90)}]"


def _milliseconds(time: Elapsed) -> str:
    return f"{_number(time.wall * 1e3)} ms"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
