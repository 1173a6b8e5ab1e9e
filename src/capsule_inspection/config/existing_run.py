"""`run=<run folder>` and `resume=<run folder>`: checks, and the stored configuration.

Both are checked before Hydra creates a folder for the results.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.config import checks, stored
from capsule_inspection.config.messages import explain
from capsule_inspection.config.paths import path_argument
from capsule_inspection.config.quoting import format_command, quote
from capsule_inspection.files import is_locked
from capsule_inspection.integrity import read_json
from capsule_inspection.types import (
    EXPORT_SUFFIXES,
    ConfigurationError,
    RunError,
    RunFiles,
    SweepFiles,
)

log = logging.getLogger(__name__)
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
_UNFIT = (ValueError, TypeError, OverflowError, OSError)
"""What values raise that fit no type or name no possible path."""
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
    if may_be_exported(folder):  # checked when it is opened
        return
    missing = [name for name in (RunFiles.RECORD, RunFiles.CONFIG) if not (folder / name).is_file()]
    if missing:
        found = f"no {' and no '.join(missing)} in it" if folder.is_dir() else "no such folder"
        raise RunError(
            f"run={folder}: expected a run folder with {RunFiles.RECORD} and {RunFiles.CONFIG}, "
            f"found {found}. Use the folder that train.py printed, or run=latest."
        )
    check_links(folder)
    check_no_evaluation(folder, read_record(folder))
    if is_locked(folder / RunFiles.LOCK):
        raise RunError(f"run={folder}: another process is training this run. Wait until it ends.")
    if not (folder / RunFiles.BEST).is_file():
        raise RunError(
            f"{folder / RunFiles.BEST}: there is no such checkpoint, since no epoch of this run "
            f"was finished. Continue it with " + format_command(["train.py", f"resume={folder}"])
        )


def check_links(folder: Path) -> None:
    """Raise RunError for a link that leads out of a folder, through which files are written."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
            raise RunError(
                f"{path}: a link that leads out of {folder}. Replace it by what it names, if you "
                "trust it."
            )


def check_logs(logs: Iterable[Path]) -> None:
    """Raise RunError for a log, perhaps from elsewhere, that is a link or has a second name."""
    for path in logs:
        if path.is_symlink() or path.stat().st_nlink > 1:
            raise RunError(f"{path}: a link, which messages would be written through. Remove it.")


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
        return read_json(folder / RunFiles.RECORD)
    except (OSError, ValueError):
        return {}


def resume_arguments(arguments: list[str]) -> list[str]:
    """Further arguments for Hydra with `resume=`: its run folder. Raises RunError for no run."""
    folder = path_argument(arguments, "resume")
    if folder is None:
        return []
    _check_resumable(folder)
    return [f"hydra.run.dir={quote(folder.as_posix())}"]


def resumed_config(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The stored configuration of `config.resume`, updated by the overrides.

    The logger is that of the command line: it sends and writes elsewhere.
    Raises ConfigurationError for overrides that may not change when a run is resumed.
    """
    folder = Path(config.resume)
    _check_resumable(folder)
    stored = load_stored(folder / RunFiles.CONFIG)
    if stored.logger.builder not in ("tensorboard", config.logger.builder):
        log.warning("logger=%s of the run is left out: it is not resumed.", stored.logger.builder)
    stored.logger = config.logger
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] == "logger":
            continue
        if key == "resume":
            stored.resume = config.resume
        elif key in RESUME_KEYS:
            OmegaConf.update(stored, key, OmegaConf.select(config, key), force_add=True)
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
    """The configuration of a run, typed and checked as one of the command line is.

    Raises RunError, naming file and key, where it is missing or damaged, or holds more than values.
    """
    values = stored.read_plain(path)
    try:
        config = stored.typed(values)
        absent = stored.absent_keys(config, values) + sorted(OmegaConf.missing_keys(config))
        if absent:
            others = f" and {len(absent) - 1} others" if len(absent) > 1 else ""
            raise ValueError(f"it has no value of {absent[0]}{others}")
        stored.use_own_folders(config.data)
        checks.check(config, rules=checks.STORED_RULES)
    except (OmegaConfBaseException, ConfigurationError, *_UNFIT) as error:
        known = isinstance(error, OmegaConfBaseException)
        reason = explain(error, composed=None) if known else str(error)
        raise RunError(
            f"{path}: expected the settings of a run: {' '.join(reason.split()).rstrip('.')}. "
            f"{stored.REMEDY}"
        ) from error
    return config


def _check_resumable(folder: Path) -> None:
    if (folder / RunFiles.CONFIG).is_file():
        check_links(folder)
        check_logs(folder.glob("*.log"))
        return
    if (folder / SweepFiles.SWEEP).is_file():
        raise RunError(
            f"resume={folder}: this is a sweep. To resume it: "
            + format_command(["train.py", "-m", f"resume={folder}"])
        )
    if "format_version" in read_record(folder):
        raise RunError(
            f"resume={folder}: this run was stopped before its settings were written, so nothing "
            "was lost. Begin it anew: repeat its command, with hydra.run.dir="
            + quote(folder.as_posix())
        )
    found = "an existing folder" if folder.is_dir() else "no such folder"
    raise RunError(
        f"resume={folder}: expected a run folder with {RunFiles.CONFIG}, found {found}. Use the "
        "folder that train.py printed, such as outputs/classification/resnet18/<time>."
    )


def may_be_exported(path: Path) -> bool:
    """Whether a path may be an exported model: a file, or a folder with such a file."""
    if path.is_dir() and not (path / RunFiles.RECORD).exists():
        return any(file.suffix in EXPORT_SUFFIXES.values() for file in path.iterdir())
    return path.is_file()
