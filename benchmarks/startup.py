"""How soon the command line answers, where nothing is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.figures import Row, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_S = 1.5
PROBE = Path(__file__).with_name("probe_modules.py")
LIBRARIES = ("-c", "import hydra, omegaconf")
QUESTIONS = {
    "--help": (("--help",), 0),
    "--cfg job": (("--cfg", "job"), 0),
    "mistyped option": (("task.epoch=3",), 2),
}
"""Arguments of train.py, and the exit status that they should end with."""


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for each question: seconds, the ratio to importing Hydra, and whether torch is there."""
    train = str(REPOSITORY / "train.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ask(*command: str, status: int = 0) -> float:
            return run_python(*command, folder=folder, status=status).seconds

        measurements: dict[str, Callable[[], float]] = {
            question: partial(ask, train, *arguments, status=status)
            for question, (arguments, status) in QUESTIONS.items()
        }
        measurements["libraries"] = partial(ask, *LIBRARIES)
        seconds = interleave(measurements, rounds=rounds)
        has_torch = {
            question: imports_torch(train, *arguments, folder=folder)
            for question, (arguments, _) in QUESTIONS.items()
        }
    rows = []
    for question in QUESTIONS:
        over = ratios(seconds[question], seconds["libraries"])
        rows += [
            Row(f"train.py {question}", tuple(seconds[question]), "s", target=TARGET_S),
            Row(f"train.py {question} / import hydra, omegaconf", over),
            Row(
                f"train.py {question}: imports of torch, lightning, timm, torchvision",
                (float(has_torch[question]),),
                target=0,
            ),
        ]
    return rows


def imports_torch(*command: str, folder: Path) -> int:
    """How many of the slow libraries a command imports."""
    return int(run_python(str(PROBE), *command, folder=folder).out.splitlines()[-1])
