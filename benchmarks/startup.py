"""Response time of the command line where nothing is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_S = 1.5
PROBE = Path(__file__).with_name("probe_modules.py")
LIBRARIES = ("-c", "import hydra, omegaconf")
COMMANDS = {
    "--help": (("--help",), 0),
    "--cfg job": (("--cfg", "job"), 0),
    "mistyped option": (("task.epoch=3",), 2),
}
"""Arguments of train.py and their exit status."""


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure seconds, the ratio to importing Hydra, and the imports of torch, of each command."""
    train = str(REPOSITORY / "train.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(*arguments: str, status: int = 0) -> float:
            return run_python(*arguments, folder=folder, status=status).seconds

        measurements: dict[str, Callable[[], float]] = {
            command: partial(run, train, *arguments, status=status)
            for command, (arguments, status) in COMMANDS.items()
        }
        measurements["libraries"] = partial(run, *LIBRARIES)
        seconds = interleave(measurements, rounds=rounds)
        slow_imports = {
            command: count_slow_imports(train, *arguments, folder=folder)
            for command, (arguments, _) in COMMANDS.items()
        }
    found = []
    for command in COMMANDS:
        ratio = ratios(seconds[command], seconds["libraries"])
        found += [
            Measurement(f"train.py {command}", tuple(seconds[command]), "s", target=TARGET_S),
            Measurement(f"train.py {command} / import hydra, omegaconf", ratio),
            Measurement(
                f"train.py {command}: imports of torch, lightning, timm, torchvision",
                (float(slow_imports[command]),),
                target=0,
            ),
        ]
    return found


def count_slow_imports(*arguments: str, folder: Path) -> int:
    """Number of slow libraries that a command imports."""
    return int(run_python(str(PROBE), *arguments, folder=folder).out.splitlines()[-1])
