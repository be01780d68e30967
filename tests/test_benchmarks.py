"""The scripts that wait for a machine run here on a tiny graph, so that they are known to work."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_gpu_script_runs_without_one_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "gpu"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--size", "tiny"]
    command += ["--device", "cpu", "--out", str(out)]
    first = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    (store,) = out.glob("*.jsonl")
    lines = store.read_text().splitlines()
    assert "diag(S^3)" in first.stdout
    assert len(lines) > 10
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert store.read_text().splitlines() == lines
    assert "diag(S^3)" in again.stdout
