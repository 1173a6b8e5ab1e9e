"""`run=<run folder>`: what it must be, before a folder for the results is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from capsule_inspection.config.existing_run import require_run
from capsule_inspection.types import ConfigurationError, InspectionError, RunError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """All that is looked at of a finished run."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text("{}", encoding="utf-8")
    (folder / "config.yaml").touch()
    (folder / "checkpoints" / "best.ckpt").touch()
    return folder


def refused(run: Path, *settings: str) -> InspectionError:
    with pytest.raises(InspectionError) as caught:
        require_run([f"run={run}", *settings])
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_finished_run_and_an_exported_file_pass(run: Path, tmp_path: Path) -> None:
    require_run([f"run={run}", "data.root=/elsewhere"])
    (tmp_path / "model.onnx").touch()
    require_run([f"run={tmp_path / 'model.onnx'}"])
    require_run([f"run={tmp_path}"])
    require_run(["stage=val"])


def test_what_is_missing_is_named(run: Path, tmp_path: Path) -> None:
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
    told = str(refused(run))
    assert "no epoch of this run was finished" in told
    assert f"resume={run}" in told


def test_an_evaluation_is_not_taken_for_a_run(run: Path) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    record = {"evaluated": "2026-01-01", "run": "outputs/a"}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    told = str(refused(run))
    assert "this is an evaluation" in told
    assert "Name the run that it is of: run=outputs/a" in told


def test_a_live_run_is_busy(run: Path) -> None:
    with FileLock(run / "run.lock"):
        assert f"run={run}: this run is being trained by another process" in str(refused(run))
    require_run([f"run={run}"])


@pytest.mark.parametrize(
    "setting", ["data.image_size=[64,64]", "data.roi=auto", "data.roi_margin=0", "+data.roi=none"]
)
def test_size_and_crop_are_the_runs(run: Path, setting: str) -> None:
    error = refused(run, "data=mvtec", setting)
    assert isinstance(error, ConfigurationError)
    assert str(error).startswith(setting.lstrip("+").partition("=")[0])
    assert "as the run was trained" in str(error)
