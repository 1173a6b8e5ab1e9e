"""Records of sweeps; whole sweeps are run in tests/integration/."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from capsule_inspection.config.sweeps import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    JobRecord,
    best_trial_command,
    read_job,
)


def write_search(folder: Path, direction: str | None, values: list[float | None]) -> Path:
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"direction": direction}))
    for number, value in enumerate(values):
        status = FAILED if value is None else FINISHED
        overrides = [f"optimizer.lr={number}", "data.root='/my parts'", "hparams_search=optimizer"]
        record = JobRecord(number, f"{number:02d}", overrides, status, value=value)
        (folder / record.name).mkdir()
        (folder / record.name / "job.json").write_text(json.dumps(asdict(record)))
    return folder


@pytest.mark.parametrize(
    ("direction", "values", "finished", "best"),
    [
        ("maximize", [0.5, 0.2, 0.7, None], 3, 2),
        ("minimize", [0.5, 0.2, 0.7, None], 3, 1),
        ("maximize", [float("nan"), 0.2, 0.1], 2, 1),
    ],
)
def test_the_best_trial_follows_the_direction(
    tmp_path: Path, direction: str, values: list[float | None], finished: int, best: int
) -> None:
    message = best_trial_command(write_search(tmp_path / "sweep", direction, values))
    assert message is not None
    assert message.startswith(f"Best of {finished} finished trials: {best:02d}, ")
    command = shlex.split(message.partition("repeat it: ")[2])
    assert command == ["python", "train.py", f"optimizer.lr={best}", "data.root='/my parts'"]


def test_without_a_search_or_a_finished_trial_there_is_no_best(tmp_path: Path) -> None:
    for number, (direction, values) in enumerate(
        [(None, [0.5]), ("maximize", [None, None]), ("maximize", [])]
    ):
        assert best_trial_command(write_search(tmp_path / str(number), direction, values)) is None


@pytest.mark.parametrize("before", [INTERRUPTED, FAILED])
@pytest.mark.parametrize("run", [FINISHED, INTERRUPTED, None])
def test_a_job_is_finished_if_its_run_was_finished_later(
    tmp_path: Path, before: str, run: str | None
) -> None:
    job = JobRecord(0, tmp_path.name, [], before, error="the disk was full")
    (tmp_path / "job.json").write_text(json.dumps(asdict(job)))
    if run is not None:
        record = {"status": run, "monitor": {"key": "val/loss", "value": 0.25}}
        (tmp_path / "run.json").write_text(json.dumps(record))
    found = read_job(tmp_path)
    assert found is not None
    if run == FINISHED:
        assert (found.status, found.error, found.value) == (FINISHED, None, 0.25)
    else:
        assert found == job
