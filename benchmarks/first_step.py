"""From the command to the first optimizer step, against importing the libraries alone.

Both end with os._exit, so that neither pays for taking the interpreter down.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import our_training
from benchmarks.figures import Row, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET = 1.3
PROBE = Path(__file__).with_name("probe_first_step.py")
LIBRARIES = ("-c", "import torch, torchvision, timm, lightning, os; os._exit(0)")


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for ResNet18 and for the default network: wall time, and processor time."""
    arguments = {
        "resnet18": our_training.overrides(sizes),
        "default model": our_training.data_overrides(sizes),
    }
    processor: dict[str, list[float]] = {name: [] for name in (*arguments, "libraries")}
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str) -> float:
            command = commands(arguments).get(name, LIBRARIES)
            finished = run_python(*command, folder=Path(folder))
            processor[name].append(finished.cpu_s)
            return finished.seconds

        measurements = {name: partial(run, name) for name in processor}
        # The round that is not counted draws and caches the images.
        seconds = interleave(measurements, rounds=rounds)
    rows = []
    for name in arguments:
        over = ratios(seconds[name], seconds["libraries"])
        cpu = ratios(processor[name][-rounds:], processor["libraries"][-rounds:])
        rows += [
            Row(f"command to first step / import of libraries, {name}", over, target=TARGET),
            Row(f"the same in processor time, {name}", cpu),
            Row(f"command to first step, {name}", tuple(seconds[name]), "s"),
        ]
    return [*rows, Row("import of libraries", tuple(seconds["libraries"]), "s")]


def commands(arguments: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Arguments of Python for each training."""
    train = str(REPOSITORY / "train.py")
    return {name: (str(PROBE), train, *given) for name, given in arguments.items()}
