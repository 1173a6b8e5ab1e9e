"""run.json and the lock of a run folder.

The lock is the operating system's: it is free as soon as the process is gone, however it ended.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from capsule_inspection.files import write_whole
from capsule_inspection.reports.run_folder import read_record
from capsule_inspection.types import FORMAT_VERSION, RunError, RunFiles

log = logging.getLogger(__name__)
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"

_WRITTEN = (
    RunFiles.CONFIG,
    RunFiles.SPLIT,
    RunFiles.EPOCHS,
    RunFiles.FIGURES,
    RunFiles.PREDICTIONS,
    RunFiles.CHECKPOINTS,
    RunFiles.PAGE,
    RunFiles.WEIGHTS,
)
"""What a run writes under names that others may use, too."""


class RunRecord:
    """The record of one run; holds the folder's lock from `claim` or `reopen` until `close`."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder = folder
        self.values = values
        self._lock = FileLock(folder / RunFiles.LOCK)
        self._begun = False

    @classmethod
    def claim(cls, folder: Path, *, seed: int) -> RunRecord:
        """Begin a run in a new folder. Raises RunError where that would replace files in it."""
        if (folder / RunFiles.RECORD).exists():
            raise RunError(
                f"{folder}: there is a run in this folder already. Choose another hydra.run.dir, "
                f"or go on with that run: python train.py resume={folder}"
            )
        in_the_way = [name for name in _WRITTEN if (folder / name).exists()]
        if in_the_way:
            raise RunError(
                f"{folder}: a run would replace {', '.join(in_the_way)} in this folder. Nothing is "
                "overwritten: choose another hydra.run.dir."
            )
        record = cls(
            folder,
            {
                "format_version": FORMAT_VERSION,
                "status": RUNNING,
                "started": _now(),
                "finished": None,
                "attempts": 1,
                "seed": seed,
                "command": sys.argv,
            },
        )
        record._acquire()
        record.update()
        return record

    @classmethod
    def reopen(cls, folder: Path) -> RunRecord:
        """Go on with a run. Raises RunError where it is running, unreadable or too new.

        run.json stays as it is until the first `update`: a refused resume changes nothing.
        """
        record = cls(folder, read_record(folder))
        record._acquire()
        record.values["attempts"] = int(record.values.get("attempts", 1)) + 1
        record.values |= {"status": RUNNING, "finished": None}
        record.values.pop("error", None)
        return record

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"{self.folder}: this run is being trained by another process. "
                "Wait for it, or stop it, then resume."
            ) from error

    def update(self, **values: Any) -> None:
        """Set values and write the record."""
        self._begun = True
        self.values.update(values)
        self.write()

    def write(self) -> None:
        write_record(self.folder, self.values)

    def close(self, status: str) -> None:
        """Write the final status, where anything was begun, and free the lock."""
        try:
            if self._begun:
                self.update(status=status, finished=_now())
        except OSError as error:
            log.warning("%s: status %s cannot be written (%s).", self.folder, status, error)
        finally:
            self._lock.release()


def write_record(folder: Path, values: dict[str, Any]) -> None:
    """Write run.json."""
    text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
    write_whole(folder / RunFiles.RECORD, text + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
