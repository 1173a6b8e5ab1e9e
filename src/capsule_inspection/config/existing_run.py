"""`run=<run folder>` and `resume=<run folder>`: checks, and the stored configuration.

Both are checked before Hydra creates a folder for the results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.config.paths import path_argument
from capsule_inspection.config.quoting import format_command, quote
from capsule_inspection.files import is_locked
from capsule_inspection.types import (
    EXPORT_SUFFIXES,
    ConfigurationError,
    RunError,
    RunFiles,
    SweepFiles,
)

FIXED_KEYS = frozenset({"data.image_size", "data.roi", "data.roi_margin"})
"""Settings that a trained model depends on."""
RESUME_KEYS = (
    "task.epochs",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.strategy",
    "trainer.num_nodes",
    "trainer.threads",
    "trainer.enable_progress_bar",
    "data.root",
    "data.cache_folder",
    "data.workers",
)
"""Settings that may change when a run is resumed, besides the groups trainer and logger."""
_DEVICE_KEYS = ("accelerator", "devices", "strategy", "num_nodes")


def check_run(arguments: list[str]) -> None:
    """Check the argument `run=`, if there is one.

    Raises RunError if it is no run, or if the run is being trained or has no checkpoint, and
    ConfigurationError for settings that the run fixes.
    """
    folder = path_argument(arguments, "run")
    if folder is None:
        return
    for key in {argument.partition("=")[0].lstrip("+") for argument in arguments} & FIXED_KEYS:
        raise ConfigurationError(
            f"{key} cannot be set together with run=: images are cropped and resized as in the "
            "run's training. Remove it."
        )
    if _may_be_exported(folder):  # checked when it is opened
        return
    missing = [name for name in (RunFiles.RECORD, RunFiles.CONFIG) if not (folder / name).is_file()]
    if missing:
        found = f"no {' and no '.join(missing)} in it" if folder.is_dir() else "no such folder"
        raise RunError(
            f"run={folder}: expected a run folder with {RunFiles.RECORD} and {RunFiles.CONFIG}, "
            f"found {found}. Use the folder that train.py printed."
        )
    check_no_evaluation(folder, read_record(folder))
    if is_locked(folder / RunFiles.LOCK):
        raise RunError(f"run={folder}: another process is training this run. Wait until it ends.")
    if not (folder / RunFiles.BEST).is_file():
        raise RunError(
            f"{folder / RunFiles.BEST}: there is no such checkpoint, since no epoch of this run "
            f"was finished. Continue it with " + format_command(["train.py", f"resume={folder}"])
        )


def stored_task(run: str | None) -> str | None:
    """The task of a run folder; None where it is not known, as of an exported model."""
    config = Path(run or "") / RunFiles.CONFIG
    if not run or not config.is_file():
        return None
    return OmegaConf.select(load_stored(config), "task.name")


def check_no_evaluation(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise RunError for the record of an evaluation."""
    if "evaluated" in record:
        raise RunError(
            f"run={folder}: this is an evaluation, which has no model. Use the run that it "
            f"evaluates: run={record.get('run')}"
        )


def read_record(folder: Path) -> dict[str, Any]:
    """The content of run.json; empty if it is missing or damaged."""
    try:
        record = json.loads((folder / RunFiles.RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def resume_arguments(arguments: list[str]) -> list[str]:
    """Further arguments for Hydra with `resume=`: its run folder. Raises RunError for no run."""
    folder = path_argument(arguments, "resume")
    if folder is None:
        return []
    _check_resumable(folder)
    return [f"hydra.run.dir={quote(folder.as_posix())}"]


def resumed_config(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The stored configuration of `config.resume`, updated by the overrides.

    Raises ConfigurationError for overrides that may not change when a run is resumed.
    """
    folder = Path(config.resume)
    _check_resumable(folder)
    stored = load_stored(folder / RunFiles.CONFIG)
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "resume":
            stored.resume = config.resume
        elif key in RESUME_KEYS:
            OmegaConf.update(stored, key, OmegaConf.select(config, key), force_add=True)
        elif key == "logger":
            stored.logger = config.logger
        elif key == "trainer":
            for name in _DEVICE_KEYS:
                stored.trainer[name] = config.trainer[name]
        else:
            raise ConfigurationError(
                f"{key} cannot be changed when a run is resumed: settings are read from "
                f"{folder / RunFiles.CONFIG}. Allowed are {', '.join(RESUME_KEYS)}, trainer and "
                "logger. For other settings, start a new run."
            )
    if any(override.startswith("task.epochs=") for override in overrides):
        stored.trainer.max_epochs = config.task.epochs
    return stored


def load_stored(path: Path) -> DictConfig:
    """A run's config.yaml. Raises RunError if it is missing or damaged."""
    try:
        config = OmegaConf.load(path)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: cannot be read ({reason}). Restore it from a copy.") from error
    if not isinstance(config, DictConfig):
        raise RunError(f"{path}: expected a mapping of settings. Restore it from a copy.")
    return config


def _check_resumable(folder: Path) -> None:
    if (folder / RunFiles.CONFIG).is_file():
        return
    if (folder / SweepFiles.SWEEP).is_file():
        raise RunError(
            f"resume={folder}: this is a sweep. To resume it: "
            + format_command(["train.py", "-m", f"resume={folder}"])
        )
    found = "an existing folder" if folder.is_dir() else "no such folder"
    raise RunError(
        f"resume={folder}: expected a run folder with {RunFiles.CONFIG}, found {found}. Use the "
        "folder that train.py printed, such as outputs/classification/resnet18/<time>."
    )


def _may_be_exported(path: Path) -> bool:
    """Whether a path may be an exported model: a file, or a folder with such a file."""
    if path.is_dir() and not (path / RunFiles.RECORD).exists():
        return any(file.suffix in EXPORT_SUFFIXES.values() for file in path.iterdir())
    return path.is_file()
