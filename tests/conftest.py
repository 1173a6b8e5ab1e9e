"""Fixtures that all tests share."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small import REAL_CAPSULES, REPOSITORY, Answer, Door


@pytest.fixture(scope="session")
def real_capsules() -> Path:
    """Folder of the real capsule photographs; skips the test where they are missing."""
    if not (REAL_CAPSULES / "train" / "good").is_dir():
        pytest.skip(f"the real photographs are not at {REAL_CAPSULES}")
    return REAL_CAPSULES


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where drawn data and caches of all tests go, so that they are made once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def clean_hydra() -> Iterator[None]:
    """Puts back what Hydra changes in the process."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from capsule_inspection.configuration.resolvers import forget_run_folders

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


@pytest.fixture
def door(
    clean_hydra: None,
    tmp_path: Path,
    drawn_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Door:
    """Calls a door within this process: `door("train", "seed=1")`, from an empty folder.

    Drawn data and caches are shared by all tests unless the arguments say otherwise.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(name: str, *arguments: str) -> Answer:
        from capsule_inspection.configuration.entry import run_door
        from capsule_inspection.configuration.resolvers import forget_run_folders

        forget_run_folders()
        shared = []
        if name == "train" and not any(a.startswith(("data=", "resume=")) for a in arguments):
            shared.append(f"data.root={drawn_folder / 'drawn'}")
        if name == "train" and not any("cache_folder=" in a or a == "-m" for a in arguments):
            shared.append(f"data.cache_folder={drawn_folder / 'cache'}")
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *shared, *arguments])
        capfd.readouterr()
        report = _after_sweep if name == "train" else None
        conf = REPOSITORY / "conf"
        status = run_door(_action(name), config_folder=conf, name=name, after_sweep=report)
        printed = capfd.readouterr()
        return Answer(status, printed.out, printed.err)

    return call


ACTIONS = {
    "train": ("training", "train"),
    "evaluate": ("evaluating", "evaluate"),
    "compare": ("comparing", "compare_runs"),
    "predict": ("inspecting", "predict"),
    "export": ("exporting", "export"),
    "app": ("serving", "serve"),
}
"""What each door calls: module of `runs/` and function, imported when called, as doors do."""


def _action(name: str) -> Callable[..., object]:
    module, function = ACTIONS[name]

    def action(config: object) -> object:
        found = importlib.import_module(f"capsule_inspection.runs.{module}")
        return getattr(found, function)(config)

    return action


def _after_sweep(folder: Path) -> None:
    from capsule_inspection.runs.comparing import report_sweep

    report_sweep(folder)


@pytest.fixture
def compose(clean_hydra: None) -> Callable[..., object]:
    """Composes a configuration: `compose("train", "seed=1")`."""
    import hydra

    from capsule_inspection.configuration.resolvers import register_resolvers
    from capsule_inspection.configuration.schema import register_schemas

    def call(name: str, *overrides: str) -> object:
        register_schemas()
        register_resolvers()
        with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
            return hydra.compose(name, overrides=list(overrides))

    return call
