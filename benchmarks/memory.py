"""Peak memory of the default run, from drawing its data to its final figures."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figures import Row
from benchmarks.processes import Finished, run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_GB = 3.0
LIBRARIES = ("-c", "import torch, torchvision, timm, lightning")


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for a cold run in an empty folder and for a warm one, and for the libraries alone."""
    cold, warm, libraries = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            cold.append(_default_run(sizes, Path(name)))
            warm.append(_default_run(sizes, Path(name)))
            libraries.append(run_python(*LIBRARIES, folder=Path(name)))
    return [
        *_rows("first run", cold, libraries),
        *_rows("run with data drawn and cached", warm, libraries),
    ]


def _default_run(sizes: Sizes, folder: Path) -> Finished:
    train = str(REPOSITORY / "train.py")
    return run_python(
        train, "task.epochs=1", *sizes.memory_overrides, folder=folder, watch_memory=True
    )


def _rows(title: str, runs: list[Finished], libraries: list[Finished]) -> list[Row]:
    one = tuple(run.peak_bytes / 1e9 for run in runs)
    together = tuple(max(run.peak_bytes, run.together_bytes) / 1e9 for run in runs)
    over = tuple(
        run.peak_bytes / other.peak_bytes for run, other in zip(runs, libraries, strict=True)
    )
    return [
        Row(f"peak memory, {title}, largest process", one, "GB", target=TARGET_GB),
        Row(f"peak memory, {title}, all processes", together, "GB", target=TARGET_GB),
        Row(f"peak memory, {title} / import of libraries", over),
    ]
