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
    RUNNING,
    JobRecord,
    arguments_to_resume,
    best_trial_command,
    cause,
    read_job,
    read_jobs,
)
from capsule_inspection.integrity import seal
from capsule_inspection.types import RunError


def write_search(folder: Path, direction: str | None, values: list[float | None]) -> Path:
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(seal({"direction": direction})))
    for number, value in enumerate(values):
        status = FAILED if value is None else FINISHED
        overrides = [f"optimizer.lr={number}", "data.root='/my parts'", "hparams_search=optimizer"]
        record = JobRecord(number, f"{number:02d}", overrides, status, value=value)
        (folder / record.name).mkdir()
        (folder / record.name / "job.json").write_text(json.dumps(seal(asdict(record))))
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
    (tmp_path / "job.json").write_text(json.dumps(seal(asdict(job))))
    if run is not None:
        record = {"status": run, "monitor": {"key": "val/loss", "value": 0.25}}
        (tmp_path / "run.json").write_text(json.dumps(record))
    found = read_job(tmp_path)
    assert found is not None
    if run == FINISHED:
        assert (found.status, found.error, found.value) == (FINISHED, None, 0.25)
    else:
        assert found == job


DAMAGE = {
    "empty": b"",
    "cut": b'{"number": 0, "na',
    "no UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "changed": json.dumps(seal({"number": 0})).replace("0", "1", 1).encode(),
    "of other types": json.dumps(
        seal({"number": "a", "name": 1, "overrides": [{}], "status": [], "value": "x"})
    ).encode(),
    "of other fields": json.dumps(seal({"other": 1})).encode(),
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("run", [FINISHED, INTERRUPTED, FAILED, None])
def test_a_job_whose_record_is_damaged_has_the_status_of_its_run(
    tmp_path: Path, content: bytes, run: str | None
) -> None:
    folder = tmp_path / "00_a"
    folder.mkdir()
    (folder / "job.json").write_bytes(content)
    if run is not None:
        record = {"status": run, "monitor": {"value": 0.25}}
        (folder / "run.json").write_text(json.dumps(record))
    ((_, job),) = read_jobs(tmp_path)
    assert job.status == (run or FAILED)
    assert (job.value == 0.25) == (run == FINISHED)
    assert run == FINISHED or "job.json cannot be read" in cause(folder, job)


def test_a_job_whose_record_is_gone_is_not_dropped(tmp_path: Path) -> None:
    (tmp_path / "00_a").mkdir()
    assert read_jobs(tmp_path) == []
    (tmp_path / "00_a" / "run.json").write_text(json.dumps({"status": FINISHED}))
    ((_, job),) = read_jobs(tmp_path)
    assert job.status == FINISHED


def test_a_job_that_was_killed_is_said_to_be(tmp_path: Path) -> None:
    assert cause(tmp_path, JobRecord(0, "a", [], RUNNING)) == "killed before it ended"


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_of_a_sweep_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(RunError, match=r"sweep\.json: (damaged|it has no arguments).*new sweep"):
        arguments_to_resume([f"resume={tmp_path}"])
