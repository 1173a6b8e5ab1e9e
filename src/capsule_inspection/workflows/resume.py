"""What a resumed training goes on from: its last checkpoint and its initial weights."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.config.quoting import format_command
from capsule_inspection.inference.checkpoints import read_checkpoint
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import RunError, RunFiles, WeightsRecord
from capsule_inspection.workflows.record import FINISHED

log = logging.getLogger(__name__)

_LIMITS = ("max_epochs", "max_steps", "max_time")
"""Settings of the trainer that end a training."""


class ReadCheckpoint(NamedTuple):
    """The checkpoint that a training is resumed from."""

    path: Path
    content: dict[str, Any]
    finished_epochs: int

    @classmethod
    def read(cls, path: Path) -> ReadCheckpoint:
        content = read_checkpoint(path)
        return cls(path, content, content["epoch"] + 1)


def has_checkpoint(folder: Path) -> bool:
    """Whether an epoch of a run was finished."""
    return any((folder / name).exists() for name in (RunFiles.LAST, RunFiles.BEST))


def checkpoint_to_resume(config: DictConfig, folder: Path) -> ReadCheckpoint | None:
    """The last checkpoint of a run that is resumed; None where training begins anew."""
    if not config.resume or not has_checkpoint(folder):
        return None
    last = _read_last(folder)
    finished, most = last.finished_epochs, config.trainer.max_epochs
    has_limit = most is not None and most >= 0
    is_whole = read_record(folder).get("status") == FINISHED and not _has_new_limit(config, folder)
    if is_whole or (has_limit and finished > most):
        if config.task.get("builder") == "patches":
            raise RunError(
                f"{folder}: model={config.model.name} is not trained, so there is nothing to "
                "resume: this run is finished. For other settings start a new run."
            )
        more = 2 * max(finished, most if has_limit else 0)
        raise RunError(
            f"{folder}: all {finished} epochs of this run are done. For more of them: "
            + format_command(["train.py", f"resume={folder}", f"task.epochs={more}"])
        )
    return last


def _read_last(folder: Path) -> ReadCheckpoint:
    """The last checkpoint; where it is missing or damaged, that of the best epoch before it.

    Raises RunError where it holds code, or the one of the best epoch is gone or damaged.
    """
    last, best = folder / RunFiles.LAST, folder / RunFiles.BEST
    try:
        found = ReadCheckpoint.read(last)
    except RunError as error:
        if isinstance(error.__cause__, pickle.UnpicklingError) or not best.exists():
            raise
        found = ReadCheckpoint.read(best)
        log.warning("%s Training goes on after epoch %d, the best.", error, found.finished_epochs)
        return found
    callbacks = found.content.get("callbacks")
    states = callbacks.values() if isinstance(callbacks, dict) else ()
    if any(isinstance(one, dict) and one.get("best_model_score") is not None for one in states):
        read_checkpoint(best)
    return found


def _has_new_limit(config: DictConfig, folder: Path) -> bool:
    """Whether a resumed run has another limit of epochs, steps or time than before."""
    before = load_stored(folder / RunFiles.CONFIG).trainer
    return any(config.trainer.get(limit) != before.get(limit) for limit in _LIMITS)


def recorded_weights(folder: Path) -> WeightsRecord | None:
    """The initial weights that run.json records; None where it records none."""
    known = read_record(folder).get("weights")
    if not known:
        return None
    return WeightsRecord(
        known["source"], known.get("path"), known.get("sha256"), known.get("package")
    )
