"""Benchmarks that cannot be run here as they are meant are run small, so that they work where they can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GPU = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(GPU), *flags], capture_output=True, text=True, timeout=600, check=False)


def test_the_gpu_benchmark_runs_small() -> None:
    done = run("--small")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "gpu-small-" in line]
    assert len(lines) == 3, done.stdout
    assert all("'ratio'" in line and "'peak_gib'" in line for line in lines)


def test_figures_of_a_small_model_are_not_kept() -> None:
    done = run("--small", "--keep")
    assert done.returncode == 2
    assert "not kept" in done.stderr
