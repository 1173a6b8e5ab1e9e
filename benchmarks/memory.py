"""Peak memory of the default run, from rendering its data to its final evaluation."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measurements import Measurement
from benchmarks.processes import ProcessResult, run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_GB = 3.0
LIBRARIES = ("-c", "import torch, torchvision, timm, lightning")


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure a run in an empty folder, one with cached data, and the libraries alone."""
    cold, warm, libraries = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            cold.append(_default_run(sizes, Path(name)))
            warm.append(_default_run(sizes, Path(name)))
            libraries.append(run_python(*LIBRARIES, folder=Path(name)))
    return [
        *_measurements("first run", cold, libraries),
        *_measurements("run with cached data", warm, libraries),
    ]


def _default_run(sizes: Sizes, folder: Path) -> ProcessResult:
    train = str(REPOSITORY / "train.py")
    return run_python(
        train, "task.epochs=1", *sizes.memory_overrides, folder=folder, watch_memory=True
    )


def _measurements(
    title: str, runs: list[ProcessResult], libraries: list[ProcessResult]
) -> list[Measurement]:
    largest = tuple(run.peak_bytes / 1e9 for run in runs)
    total = tuple(max(run.peak_bytes, run.total_peak_bytes) / 1e9 for run in runs)
    ratio = tuple(
        run.peak_bytes / other.peak_bytes for run, other in zip(runs, libraries, strict=True)
    )
    return [
        Measurement(f"peak memory, {title}, largest process", largest, "GB", target=TARGET_GB),
        Measurement(f"peak memory, {title}, all processes", total, "GB", target=TARGET_GB),
        Measurement(f"peak memory, {title} / import of libraries", ratio),
    ]
