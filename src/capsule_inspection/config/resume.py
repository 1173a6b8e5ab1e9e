"""`resume=<run folder>`: everything comes from the run's config.yaml.

Only how long, on which device and with which loggers may be said anew.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capsule_inspection.config.older_runs import fill_in
from capsule_inspection.config.paths import named_folder, quote
from capsule_inspection.types import ConfigurationError, RunError, RunFiles, SweepFiles

ALLOWED_KEYS = (
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
ALLOWED_GROUPS = ("trainer", "logger")
TRAINER_DEVICE = ("accelerator", "devices", "strategy", "num_nodes")


def extra_arguments(arguments: list[str]) -> list[str]:
    """Hydra's run folder is the one to resume; checked before Hydra writes anything into it."""
    folder = named_folder(arguments, "resume")
    if folder is None:
        return []
    _require_run(folder)
    return [f"hydra.run.dir={quote(folder.as_posix())}"]


def stored_configuration(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The run's own configuration, with what may be said anew taken from the command line.

    Raises ConfigurationError for any other setting.
    """
    folder = Path(config.resume)
    _require_run(folder)
    stored = load_stored(folder / RunFiles.CONFIG)
    for override in overrides:
        key, _, _ = override.lstrip("+~").partition("=")
        if key == "resume":
            continue
        if key in ALLOWED_KEYS:
            OmegaConf.update(stored, key, OmegaConf.select(config, key), force_add=True)
        elif key == "logger":
            stored.logger = config.logger
        elif key == "trainer":
            for name in TRAINER_DEVICE:
                stored.trainer[name] = config.trainer[name]
        else:
            raise ConfigurationError(
                f"{key} cannot be changed when a run is resumed: everything comes from "
                f"{folder / RunFiles.CONFIG}. Allowed are {', '.join(ALLOWED_KEYS)}, trainer and "
                "logger. For other settings, start a new run."
            )
    if any(override.startswith("task.epochs=") for override in overrides):
        stored.trainer.max_epochs = config.task.epochs
    stored.resume = config.resume
    return stored


def _require_run(folder: Path) -> None:
    if not (folder / RunFiles.CONFIG).is_file():
        found = "an existing folder" if folder.is_dir() else "no such folder"
        if (folder / SweepFiles.SWEEP).is_file():
            raise RunError(
                f"resume={folder}: this is a sweep. To go on with it: "
                f"python train.py -m resume={folder}"
            )
        raise RunError(
            f"resume={folder}: expected a run folder with {RunFiles.CONFIG}, found {found}. "
            "Name the folder that train.py printed, such as outputs/classification/resnet18/<time>."
        )


def load_stored(path: Path) -> DictConfig:
    """A run's config.yaml, with settings that came after it.

    Raises RunError where it is missing or damaged.
    """
    try:
        config = OmegaConf.load(path)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: cannot be read ({reason}). Restore it from a copy.") from error
    if not isinstance(config, DictConfig):
        raise RunError(f"{path}: expected settings, found something else. Restore it from a copy.")
    fill_in(config)
    return config
