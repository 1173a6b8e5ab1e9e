"""Checks of `run=<run folder>` before a folder for the results is created."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

from capsule_inspection.config.existing_run import check_run, resume_arguments
from capsule_inspection.config.sweeps import arguments_to_resume
from capsule_inspection.integrity import write_sealed
from capsule_inspection.types import ConfigurationError, InspectionError, RunError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a finished run that are checked."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text("{}", encoding="utf-8")
    (folder / "config.yaml").touch()
    (folder / "checkpoints" / "best.ckpt").touch()
    return folder


def refused(run: Path, *settings: str) -> InspectionError:
    with pytest.raises(InspectionError) as caught:
        check_run([f"run={run}", *settings])
    assert "\n" not in str(caught.value)
    return caught.value


def test_finished_runs_and_exported_models_pass(run: Path, tmp_path: Path) -> None:
    check_run([f"run={run}", "data.root=/elsewhere"])
    (tmp_path / "model.onnx").touch()
    check_run([f"run={tmp_path / 'model.onnx'}"])
    check_run([f"run={tmp_path}"])
    check_run(["subset=val"])


def test_missing_files_are_named(run: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "outputs" / "no-such-run"
    assert "run.json and config.yaml, found no such folder" in str(refused(nowhere))
    for name in ("run.json", "config.yaml"):
        content = (run / name).read_bytes()
        (run / name).unlink()
        error = refused(run)
        assert isinstance(error, RunError)
        assert f"run={run}: expected a run folder" in str(error)
        assert f"found no {name} in it" in str(error)
        (run / name).write_bytes(content)
    (run / "checkpoints" / "best.ckpt").unlink()
    message = str(refused(run))
    assert "no epoch of this run was finished" in message
    assert f"resume={run}" in message


def test_links_that_lead_out_of_a_folder_are_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "inside").symlink_to(run / "checkpoints")
    check_run([f"run={run}"])
    for name in ("train.log", "checkpoints/last.ckpt", "evaluation"):
        (run / name).symlink_to(tmp_path / "elsewhere")
        assert f"{run / name}: a link that leads out of {run}" in str(refused(run))
        with pytest.raises(RunError, match="a link that leads out"):
            resume_arguments([f"resume={run}"])
        (run / name).unlink()


def test_a_log_with_a_second_name_is_not_written_through(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    os.link(tmp_path / "mine.txt", run / "train.log")
    with pytest.raises(RunError, match=r"train\.log: a link, which messages"):
        resume_arguments([f"resume={run}"])
    write_sealed(tmp_path / "sweep.json", {"arguments": ["seed=1"]})
    with pytest.raises(RunError, match=r"train\.log: a link, which messages"):
        arguments_to_resume([f"resume={tmp_path}"])


def test_an_evaluation_is_not_a_run(run: Path) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    record = {"evaluated": "2026-01-01", "run": "outputs/a"}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    message = str(refused(run))
    assert "this is an evaluation" in message
    assert "Use the run that it evaluates: run=outputs/a" in message


def test_a_run_in_training_is_locked(run: Path) -> None:
    with FileLock(run / "run.lock"):
        assert f"run={run}: another process is training this run" in str(refused(run))
    check_run([f"run={run}"])


@pytest.mark.parametrize(
    "setting", ["data.image_size=[64,64]", "data.roi=auto", "data.roi_margin=0", "+data.roi=none"]
)
def test_settings_of_the_run_cannot_change(run: Path, setting: str) -> None:
    error = refused(run, "data=mvtec", setting)
    assert isinstance(error, ConfigurationError)
    assert str(error).startswith(setting.lstrip("+").partition("=")[0])
    assert "as in the run's training" in str(error)
