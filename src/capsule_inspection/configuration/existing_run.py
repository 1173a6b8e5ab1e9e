"""`run=<run folder>`: looked at before Hydra makes a folder for the results in it."""

from __future__ import annotations

import json
from pathlib import Path

from capsule_inspection.configuration.paths import named_folder
from capsule_inspection.contracts import ConfigurationError, RunError, RunFiles

FIXED_KEYS = ("data.image_size", "data.roi", "data.roi_margin")


def require_run(arguments: list[str]) -> None:
    """Raise RunError where `run=` names no run, or one that is not finished.

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
    missing = [name for name in (RunFiles.RECORD, RunFiles.CONFIG) if not (folder / name).is_file()]
    if missing:
        found = f"no {' and no '.join(missing)} in it" if folder.is_dir() else "no such folder"
        raise RunError(
            f"run={folder}: expected a run folder with {RunFiles.RECORD} and {RunFiles.CONFIG}, "
            f"found {found}. Name the folder that train.py printed."
        )
    if _status(folder) == "running":
        raise RunError(
            f"run={folder}: this run is not finished. Wait for it, or if it was stopped go on with "
            f"python train.py resume={folder}"
        )


def _status(folder: Path) -> object:
    """What run.json says; a damaged one is reported by whoever reads all of it."""
    try:
        return json.loads((folder / RunFiles.RECORD).read_bytes())["status"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
