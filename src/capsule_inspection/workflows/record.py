"""run.json, the lock of a run folder, and what is recorded of the software.

The lock is the operating system's: it is free as soon as the process is gone, however it ended.
"""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from capsule_inspection.config import existing_run
from capsule_inspection.config.quoting import format_command
from capsule_inspection.files import flush, flush_entry, is_locked, remove_partial
from capsule_inspection.integrity import FILES, check_files, checksums, write_sealed
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import FORMAT_VERSION, RunError, RunFiles

log = logging.getLogger(__name__)
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"

_RUN_FILES = (
    RunFiles.CONFIG,
    RunFiles.SPLIT,
    RunFiles.EPOCHS,
    RunFiles.METRICS,
    RunFiles.PREDICTIONS,
    RunFiles.CHECKPOINTS,
    RunFiles.PAGE,
    RunFiles.WEIGHTS,
)
"""Files of a run whose names other files may have, too."""
INPUT_FILES = (RunFiles.CONFIG, RunFiles.SPLIT)
_CHECKED_FILES = (
    *INPUT_FILES,
    RunFiles.BEST,
    RunFiles.OOD,
    RunFiles.EMBEDDINGS,
    RunFiles.EPOCHS,
    RunFiles.METRICS,
    RunFiles.PREDICTIONS,
    RunFiles.MAPS,
    RunFiles.EXPLANATIONS,
    RunFiles.WEIGHTS,
    RunFiles.MODEL_CARD,
)
"""Files that answers depend on."""
_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "hydra-core",
    "numpy",
    "capsule-inspection",
)


class RunRecord:
    """run.json of one run; holds the folder's lock from `create` or `reopen` until `close`."""

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder = folder
        self.values = values
        self._lock = FileLock(folder / RunFiles.LOCK)
        self._is_written = False

    @classmethod
    def create(cls, folder: Path, *, seed: int) -> RunRecord:
        """Start a run in a new folder, or in that of a run that was killed before it had files.

        Raises RunError where that would replace files.
        """
        _require_no_run(folder)
        values = {
            "format_version": FORMAT_VERSION,
            "status": RUNNING,
            "started": _now(),
            "finished": None,
            "attempts": 1,
            "seed": seed,
            "command": repeat_arguments(),
        }
        record = cls(folder, values)
        record._acquire()
        record.update()
        return record

    @classmethod
    def reopen(cls, folder: Path) -> RunRecord:
        """Resume a run. Raises RunError where it is running, damaged or of another version.

        run.json stays as it is until the first `update`: a refused resume changes nothing.
        """
        values = _read_resumable(folder)
        record = cls(folder, values)
        record._acquire()
        record.values[FILES] = {}  # they may change now
        record.values["command"] = [*(record.values.get("command") or []), *changed_settings()]
        record.values["attempts"] = record.values.get("attempts", 0) + 1
        record.values |= {"status": RUNNING, "finished": None}
        record.values.pop("error", None)
        return record

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise _in_use(self.folder) from error
        for key, name in vars(RunFiles).items():
            if key.isupper():
                remove_partial(self.folder / name)

    def update(self, **values: Any) -> None:
        """Set values and write run.json."""
        self._is_written = True
        self.values.update(values)
        write_record(self.folder, self.values)

    def close(self, status: str) -> None:
        """Write the final status, if run.json was written at all, and release the lock."""
        try:
            if self._is_written:
                self.update(status=status, finished=_now())
        except OSError as error:
            log.warning("%s: status %s cannot be written (%s).", self.folder, status, error)
        finally:
            self._lock.release()


def check_folder(folder: Path, *, is_resumed: bool) -> None:
    """Raise RunError as `RunRecord.create` or `reopen` would, without touching the folder."""
    if is_resumed:
        _read_resumable(folder)
    else:
        _require_no_run(folder)
    if is_locked(folder / RunFiles.LOCK):
        raise _in_use(folder)


def _require_no_run(folder: Path) -> None:
    """Raise RunError where a new run would replace files."""
    existing = [name for name in _RUN_FILES if (folder / name).exists()]
    known = "format_version" in existing_run.read_record(folder)
    if (folder / RunFiles.RECORD).exists() and (existing or not known):
        raise RunError(
            f"{folder}: this folder has a run already. Choose another hydra.run.dir, or resume "
            "that run: " + format_command(["train.py", f"resume={folder}"])
        )
    if existing:
        raise RunError(
            f"{folder}: a run would replace {', '.join(existing)} in this folder. Nothing is "
            "overwritten: choose another hydra.run.dir."
        )


def _read_resumable(folder: Path) -> dict[str, Any]:
    """The record of a run that is resumed. Raises RunError where it or its inputs are damaged."""
    remedy = "Restore it from a copy, or start a new run."
    values = read_record(folder, remedy=remedy)
    existing_run.check_no_evaluation(folder, values)
    check_files(folder, values, INPUT_FILES, remedy=remedy)
    return values


def _in_use(folder: Path) -> RunError:
    return RunError(
        f"{folder}: this run is being trained by another process. Wait for it, or stop it, then "
        "resume."
    )


def describe_status(folder: Path, values: Mapping[str, Any]) -> str:
    """Why a run has no result, as a part of a sentence; a killed process has lost its lock."""
    status = values.get("status")
    if status != RUNNING:
        return f"its status is {status}"
    if is_locked(folder / RunFiles.LOCK):
        return "it is still being trained"
    return "it was stopped before its end"


def write_record(folder: Path, values: dict[str, Any]) -> None:
    """Write run.json, with a checksum of itself."""
    write_sealed(folder / RunFiles.RECORD, values)


def finished_files(folder: Path) -> dict[str, str]:
    """Wait until a folder is on the disk; the checksums of its files, for the record."""
    flush(folder)
    flush_entry(folder.parent)
    return checksums(folder, _CHECKED_FILES)


def repeat_arguments() -> list[str]:
    """The script and the settings that repeat this training alone, in a new folder.

    Of a job in a sweep they are its own settings.
    """
    if not HydraConfig.initialized():
        return sys.argv
    # A launcher may start the jobs of a sweep with a script of its own.
    script = sys.argv[0] if Path(sys.argv[0]).name == "train.py" else "train.py"
    config = HydraConfig.get()
    # An experiment may be a sweep without -m.
    alone = ["hydra.mode=RUN"] if config.mode == RunMode.MULTIRUN else []
    return [script, *config.overrides.task, *alone]


def changed_settings() -> list[str]:
    """The settings that this command gives a run that it resumes; a sweep gives its jobs none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.MULTIRUN:
        return []
    return [one for one in HydraConfig.get().overrides.task if not one.startswith("resume=")]


def require_empty_folder(output: Path) -> None:
    """Raise RunError where a folder has files beside this command's log, or is a file."""
    if not output.exists():
        return
    if not output.is_dir():
        raise RunError(f"output={output}: expected a new or empty folder, found a file.")
    existing = [path.name for path in output.iterdir() if path.name != RunFiles.LOG]
    if existing:
        raise RunError(
            f"output={output}: expected a new or empty folder, found {len(existing)} files, such "
            f"as {existing[0]}. Nothing is overwritten: name another folder."
        )


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of the packages that shape a result, and of further ones."""
    versions = {"python": platform.python_version()}
    for name in (*_PACKAGES, *packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def git_commit(folder: Path) -> str | None:
    """Commit of the source tree, with -dirty where it has changes; None outside of a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
