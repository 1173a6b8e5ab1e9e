"""The commands: `capsule-inspection train ...`, or `python train.py ...` in a clone.

Each imports its workflow when it is called, so that `--help` and mistakes import no torch. Its
configuration is in `conf/`, which a wheel has within this package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config import entry
from capsule_inspection.config.help import header
from capsule_inspection.config.quoting import PROGRAM, use_console_command
from capsule_inspection.config.similar_names import suggestion

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PACKAGED = Path(__file__).parent / "conf"
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
_COMMAND_VARIABLE = "CAPSULE_COMMAND"


@dataclass(frozen=True)
class Workflow:
    """A function of a module in `workflows`, which is imported when it is called."""

    module: str
    function: str

    def __call__(self, argument: object) -> object:
        module = import_module(f"capsule_inspection.workflows.{self.module}")
        return getattr(module, self.function)(argument)


def train(config: DictConfig) -> float | None:
    """Train as configured; returns the best value of the monitored metric.

    With `inspect=true` the data set is only read and described.
    """
    if config.inspect:
        from capsule_inspection.workflows.inspect import inspect_dataset

        inspect_dataset(config)
        return None
    from capsule_inspection.data.progress import activity
    from capsule_inspection.workflows.overview import print_settings

    print_settings(config)
    from capsule_inspection.workflows.training_images import read_images

    if config.trainer.accelerator not in ("auto", "cpu"):
        from capsule_inspection.workflows.hardware import resolve_device

        resolve_device(config.trainer.accelerator)
    images = read_images(config)  # before torch is imported: mistakes in the data cost little
    with activity("Loading PyTorch"):
        from capsule_inspection.workflows.train import train as train_model
    return train_model(config, images)


ACTIONS: dict[str, Callable[[DictConfig], object]] = {
    "train": train,
    "evaluate": Workflow("evaluate", "evaluate"),
    "predict": Workflow("predict", "predict"),
    "compare": Workflow("compare", "compare_runs"),
    "export": Workflow("export", "export"),
    "convert": Workflow("convert", "convert"),
    "app": Workflow("app", "serve"),
}
_REPORT_SWEEP = Workflow("compare", "report_sweep")


def run(name: str) -> int:
    """Run a command with the arguments in sys.argv; returns the exit status."""
    after_sweep = _REPORT_SWEEP if name == "train" else None
    return entry.run(ACTIONS[name], config_folder=CONF, name=name, after_sweep=after_sweep)


def main() -> int:
    """The console command: its first argument is the name of a command."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in ACTIONS and "LOCAL_RANK" in os.environ:  # Lightning repeats the other arguments
        name = os.environ.get(_COMMAND_VARIABLE, name)
        sys.argv.insert(1, name)
    if name in ACTIONS:
        use_console_command()
        os.environ[_COMMAND_VARIABLE] = sys.argv.pop(1)
        return run(name)
    if name == "--version":
        print(PROGRAM, metadata.version(PROGRAM))  # noqa: T201
        return 0
    if name in ("-h", "--help", "help"):
        print(_help())  # noqa: T201
        return 0
    near = suggestion(name.removesuffix(".py"), ACTIONS)
    message = f"error: {PROGRAM} {name}: there is no such command. {near}"
    print(message, file=sys.stderr)  # noqa: T201
    return 2


def _help() -> str:
    first_lines = {name: header(CONF / f"{name}.yaml").splitlines()[0] for name in ACTIONS}
    rows = [f"  {name:10}{line.partition(': ')[2]}" for name, line in first_lines.items()]
    usage = f"Usage: {PROGRAM} <command> [key=value ...]"
    more = f"{PROGRAM} <command> --help lists the settings of a command."
    return "\n".join([usage, "", *rows, "", more])
