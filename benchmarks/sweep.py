"""What a job of a sweep costs beside its training: from one's end to the next one's first step."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import our_training
from benchmarks.figures import Row
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_S = 3.0
JOBS = 4
PROBE = Path(__file__).with_name("probe_sweep.py")


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for the default network and for ResNet18; the largest gap of each sweep."""
    trainings = {
        "default model": our_training.data_overrides(sizes),
        "resnet18": our_training.overrides(sizes),
    }
    return [
        Row(
            f"end of a job to the next one's first step, {name}",
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
