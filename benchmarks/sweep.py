"""Overhead of a sweep: time from the end of a job to the first step of the next."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import training
from benchmarks.measurements import Measurement
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_S = 3.0
JOBS = 4
PROBE = Path(__file__).with_name("probe_sweep.py")


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure the largest gap of a sweep of the default network, and of ResNet18."""
    trainings = {
        "default model": training.data_overrides(sizes),
        "resnet18": training.label_overrides(sizes),
    }
    return [
        Measurement(
            f"end of a job to the first step of the next, {name}",
            tuple(_largest_gap(overrides) for _ in range(rounds)),
            "s",
            target=TARGET_S,
        )
        for name, overrides in trainings.items()
    ]


def _largest_gap(overrides: list[str]) -> float:
    seeds = f"seed=range({JOBS})"
    with tempfile.TemporaryDirectory() as folder:
        train = str(REPOSITORY / "train.py")
        one_epoch = "task.epochs=1"
        finished = run_python(
            str(PROBE), train, "-m", *overrides, one_epoch, seeds, folder=Path(folder)
        )
    gaps_s = json.loads(finished.out.splitlines()[-1])
    if len(gaps_s) != JOBS - 1:
        raise RuntimeError(f"expected {JOBS - 1} gaps, found {gaps_s}")
    return max(gaps_s)
