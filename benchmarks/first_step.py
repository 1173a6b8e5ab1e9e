"""Time from the command to the first optimizer step, compared to importing the libraries.

Both end with os._exit, so that neither includes the shutdown of the interpreter.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import training
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET = 1.3
PROBE = Path(__file__).with_name("probe_first_step.py")
LIBRARIES = ("-c", "import torch, torchvision, timm, lightning, os; os._exit(0)")


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure wall time and CPU time of ResNet18 and the default network."""
    arguments = {
        "resnet18": training.label_overrides(sizes),
        "default model": training.data_overrides(sizes),
    }
    cpu_s: dict[str, list[float]] = {name: [] for name in (*arguments, "libraries")}
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str) -> float:
            command = _commands(arguments).get(name, LIBRARIES)
            finished = run_python(*command, folder=Path(folder))
            cpu_s[name].append(finished.cpu_s)
            return finished.seconds

        measurements = {name: partial(run, name) for name in cpu_s}
        # The warm-up renders and caches the images.
        seconds = interleave(measurements, rounds=rounds)
    rows = []
    for name in arguments:
        ratio = ratios(seconds[name], seconds["libraries"])
        cpu_ratio = ratios(cpu_s[name][-rounds:], cpu_s["libraries"][-rounds:])
        rows += [
            Measurement(
                f"command to first step / import of libraries, {name}", ratio, target=TARGET
            ),
            Measurement(f"the same in CPU time, {name}", cpu_ratio),
            Measurement(f"command to first step, {name}", tuple(seconds[name]), "s"),
        ]
    return [*rows, Measurement("import of libraries", tuple(seconds["libraries"]), "s")]


def _commands(arguments: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Arguments of Python for each training."""
    train = str(REPOSITORY / "train.py")
    return {name: (str(PROBE), train, *overrides) for name, overrides in arguments.items()}
