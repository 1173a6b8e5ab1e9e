"""How tests call a command within their process, and settings for trainings of a second."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
REAL_CAPSULES = REPOSITORY.parent / "shared" / "data" / "capsule"

ONE_THREAD = "trainer.threads=1"
"""With more, sums have another order and another last digit."""
SMALL = (
    "data.size_px=96",
    "data.counts={good: 20, crack: 5, faulty_imprint: 5, poke: 5, scratch: 5, squeeze: 5}",
    "data.workers=1",
    "task.image_size=[32,96]",
    "task.epochs=2",
    "trainer=cpu",
    ONE_THREAD,
)
"""A training that takes about a second once everything is imported."""
SMALL_NETWORK = ("model=custom_resnet", "model.width=8", "model.depths=[1,1]")


@dataclass(frozen=True)
class Answer:
    """What a door printed, and its exit status."""

    status: int
    out: str
    err: str


Door = Callable[..., Answer]


def run_command(name: str, *arguments: str) -> int:
    """Call an entry point within this process; returns its exit status."""
    from capsule_inspection.config.entry import run_door
    from capsule_inspection.config.resolvers import forget_run_folders

    forget_run_folders()
    report = _after_sweep if name == "train" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        return run_door(
            _action(name), config_folder=REPOSITORY / "conf", name=name, after_sweep=report
        )


ACTIONS = {
    "train": ("training", "train"),
    "evaluate": ("evaluating", "evaluate"),
    "compare": ("comparing", "compare_runs"),
    "predict": ("inspecting", "predict"),
    "export": ("exporting", "export"),
    "app": ("serving", "serve"),
}
"""What each door calls: module of `workflows/` and function, imported when called, as doors do."""


def _action(name: str) -> Callable[..., object]:
    module, function = ACTIONS[name]

    def action(config: object) -> object:
        found = importlib.import_module(f"capsule_inspection.workflows.{module}")
        return getattr(found, function)(config)

    return action


def _after_sweep(folder: Path) -> None:
    from capsule_inspection.workflows.comparing import report_sweep

    report_sweep(folder)


@contextlib.contextmanager
def restored_hydra() -> Iterator[None]:
    """Puts back what Hydra changes in the process."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from capsule_inspection.config.resolvers import forget_run_folders

    _keep_stderr_open()
    handlers, level = list(logging.root.handlers), logging.root.level
    environment = dict(os.environ)
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    forget_run_folders()
    os.environ.clear()
    os.environ.update(environment)
    for handler in set(logging.root.handlers) - set(handlers):
        handler.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def _keep_stderr_open() -> None:
    """Absl, which OpenVINO brings, closes what sys.stderr was when it was imported: pytest's."""
    absl = sys.modules.get("absl.logging")
    if absl is not None:
        absl.get_absl_handler().python_handler.setStream(sys.__stderr__)
