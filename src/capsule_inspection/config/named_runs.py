"""`run=`, `runs=` and `resume=` by other names than a run folder: resolved before Hydra starts.

`latest` is the run in outputs/ that finished last. A folder of runs, such as
outputs/classification/resnet18, stands for the one in it that finished last, a file of a run for
the run. Of a sweep, whose runs have different settings, one has to be named: they are listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from capsule_inspection.config import sweeps
from capsule_inspection.config.existing_run import may_be_exported, read_record
from capsule_inspection.config.paths import expand_home, split_paths
from capsule_inspection.config.quoting import is_container, unquote
from capsule_inspection.types import EXPORT_SUFFIXES, RunError, RunFiles, SweepFiles

LATEST = "latest"
_OUTPUTS = Path("outputs")
_DEPTH = 4
"""Folders above a run, as in outputs/<task>/<model>/<time>."""


def resolve_runs(arguments: list[str], name: str) -> tuple[list[str], list[str]]:
    """The arguments of a command with run folders, and a line for each that was chosen.

    Raises RunError where there is no run to choose, or several.
    """
    values = [argument for argument in arguments if argument.startswith("run=")]
    if name == "app" and values in ([], ["run=null"]):
        arguments = [*(one for one in arguments if one not in values), f"run={LATEST}"]
    lines: list[str] = []

    def choose(key: str, text: str) -> str:
        found = _find(key, expand_home(unquote(text)))
        if found is None:
            return text
        lines.append(f"{key}={unquote(text)}: {found}{_of_sweep(found)}")
        return found.as_posix()

    resolved = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in ("run", "resume") and unquote(value) not in ("", "null", "???"):
            argument = f"{key}={choose(key, value)}"
        elif key == "runs" and value:
            items = split_paths(value[1:-1] if is_container(value) else value)
            argument = f"{key}=[{','.join(choose(key, item) for item in items)}]"
        resolved.append(argument)
    return resolved, lines


def _find(key: str, text: str) -> Path | None:
    """The run that a name stands for; None where it is a run already, or no name of one.

    Folders of runs in `runs=` stand for all of them.
    """
    path = Path(text)
    if path == Path(LATEST) and not path.exists():
        return _newest(_OUTPUTS, key, text)
    if path.is_file():
        return None if path.suffix in EXPORT_SUFFIXES.values() else _run_of_file(path, key)
    if key == "runs" or not path.is_dir() or _is_run(path) or may_be_exported(path):
        return None
    if (path / SweepFiles.SWEEP).is_file():
        return _only_run(path) if key == "run" else None
    if path.name == RunFiles.CHECKPOINTS and _is_run(path.parent):
        return path.parent
    return _newest(path, key, text) if any(_runs(path)) else None


def _of_sweep(run: Path) -> str:
    """A note on a run that has others beside it."""
    if not (run.parent / SweepFiles.SWEEP).is_file():
        return ""
    return f", one of the {len(sweeps.read_jobs(run.parent))} runs of a sweep"


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RunFiles.RECORD, RunFiles.CONFIG))


def _runs(folder: Path) -> Iterator[Path]:
    """The runs below a folder."""
    for place, folders, files in os.walk(folder, followlinks=True):
        if RunFiles.RECORD in files:
            yield Path(place)
        if RunFiles.RECORD in files or len(Path(place).relative_to(folder).parts) >= _DEPTH:
            folders.clear()


def _newest(folder: Path, key: str, text: str) -> Path:
    """The run that finished last, or the one to resume that was started last."""
    time, needed = ("started", RunFiles.LAST) if key == "resume" else ("finished", RunFiles.BEST)
    found: list[tuple[str, Path]] = []
    for run in _runs(folder):
        record = read_record(run)
        is_fit = key == "resume" or record.get("status") == sweeps.FINISHED
        if is_fit and (run / needed).is_file():
            found.append((str(record.get(time)), run))
    if not found:
        what = "no run that can be resumed" if key == "resume" else "no finished run"
        raise RunError(
            f"{key}={text}: there is {what} in {folder}/. Train a model, or name the folder of a "
            f"run: {key}=<run folder>."
        )
    return max(found)[1]


def _run_of_file(path: Path, key: str) -> Path:
    """The run that a file belongs to. Raises RunError for one of none, and for last.ckpt."""
    folder = path.parent.parent if path.parent.name == RunFiles.CHECKPOINTS else path.parent
    if not _is_run(folder):
        raise RunError(
            f"{key}={path}: this file belongs to no run. Expected a run folder, which holds the "
            "settings and the threshold that weights alone lack, or an exported model "
            f"({', '.join(EXPORT_SUFFIXES.values())})."
        )
    if key != "resume" and path.name == Path(RunFiles.LAST).name:
        raise RunError(
            f"{key}={path}: what a run predicts with is {RunFiles.BEST}, of its best epoch. Write "
            f"{key}={folder}."
        )
    return folder


def _only_run(sweep: Path) -> Path:
    """The finished run of a sweep. Raises RunError, which lists them, where there are several."""
    finished = [pair for pair in sweeps.read_jobs(sweep) if pair[1].status == sweeps.FINISHED]
    if len(finished) == 1:
        return finished[0][0]
    if not finished:
        raise RunError(
            f"run={sweep}: no run of this sweep is finished. Resume it: "
            f"{sweeps.resume_command(sweep)}"
        )
    rows = [
        f"\n  run={folder}"
        + ("" if job.value is None else f"  # metric of its best epoch {job.value:.4g}")
        for folder, job in finished
    ]
    raise RunError(f"run={sweep}: this sweep has {len(finished)} runs. Name one:{''.join(rows)}")
