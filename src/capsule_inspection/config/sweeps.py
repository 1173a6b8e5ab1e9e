"""Sweeps: their records, resuming, and the state that jobs share.

`sweep.json` in the sweep folder holds the arguments of the sweep, `job.json` in each job's folder
the status of the job. Both are files, because jobs may run in other processes and machines.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from capsule_inspection.config import left_overs
from capsule_inspection.config.existing_run import check_links, check_logs, read_record
from capsule_inspection.config.paths import path_argument
from capsule_inspection.config.quoting import format_command, quote
from capsule_inspection.config.resolvers import record_swept_keys
from capsule_inspection.config.sweep_arguments import check_arguments
from capsule_inspection.config.terminal import printable
from capsule_inspection.files import durable_rename, is_locked
from capsule_inspection.integrity import CHECKSUM, check_size, read_sealed, write_sealed
from capsule_inspection.types import (
    FORMAT_VERSION,
    ConfigurationError,
    RunError,
    RunFiles,
    SweepFiles,
)

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
_FOLDER_VARIABLE = "CAPSULE_SWEEP_FOLDER"
_ARGUMENTS_VARIABLE = "CAPSULE_SWEEP_ARGUMENTS"
_STORED_VARIABLE = "CAPSULE_SWEEP_STORED"
_SEARCH_KEYS = ("hparams_search=", "hydra/sweeper=")


@dataclass(frozen=True)
class JobRecord:
    """job.json; `value` is the best value of the monitored metric."""

    number: int
    name: str
    overrides: list[str]
    status: str
    error: str | None = None
    value: float | None = None


class SweepCallback(Callback):
    """Hydra callback that records the folder, the swept keys and the arguments of a sweep.

    Everything else is done by `entry.run`: Hydra turns exceptions of callbacks into warnings, and
    skips the end of a sweep in which a job has raised.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called once, in the process in which the sweep was started."""
        folder = Path(str(config.hydra.sweep.dir))
        left_overs.watch(folder)
        os.environ[_FOLDER_VARIABLE] = str(folder)
        # Jobs on other machines compose their configuration again, and need the same folder.
        with open_dict(config), read_write(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote(folder.as_posix())}")
        params = config.hydra.sweeper.get("params") or {}
        swept = [f"{key}={params[key]}" for key in map(str, params)]
        record_swept_keys([*list(config.hydra.overrides.task), *swept])
        try:
            _read_sweep(folder)
        except RunError:  # none yet, or a damaged one
            values = {
                "format_version": FORMAT_VERSION,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "arguments": json.loads(os.environ.get(_ARGUMENTS_VARIABLE, "[]")),
                "direction": config.hydra.sweeper.get("direction"),
            }
            write_sealed(folder / SweepFiles.SWEEP, values)


@dataclass(frozen=True)
class SweepState:
    """State of the process that started the sweep, which the processes of its jobs need."""

    working_folder: str
    environment: dict[str, str]


def state() -> SweepState:
    """The state of this process."""
    own = {key: value for key, value in os.environ.items() if key.startswith("CAPSULE_")}
    return SweepState(str(Path.cwd()), own)


def restore(state: SweepState) -> None:
    """Take over the state of another process; a running cluster has neither folder nor environment.

    Raises RunError if the folder is not on this machine.
    """
    if not Path(state.working_folder).is_dir():
        raise RunError(
            f"{state.working_folder}: there is no such folder on {platform.node()}. Start the "
            "sweep in a folder that all machines share."
        )
    os.chdir(state.working_folder)
    os.environ.update(state.environment)


def reset() -> None:
    """Forget the sweep of this process."""
    for name in (_FOLDER_VARIABLE, _ARGUMENTS_VARIABLE, _STORED_VARIABLE):
        os.environ.pop(name, None)


def current_sweep() -> Path | None:
    """The folder of the sweep that this process started; None if it started none."""
    folder = os.environ.get(_FOLDER_VARIABLE)
    return Path(folder) if folder else None


def has_only_failures() -> bool:
    """Whether this process started a sweep that has jobs, none of which is finished."""
    folder = current_sweep()
    jobs = [] if folder is None else read_jobs(folder)
    return bool(jobs) and all(job.status != FINISHED for _, job in jobs)


def record_arguments(arguments: Sequence[str]) -> None:
    """Store the arguments of the command line in the environment, for sweep.json."""
    os.environ[_ARGUMENTS_VARIABLE] = json.dumps(list(arguments))


def arguments_to_resume(arguments: list[str]) -> list[str]:
    """Hydra's arguments for `-m resume=<sweep folder>`, read from sweep.json.

    Raises RunError if the folder holds no sweep, ConfigurationError for arguments other than those
    that the sweep was started with.
    """
    folder = path_argument(arguments, "resume")
    assert folder is not None
    given = [a for a in arguments if not a.startswith(("resume=", "hydra.sweep.dir="))]
    stored = [a for a in _read_arguments(folder) if not a.startswith("hydra.sweep.dir=")]
    check_links(folder)
    check_logs(folder.glob("*/*.log"))
    if not given:
        check_arguments(stored, folder)
        os.environ[_STORED_VARIABLE] = "1"
    elif sorted(given) != sorted(stored):
        raise ConfigurationError(
            f"resume={folder}: the sweep was started with\n  {' '.join(stored)}\nbut the command "
            f"line has\n  {' '.join(given)}\nRemove these, or start a new sweep."
        )
    if any(argument.startswith(_SEARCH_KEYS) for argument in stored):
        raise ConfigurationError(
            f"resume={folder}: a hyperparameter search is resumed from its storage. Start it again "
            "with the same hydra.sweeper.storage and study_name."
        )
    return [*stored, f"hydra.sweep.dir={quote(folder.as_posix())}"]


def is_from_folder() -> bool:
    """Whether the arguments of this sweep were read from a sweep folder."""
    return _STORED_VARIABLE in os.environ


def best_trial_command(folder: Path) -> str | None:
    """The best trial of a hyperparameter search and its command; None for other sweeps."""
    try:
        direction = _read_sweep(folder).get("direction")
    except RunError as error:
        return str(error)
    finished = [
        (job.value, job)
        for _, job in read_jobs(folder)
        if job.value is not None and math.isfinite(job.value)
    ]
    if not isinstance(direction, str) or not finished:
        return None
    choose = max if direction.endswith("maximize") else min
    value, best = choose(finished, key=lambda pair: pair[0])
    settings = [setting for setting in best.overrides if not setting.startswith(_SEARCH_KEYS)]
    command = format_command(["train.py", *settings])
    summary = f"Best of {len(finished)} finished trials: {best.name}, {value:.4g}."
    return f"{summary} To repeat it: {command}"


def _read_arguments(folder: Path) -> list[str]:
    path = folder / SweepFiles.SWEEP
    if not path.is_file():
        if (folder / RunFiles.RECORD).is_file():
            found = "a single run: remove -m to resume it"
        else:
            found = "an existing folder" if folder.is_dir() else "no such folder"
        raise RunError(
            f"resume={folder}: expected a sweep folder with {SweepFiles.SWEEP}, found {found}."
        )
    arguments = _read_sweep(folder).get("arguments")
    if not isinstance(arguments, list):
        raise RunError(f"{path}: it has no arguments. Start a new sweep.")
    return [str(argument) for argument in arguments]


def _read_sweep(folder: Path) -> dict[str, Any]:
    path = folder / SweepFiles.SWEEP
    try:
        check_size(path, max_bytes=2**20)
        return read_sealed(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: damaged ({error}). Restore it from a copy, or start a new sweep."
        ) from error


def read_jobs(folder: Path) -> list[tuple[Path, JobRecord]]:
    """Each job of a sweep with its folder, in order; unreadable records count as failed."""
    folders = [path for path in folder.glob("*") if path.is_dir()]
    found = [(path, job) for path in folders if (job := read_job(path)) is not None]
    return sorted(found, key=lambda pair: pair[1].number)


def read_job(folder: Path) -> JobRecord | None:
    """The record of the job in a folder; None if no job was started there.

    What counts is the run: a job is also finished if its run was finished later by `resume=`. Where
    job.json is lost or damaged, the run has the status.
    """
    run = read_record(folder)
    try:
        job = _valid_job(read_sealed(folder / SweepFiles.JOB))
    except (OSError, ValueError, TypeError) as error:
        if not run and not (folder / SweepFiles.JOB).exists():
            return None
        known = run.get("status") in (RUNNING, FINISHED, INTERRUPTED)
        reason = f"{folder / SweepFiles.JOB} cannot be read ({error})"
        job = JobRecord(-1, folder.name, [], run["status"] if known else FAILED, reason)
    if run.get("status") != FINISHED or (job.status == FINISHED and job.error is None):
        return job
    monitor = run.get("monitor")
    value = monitor.get("value") if isinstance(monitor, dict) else None
    value = value if isinstance(value, float) else None
    return replace(job, status=FINISHED, error=None, value=value)


def mend_job(folder: Path, job: JobRecord) -> None:
    """Write job.json where it was lost, or not yet written when the process was killed."""
    try:
        is_known = _valid_job(read_sealed(folder / SweepFiles.JOB)) == job
    except (OSError, ValueError, TypeError):
        is_known = False
    if not is_known:
        write_job(folder, job)


def _valid_job(stored: dict[str, Any]) -> JobRecord:
    """The content of job.json. Raises TypeError where it is not as `write_job` writes it."""
    del stored[CHECKSUM]
    job = JobRecord(**stored)
    texts = [job.name, job.status, job.error or "", *job.overrides]
    if not (isinstance(job.number, int) and all(isinstance(text, str) for text in texts)):
        raise TypeError("its values are not as expected")
    if not isinstance(job.value, float | None):
        raise TypeError(f"value is {job.value!r}")
    return job


def cause(folder: Path, job: JobRecord) -> str:
    """Why a job did not finish."""
    if job.status == RUNNING and not is_locked(folder / RunFiles.LOCK):
        return "killed before it ended"
    return f"{job.status}. {job.error or ''}".strip()


def current_job(folder: Path) -> JobRecord:
    """Hydra's current job, which runs in this folder."""
    settings = HydraConfig.get()
    return JobRecord(int(settings.job.num), folder.name, list(settings.overrides.task), RUNNING)


def write_job(folder: Path, job: JobRecord) -> None:
    """Write job.json."""
    write_sealed(folder / SweepFiles.JOB, asdict(job))


def can_resume(folder: Path) -> bool:
    """Whether the job in a folder was interrupted after a finished epoch.

    Raises RunError if it is running.
    """
    if is_locked(folder / RunFiles.LOCK):
        raise RunError(f"{folder}: another process is running this job. Wait until it ends.")
    job = read_job(folder)
    interrupted = job is not None and job.status in (RUNNING, INTERRUPTED)
    return interrupted and (folder / RunFiles.LAST).is_file()


def archive_attempt(folder: Path) -> None:
    """Move the files of an earlier attempt out of a job's folder, and close its log file."""
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    earlier = folder.parent / SweepFiles.EARLIER
    earlier.mkdir(exist_ok=True)
    number = 1 + sum(path.name.startswith(f"{folder.name}_") for path in earlier.iterdir())
    durable_rename(folder, earlier / f"{folder.name}_{number}")
    folder.mkdir()


def print_failures(folder: Path, *, stopped: str = "") -> int:
    """Print the jobs that did not finish, with the cause; returns their number.

    `stopped` says why the sweep ended before all jobs had begun.
    """
    jobs = read_jobs(folder)
    failed = [(path, job) for path, job in jobs if job.status != FINISHED]
    if not failed and not stopped:
        return 0
    lines = [f"error: {len(failed)} of the {len(jobs)} jobs of this sweep did not finish:"]
    for path, job in failed:
        reason = job.error or cause(path, job)
        lines.append(f"  {path.name} ({' '.join(job.overrides)}): {reason}")
        lines.append(f"    see {path / RunFiles.LOG}")
    if stopped:
        lines.append(f"{stopped} Jobs that had not begun are not listed.")
    lines.append(f"To repeat them, and keep the others: {resume_command(folder)}")
    print(printable("\n".join(lines)), file=sys.stderr)  # noqa: T201
    return len(failed)


def resume_command(folder: Path) -> str:
    """The command that resumes a sweep."""
    return format_command(["train.py", "-m", f"resume={folder}"])
