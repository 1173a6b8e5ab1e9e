"""What is read from a sweep's files; whole sweeps are in tests/integration/."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from capsule_inspection.configuration.sweeps import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    JobRecord,
    best_trial_command,
    job_in,
)


def write_search(folder: Path, direction: str | None, values: list[float | None]) -> Path:
    (folder / "sweep.json").write_text(json.dumps({"direction": direction}))
    for number, value in enumerate(values):
        status = FAILED if value is None else FINISHED
        overrides = [f"optimizer.lr={number}", "data.root='/my parts'", "hparams=optimizer"]
        record = JobRecord(number, f"{number:02d}", overrides, status, value=value)
        (folder / record.name).mkdir()
        (folder / record.name / "job.json").write_text(json.dumps(asdict(record)))
    return folder


@pytest.mark.parametrize(
    ("direction", "best"), [("maximize", 2), ("minimize", 1)], ids=["maximize", "minimize"]
)
def test_the_best_trial_is_that_of_the_direction(tmp_path: Path, direction: str, best: int) -> None:
    told = best_trial_command(write_search(tmp_path, direction, [0.5, 0.2, 0.7, None]))
    assert told is not None
    assert told.startswith(f"Best of 3 finished trials: {best:02d}, ")
    command = shlex.split(told.partition("anew: ")[2])
    assert command == ["python", "train.py", f"optimizer.lr={best}", "data.root='/my parts'"]


def test_a_trial_without_a_number_is_not_the_best(tmp_path: Path) -> None:
    told = best_trial_command(write_search(tmp_path, "maximize", [float("nan"), 0.2, 0.1]))
    assert told is not None
    assert told.startswith("Best of 2 finished trials: 01, ")


@pytest.mark.parametrize(
    ("direction", "values"), [(None, [0.5]), ("maximize", [None, None]), ("maximize", [])]
)
def test_without_a_search_or_a_finished_trial_there_is_no_best(
    tmp_path: Path, direction: str | None, values: list[float | None]
) -> None:
    assert best_trial_command(write_search(tmp_path, direction, values)) is None


@pytest.mark.parametrize("before", [INTERRUPTED, FAILED])
@pytest.mark.parametrize("run", [FINISHED, INTERRUPTED, None])
def test_a_job_whose_run_was_finished_by_itself_is_finished(
    tmp_path: Path, before: str, run: str | None
) -> None:
    job = JobRecord(0, tmp_path.name, [], before, error="the disk was full")
    (tmp_path / "job.json").write_text(json.dumps(asdict(job)))
    if run is not None:
        record = {"status": run, "monitor": {"key": "val/loss", "value": 0.25}}
        (tmp_path / "run.json").write_text(json.dumps(record))
    found = job_in(tmp_path)
    assert found is not None
    if run == FINISHED:
        assert (found.status, found.error, found.value) == (FINISHED, None, 0.25)
    else:
        assert found == job
