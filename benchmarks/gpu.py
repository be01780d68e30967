"""The sparse core on one GPU: achieved bandwidth, peers, predictions beside outcomes.

    python benchmarks/gpu.py --size products --out out/gpu
    python benchmarks/gpu.py --size tiny --device cpu --out out/gpu     # seconds, on any machine

Synthetic power-law graphs of the named sizes. Every result is compared with float64 before it is
timed; a wrong one ends the run. The paths of a group are timed in turn, round by round. One JSON
line per path goes to OUT/results.jsonl; groups that it has are skipped, so that a run can be
resumed. OUT/table.md holds the table, with what was predicted before any GPU was at hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch_geometric
from gpu_paths import GROUPS, SIZES, Bench, Variant
from torch import Tensor

from graphclean.issues import write_atomic
from graphclean.sparse import kernels

PREDICTED = {
    ("products", "S @ X", "CSR int32"): (2.0, 6.0),
    ("products", "S @ X", "CSR int64"): (2.0, 8.0),
    ("products", "S @ X", "CSR bfloat16"): (1.0, 3.5),
    ("products", "S @ X", "CSR padded"): (1.7, 6.0),
    ("products", "S @ X", "PyG gather-scatter"): (28.0, 45.0),
    ("products", "label agreement", "edge scalars"): (1.0, 2.5),
    ("products", "label agreement", "product and gather"): (2.0, 7.0),
    ("products", "last hop", "edge scalars"): (3.0, 9.0),
    ("products", "last hop", "product and gather"): (4.0, 12.0),
    ("products", "hop features, K = 3", "graphclean"): (12.0, 35.0),
    ("products", "50 propagation steps", "graphclean"): (115.0, 350.0),
    ("products", "50 propagation steps", "PyG gather-scatter"): (1400.0, 2400.0),
    ("products", "diag(S^3)", "graphclean"): (200.0, 600.0),
}
"""Milliseconds on one H200, from bytes and wedges; written before the first run."""

PREDICTED_RATIO = {("products", "S @ X", "PyG gather-scatter"): "at least 5"}
"""Time over that of the first path of the group."""


def check(variant: Variant) -> float | None:
    """Return the largest absolute error; end the run if it is too large."""
    result = variant.run()
    if variant.reference is None:
        return None
    result = result if variant.sample is None else result[variant.sample]
    error = float((result.double() - variant.reference().double()).abs().max())
    if not error <= variant.tolerance:
        raise SystemExit(f"{variant.name}: wrong by {error:.2e}, allowed {variant.tolerance:.0e}")
    return error


def fits(variant: Variant) -> bool:
    """Return whether the device has the memory for a path."""
    try:
        variant.run()
    except torch.OutOfMemoryError:
        print(f"  {variant.name}: out of memory", flush=True)
        return False
    return True


def seconds(bench: Bench, run: Callable[[], Tensor]) -> float:
    """Time one run on its device."""
    if bench.device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def peak_mib(bench: Bench, run: Callable[[], Tensor]) -> float | None:
    """Return what one run allocates beyond its input; None on a CPU."""
    if bench.device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def measure(bench: Bench, group: str, variants: list[Variant], rounds: int) -> Iterator[dict]:
    """Check every variant, then time all in turn; a slow group gets fewer rounds."""
    variants = [variant for variant in variants if fits(variant)]
    errors = [check(variant) for variant in variants]
    peaks = [peak_mib(bench, variant.run) for variant in variants]
    warm = sum(seconds(bench, variant.run) for variant in variants)
    rounds = min(rounds, max(3, int(60 / max(warm, 1e-9))))
    times = np.array([[seconds(bench, v.run) for v in variants] for _ in range(rounds)]) * 1e3
    for variant, error, peak, spent in zip(variants, errors, peaks, times.T, strict=True):
        low, median, high = np.quantile(spent, (0.1, 0.5, 0.9)).tolist()
        yield {
            "size": bench.size, "device": bench.device.type, "seed": bench.seed, "group": group,
            "name": variant.name, "median_ms": median, "p10_ms": low, "p90_ms": high,
            "rounds": rounds, "gigabytes": variant.gigabytes, "error": error, "peak_mib": peak,
            "predicted_ms": PREDICTED.get((bench.size, group, variant.name)), **environment(bench),
        }  # fmt: skip


def environment(bench: Bench) -> dict:
    """Return what a number depends on beside the code."""
    cuda = bench.device.type == "cuda"
    return {
        "machine": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "triton_kernels": kernels.available(bench.device),
        "torch": torch.__version__,
        "pyg": torch_geometric.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def table(lines: list[dict]) -> str:
    """Return the Markdown table of one size and device."""
    copy = next((x["gigabytes"] / x["median_ms"] for x in lines if x["name"] == "copy"), None)
    out = [
        "| group | path | ms (p10 to p90) | predicted ms | GB/s | of copy | error | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        rate = line["gigabytes"] and line["gigabytes"] / line["median_ms"]
        span = line["predicted_ms"]
        cells = [
            line["group"],
            line["name"],
            f"{line['median_ms']:.3g} ({line['p10_ms']:.3g} to {line['p90_ms']:.3g})",
            f"{span[0]:g} to {span[1]:g}" if span else "",
            f"{1e3 * rate:.0f}" if rate else "",
            f"{rate / copy:.2f}" if rate and copy else "",
            "" if line["error"] is None else f"{line['error']:.1e}",
            "" if line["peak_mib"] is None else f"{line['peak_mib']:.0f}",
        ]
        out.append("| " + " | ".join(cells) + " |")
    median = {(x["group"], x["name"]): x["median_ms"] for x in lines}
    size = lines[0]["size"] if lines else None
    for group, name in median:
        first = next(other for g, other in median if g == group)
        if name != first and group != "bandwidth":
            ratio = median[group, name] / median[group, first]
            predicted = PREDICTED_RATIO.get((size, group, name))
            note = f" (predicted: {predicted})" if predicted else ""
            out.append(f"\n{group}: {name} takes {ratio:.2f} times as long as {first}{note}")
    return "\n".join(out) + "\n"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="products")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "results.jsonl"
    key = {"size": options.size, "device": options.device, "seed": options.seed}
    stored = [json.loads(x) for x in store.read_text().splitlines()] if store.exists() else []
    lines = [line for line in stored if all(line[k] == v for k, v in key.items())]
    missing = [group for group in GROUPS if group not in {line["group"] for line in lines}]
    bench = Bench(options.size, torch.device(options.device), options.seed) if missing else None
    for group in missing:
        print(group, flush=True)
        found = list(measure(bench, group, GROUPS[group](bench), options.rounds))
        with store.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in found)
        lines += found
    page = table(lines)
    write_atomic(options.out / "table.md", page.encode())
    print(page)


if __name__ == "__main__":
    main()
