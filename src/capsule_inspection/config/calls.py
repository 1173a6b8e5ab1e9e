"""Calls an entry point from within another program, such as a notebook."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from capsule_inspection.config import entry
from capsule_inspection.config.resolvers import register_resolvers
from capsule_inspection.config.schema import register_schemas
from capsule_inspection.types import ConfigurationError, InspectionError

_NO_SWEEP = (
    "From Python one model is trained at a time. Start sweeps with `python train.py`, or call "
    "train() for each model, and compare() for the runs."
)


def call(action: entry.Action, overrides: Sequence[str], *, config_folder: Path, name: str) -> None:
    """Call `action` as `run` does, from within another program, such as a notebook.

    Settings of the process that `run` changes are restored. Raises InspectionError with the message
    that `run` prints, and ConfigurationError for options of the command line and for sweeps.
    """
    for override in overrides:
        if override.startswith("-"):
            raise ConfigurationError(f"{override}: expected <key>=<value>. {_NO_SWEEP}")
    register_schemas()
    register_resolvers()
    with _restored_process():
        sys.argv = [f"{name}.py", *overrides]
        composed = entry.compose_choices(config_folder, name, with_hydra=True)
        mode = None if composed is None else composed.hydra.mode
        if mode == RunMode.MULTIRUN or "hydra.mode=MULTIRUN" in overrides:
            raise ConfigurationError(
                f"{' '.join(overrides)}: these settings are a sweep. {_NO_SWEEP}"
            )
        entry.run(action, config_folder=config_folder, name=name, on_error=_raise)


def _raise(error: BaseException, message: str, status: int) -> None:
    if isinstance(error, InspectionError | KeyboardInterrupt):
        raise error
    raise (ConfigurationError if status == 2 else InspectionError)(message) from error


@contextmanager
def restored_warnings() -> Iterator[None]:
    """Restore the filters of warnings; without that of tqdm, which libraries import, in notebooks.

    It asks for ipywidgets, which nothing here needs.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


@contextmanager
def _restored_torch() -> Iterator[None]:
    """Restore threads and precision, which a training sets, where models may be loaded already."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    allows_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = allows_tf32


@contextmanager
def _restored_process() -> Iterator[None]:
    """Restore arguments, environment, logging, filters of warnings, options of torch, and Hydra.

    Hydra closes every handler that logging knows, and a command that fails closes its log files:
    the handlers of the caller are hidden from both. So is its main module from new processes, such
    as those that render images: these would run a script again that does not guard its calls.
    """
    arguments, environment, composer = sys.argv, dict(os.environ), GlobalHydra.instance().hydra
    handlers, level, main = logging.root.handlers[:], logging.root.level, sys.modules["__main__"]
    known: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    hidden = known[:]
    known.clear()
    logging.root.handlers.clear()
    GlobalHydra.instance().clear()
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with restored_warnings(), _restored_torch():
            yield
    finally:
        for handler in logging.root.handlers:
            handler.close()
        known[:0] = hidden
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        GlobalHydra.instance().hydra = composer
        sys.argv, sys.modules["__main__"] = arguments, main
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
