"""What a sweep leaves behind so that it can be told apart, listed and resumed.

`sweep.json` in the sweep's folder says with which arguments it began; `job.json` in each job's
folder says what became of the job. Both are files and not memory, since jobs may run in other
processes, on other machines, and may be killed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from capsule_inspection.config.existing_run import record_of
from capsule_inspection.config.paths import named_folder, quote
from capsule_inspection.config.resolvers import note_swept_keys
from capsule_inspection.files import is_locked, write_whole
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
_SEARCHES = ("hparams=", "hydra/sweeper=")


@dataclass(frozen=True)
class JobRecord:
    """job.json: `value` is what the job returned, the best value of the monitored figure."""

    number: int
    name: str
    overrides: list[str]
    status: str
    error: str | None = None
    value: float | None = None


class SweepNotes(Callback):
    """Hydra's callback: notes where the sweep goes, what it varies and how it was begun.

    Only notes: Hydra turns exceptions of callbacks into warnings, and skips the end of a sweep in
    which a job has raised.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called once, in the process that the sweep was started in."""
        folder = Path(str(config.hydra.sweep.dir))
        os.environ[_FOLDER_VARIABLE] = str(folder)
        # Jobs on other machines compose their configuration anew, and must come to the same folder.
        with open_dict(config), read_write(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote(folder.as_posix())}")
        params = config.hydra.sweeper.get("params") or {}
        swept = [f"{key}={params[key]}" for key in map(str, params)]
        note_swept_keys([*list(config.hydra.overrides.task), *swept])
        if not (folder / SweepFiles.SWEEP).is_file():
            values = {
                "format_version": FORMAT_VERSION,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "arguments": json.loads(os.environ.get(_ARGUMENTS_VARIABLE, "[]")),
                "direction": config.hydra.sweeper.get("direction"),
            }
            _write(folder / SweepFiles.SWEEP, values)


@dataclass(frozen=True)
class Notes:
    """What a process must know to run a job of a sweep as the one that began the sweep would."""

    folder: str
    environment: dict[str, str]


def notes() -> Notes:
    """Those of this process: its working folder, and what was noted of the sweep."""
    own = {key: value for key, value in os.environ.items() if key.startswith("CAPSULE_")}
    return Notes(str(Path.cwd()), own)


def take_over(notes: Notes) -> None:
    """Be where the sweep was begun, and know what was noted there.

    A cluster that was running already has neither its folder nor its environment. Raises RunError
    where the folder is not on this machine.
    """
    if not Path(notes.folder).is_dir():
        raise RunError(
            f"{notes.folder}: there is no such folder on {platform.node()}. Begin the sweep in a "
            "folder that all machines see."
        )
    os.chdir(notes.folder)
    os.environ.update(notes.environment)


def forget_sweep() -> None:
    """No sweep has begun in this process as yet."""
    os.environ.pop(_FOLDER_VARIABLE, None)
    os.environ.pop(_ARGUMENTS_VARIABLE, None)


def begun_sweep() -> Path | None:
    """The folder of the sweep that this process began; None where it began none."""
    folder = os.environ.get(_FOLDER_VARIABLE)
    return Path(folder) if folder else None


def nothing_finished() -> bool:
    """Whether a sweep was begun and has jobs, none of which finished."""
    folder = begun_sweep()
    jobs = [] if folder is None else read_jobs(folder)
    return bool(jobs) and all(job.status != FINISHED for _, job in jobs)


def note_arguments(arguments: Sequence[str]) -> None:
    """Remember how the sweep was asked for, for its sweep.json."""
    os.environ[_ARGUMENTS_VARIABLE] = json.dumps(list(arguments))


def arguments_to_resume(arguments: list[str]) -> list[str]:
    """Hydra's arguments for `-m resume=<sweep folder>`, taken from the sweep itself.

    Raises RunError where the folder holds no sweep, ConfigurationError where other arguments are
    given than those that it began with.
    """
    folder = named_folder(arguments, "resume")
    assert folder is not None
    stored = _read_sweep(folder)
    given = [a for a in arguments if not a.startswith(("resume=", "hydra.sweep.dir="))]
    begun = [a for a in stored if not a.startswith("hydra.sweep.dir=")]
    if given and sorted(given) != sorted(begun):
        raise ConfigurationError(
            f"resume={folder}: a sweep goes on as it was begun, with\n  {' '.join(begun)}\nbut the "
            f"command line says\n  {' '.join(given)}\nLeave these out, or begin a new sweep."
        )
    if any(argument.startswith(_SEARCHES) for argument in begun):
        raise ConfigurationError(
            f"resume={folder}: a search for hyperparameters is not resumed, it goes on from its "
            "storage: begin it again with the same hydra.sweeper.storage and study_name."
        )
    return [*begun, f"hydra.sweep.dir={quote(folder.as_posix())}"]


def best_trial_command(folder: Path) -> str | None:
    """How to train with what a search found best; None where a sweep was no search."""
    sweep = json.loads((folder / SweepFiles.SWEEP).read_text(encoding="utf-8"))
    direction = sweep.get("direction")
    jobs = [job for _, job in read_jobs(folder)]
    finished = [job for job in jobs if job.value is not None and math.isfinite(job.value)]
    if not isinstance(direction, str) or not finished:
        return None
    values = {job.number: job.value or 0.0 for job in finished}
    choose = max if direction.endswith("maximize") else min
    best = choose(finished, key=lambda job: values[job.number])
    settings = [setting for setting in best.overrides if not setting.startswith(_SEARCHES)]
    command = shlex.join(["python", "train.py", *settings])
    return (
        f"Best of {len(finished)} finished trials: {best.name}, {best.value:.4g}. To train it "
        f"anew: {command}"
    )


def _read_sweep(folder: Path) -> list[str]:
    path = folder / SweepFiles.SWEEP
    if not path.is_file():
        if (folder / RunFiles.RECORD).is_file():
            found = "a single run: leave out -m to go on with it"
        else:
            found = "an existing folder" if folder.is_dir() else "no such folder"
        raise RunError(
            f"resume={folder}: expected a sweep's folder with {SweepFiles.SWEEP}, found {found}."
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return [str(argument) for argument in stored["arguments"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({error}). Begin a new sweep.") from error


def read_jobs(folder: Path) -> list[tuple[Path, JobRecord]]:
    """Every job of a sweep with its folder, in their order; unreadable ones count as failed."""
    found = [(path.parent, _read_job(path)) for path in folder.glob(f"*/{SweepFiles.JOB}")]
    return sorted(
        ((path, record) for path, record in found if record is not None),
        key=lambda pair: pair[1].number,
    )


def job_in(folder: Path) -> JobRecord | None:
    """What is known of the job of a folder; None where none was begun there."""
    return _read_job(folder / SweepFiles.JOB)


def _read_job(path: Path) -> JobRecord | None:
    if not path.is_file():
        return None
    try:
        job = JobRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        return JobRecord(-1, path.parent.name, [], FAILED, f"{path} cannot be read ({error})")
    return job if job.status == FINISHED else _as_run_says(job, path.parent)


def _as_run_says(job: JobRecord, folder: Path) -> JobRecord:
    """A job whose run was finished later, by `resume=` with its folder, is finished too."""
    run = record_of(folder)
    if run.get("status") != FINISHED:
        return job
    return replace(job, status=FINISHED, error=None, value=run.get("monitor", {}).get("value"))


def begin_job(folder: Path) -> JobRecord:
    """Write that Hydra's present job runs in its folder."""
    settings = HydraConfig.get()
    record = JobRecord(int(settings.job.num), folder.name, list(settings.overrides.task), RUNNING)
    end_job(folder, record)
    return record


def end_job(folder: Path, record: JobRecord) -> None:
    """Write what became of a job."""
    _write(folder / SweepFiles.JOB, asdict(record))


def can_go_on(folder: Path) -> bool:
    """Whether the job of a folder was cut short behind a finished epoch.

    Raises RunError where it is not dead at all.
    """
    if is_locked(folder / RunFiles.LOCK):
        raise RunError(f"{folder}: another process is working on this job. Wait for it to end.")
    job = job_in(folder)
    cut_short = job is not None and job.status in (RUNNING, INTERRUPTED)
    return cut_short and (folder / RunFiles.LAST).is_file()


def move_aside(folder: Path) -> None:
    """Keep what an earlier attempt left in a job's folder, outside of it.

    The job's log is closed first: it goes with the attempt, and the next one begins its own.
    """
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    earlier = folder.parent / SweepFiles.EARLIER
    earlier.mkdir(exist_ok=True)
    number = 1 + sum(path.name.startswith(f"{folder.name}_") for path in earlier.iterdir())
    folder.rename(earlier / f"{folder.name}_{number}")
    folder.mkdir()


def tell_failures(folder: Path) -> int:
    """Print what did not finish, with its cause; returns how many jobs that are."""
    failed = [(path, job) for path, job in read_jobs(folder) if job.status != FINISHED]
    if not failed:
        return 0
    count = len(read_jobs(folder))
    lines = [f"error: {len(failed)} of the {count} jobs of this sweep did not finish:"]
    for path, job in failed:
        cause = job.error or job.status
        lines.append(f"  {path.name} ({' '.join(job.overrides)}): {cause}")
        lines.append(f"    see {path / RunFiles.LOG}")
    lines.append(f"To repeat them, and keep the others: {how_to_go_on(folder)}")
    print("\n".join(lines), file=sys.stderr)  # noqa: T201 - the door's own voice
    return len(failed)


def how_to_go_on(folder: Path) -> str:
    """The command that goes on with a sweep."""
    return f"python train.py -m resume={shlex.quote(str(folder))}"


def _write(path: Path, values: dict[str, Any]) -> None:
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
