"""`run=<run folder>`: looked at before Hydra makes a folder for the results in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capsule_inspection.config.paths import named_folder
from capsule_inspection.files import is_locked
from capsule_inspection.types import (
    EXPORT_SUFFIXES,
    ConfigurationError,
    RunError,
    RunFiles,
)

FIXED_KEYS = ("data.image_size", "data.roi", "data.roi_margin")


def require_run(arguments: list[str]) -> None:
    """Raise RunError where `run=` names no run, or one that is being trained or has no checkpoint.

    Raises ConfigurationError for settings that are the run's own.
    """
    folder = named_folder(arguments, "run")
    if folder is None:
        return
    for key in {argument.partition("=")[0].lstrip("+") for argument in arguments} & set(FIXED_KEYS):
        raise ConfigurationError(
            f"{key} cannot be set together with run=: images are cropped and sized as the run was "
            "trained. Leave it out."
        )
    if _may_be_exported(folder):  # judged by who reads it
        return
    missing = [name for name in (RunFiles.RECORD, RunFiles.CONFIG) if not (folder / name).is_file()]
    if missing:
        found = f"no {' and no '.join(missing)} in it" if folder.is_dir() else "no such folder"
        raise RunError(
            f"run={folder}: expected a run folder with {RunFiles.RECORD} and {RunFiles.CONFIG}, "
            f"found {found}. Name the folder that train.py printed."
        )
    refuse_evaluation(folder, record_of(folder))
    if is_locked(folder / RunFiles.LOCK):
        raise RunError(
            f"run={folder}: this run is being trained by another process. Wait for it to end."
        )
    if not (folder / RunFiles.BEST).is_file():
        raise RunError(
            f"{folder / RunFiles.BEST}: there is no such checkpoint: no epoch of this run was "
            f"finished. Go on with python train.py resume={folder}"
        )


def refuse_evaluation(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise RunError where a record is that of an evaluation."""
    if "evaluated" in record:
        raise RunError(
            f"run={folder}: this is an evaluation, which has no network of its own. "
            f"Name the run that it is of: run={record.get('run')}"
        )


def record_of(folder: Path) -> dict[str, Any]:
    """The content of run.json; nothing where it is missing or damaged, which who needs it tells."""
    try:
        record = json.loads((folder / RunFiles.RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _may_be_exported(path: Path) -> bool:
    """Whether it may be what predict.py and app.py take in place of a run: a file, or a folder."""
    if path.is_dir() and not (path / RunFiles.RECORD).exists():
        return any(file.suffix in EXPORT_SUFFIXES.values() for file in path.iterdir())
    return path.is_file()
