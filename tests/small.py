"""Runs commands within the test process, and settings of trainings that take a second."""

from __future__ import annotations

import contextlib
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
"""More threads change the order of sums, and with it the last digit."""
SMALL = (
    "data.size_px=96",
    "data.counts={good: 20, crack: 5, faulty_imprint: 5, poke: 5, scratch: 5, squeeze: 5}",
    "data.workers=1",
    "task.image_size=[32,96]",
    "task.epochs=2",
    "trainer=cpu",
    ONE_THREAD,
)
"""A training of about a second without imports."""
SMALL_NETWORK = ("model=custom_resnet", "model.width=8", "model.depths=[1,1]")


@dataclass(frozen=True)
class CommandResult:
    """Output and exit status of a command."""

    status: int
    out: str
    err: str


Cli = Callable[..., CommandResult]


def run_command(name: str, *arguments: str) -> int:
    """Run an entry point within this process; returns its exit status."""
    from capsule_inspection import commands
    from capsule_inspection.config.resolvers import reset_run_folders

    reset_run_folders()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        return commands.run(name)


@contextlib.contextmanager
def restored_hydra() -> Iterator[None]:
    """Restore the state that Hydra changes in the process."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from capsule_inspection.config.resolvers import reset_run_folders

    _keep_stderr_open()
    handlers, level = list(logging.root.handlers), logging.root.level
    environment = dict(os.environ)
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    reset_run_folders()
    os.environ.clear()
    os.environ.update(environment)
    for handler in set(logging.root.handlers) - set(handlers):
        handler.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def _keep_stderr_open() -> None:
    """Keep pytest's stderr open, which absl (a dependency of OpenVINO) would close."""
    absl = sys.modules.get("absl.logging")
    if absl is not None:
        absl.get_absl_handler().python_handler.setStream(sys.__stderr__)
