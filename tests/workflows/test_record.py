"""run.json: sealed, written last, and what of a folder is compared with it."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from capsule_inspection.config import entry
from capsule_inspection.integrity import CHECKSUM, FILES
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import RunError
from capsule_inspection.workflows import record as record_module
from capsule_inspection.workflows.record import (
    FAILED,
    FINISHED,
    RunRecord,
    describe_status,
    finished_files,
    write_record,
)


def begun(folder: Path) -> RunRecord:
    """A run with its inputs, whose process is gone."""
    folder.mkdir()
    record = RunRecord.create(folder, seed=3)
    for name in record_module.INPUT_FILES:
        (folder / name).write_text(f"content of {name}")
    record.update(files=finished_files(folder))
    record._lock.release()
    return record


def test_any_changed_value_of_the_record_is_found(tmp_path: Path) -> None:
    write_record(tmp_path, {"format_version": 1, "seed": 3, "command": ["train.py", "a=\udcff"]})
    path = tmp_path / "run.json"
    whole = path.read_bytes()
    assert read_record(tmp_path)["command"] == ["train.py", "a=\udcff"]
    for number in range(len(whole)):
        path.write_bytes(whole[:number] + bytes([whole[number] ^ 1]) + whole[number + 1 :])
        try:
            found = read_record(tmp_path)
        except RunError:
            continue
        assert found["seed"] == 3  # the name of the checksum itself
        assert found["command"] == ["train.py", "a=\udcff"]


def test_a_changed_record_is_read_where_it_is_not_verified(tmp_path: Path) -> None:
    write_record(tmp_path, {"format_version": 1, "seed": 3})
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"seed": 3', '"seed": 4'))
    with pytest.raises(RunError, match=r"damaged or changed.*verify=skip"):
        read_record(tmp_path)
    assert read_record(tmp_path, verify=False)["seed"] == 4


def test_everything_is_on_the_disk_before_the_record_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("images/0.jpg", "report.html", "metrics.json", "events.out"):
        (tmp_path / name).write_text(name)
    flushed: list[Path] = []
    monkeypatch.setattr("capsule_inspection.files.flush_entry", flushed.append)
    files = finished_files(tmp_path)
    assert set(files) == {"metrics.json"}
    assert {path.relative_to(tmp_path).as_posix() for path in flushed} >= {
        ".", "images", "images/0.jpg", "report.html", "metrics.json", "events.out",
    }  # fmt: skip


def test_a_run_that_was_killed_before_its_configuration_begins_anew(tmp_path: Path) -> None:
    first = RunRecord.create(tmp_path, seed=3)
    with pytest.raises(RunError, match="being trained by another process"):
        RunRecord.create(tmp_path, seed=3)
    first._lock.release()
    (tmp_path / ".run.json.abc.part").write_text("{")
    second = RunRecord.create(tmp_path, seed=4)
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 4
    assert not list(tmp_path.glob(".*.part"))
    second._lock.release()
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunError, match=r"has a run already.*resume="):
        RunRecord.create(tmp_path, seed=3)


def test_a_record_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"mine": 1}')
    with pytest.raises(RunError, match="has a run already"):
        RunRecord.create(tmp_path, seed=3)


@pytest.mark.parametrize("name", record_module.INPUT_FILES)
def test_damaged_inputs_are_named_when_a_run_is_resumed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    begun(folder)
    before = (folder / "run.json").read_bytes()
    (folder / name).write_text(f"c0ntent of {name}")
    with pytest.raises(RunError, match=f"{name}: damaged or changed.*start a new run"):
        RunRecord.reopen(folder)
    (folder / name).unlink()
    with pytest.raises(RunError, match=f"{name}: missing.*start a new run"):
        RunRecord.reopen(folder)
    assert (folder / "run.json").read_bytes() == before


def test_a_resumed_run_may_change_its_inputs_and_be_killed_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun(folder)
    resumed = RunRecord.reopen(folder)
    resumed.update()
    assert CHECKSUM in read_record(folder)
    (folder / "config.yaml").write_text("more epochs")
    resumed._lock.release()  # killed
    again = RunRecord.reopen(folder)
    again.values[FILES] = finished_files(folder)
    again._is_written = True
    again.close(FINISHED)
    assert set(read_record(folder)[FILES]) == {"config.yaml", "split.csv"}
    assert read_record(folder)["attempts"] == 3


def test_a_full_disk_has_no_traceback_of_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's thread raises what the next write raises in the training's own."""
    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    full, other = (
        threading.ExceptHookArgs((type(error), error, None, threading.current_thread()))
        for error in (OSError(errno.ENOSPC, "full"), ValueError("x"))
    )
    with entry._quiet_on_full_disk():
        threading.excepthook(full)
        threading.excepthook(other)
    assert printed == [other]


def test_a_run_whose_process_is_gone_was_stopped_and_one_that_is_locked_is_trained(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    killed = begun(folder)
    assert describe_status(folder, killed.values) == "it was stopped before its end"
    resumed = RunRecord.reopen(folder)
    assert describe_status(folder, resumed.values) == "it is still being trained"
    resumed.update()
    resumed.close(FAILED)
    assert describe_status(folder, read_record(folder)) == "its status is failed"
