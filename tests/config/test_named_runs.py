"""run=latest, folders of runs, sweep folders and files of runs, before Hydra starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capsule_inspection.config.named_runs import resolve_runs
from capsule_inspection.config.sweeps import JobRecord, write_job
from capsule_inspection.types import RunError


def make_run(folder: Path, *, finished: str | None = "2026-01-01", started: str = "2025") -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        (folder / name).touch()
    status = "finished" if finished else "interrupted"
    record = {"status": status, "finished": finished, "started": started}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(Path("outputs/classification/resnet18/a"), finished="2026-01-03")
    make_run(Path("outputs/classification/resnet18/b"), finished="2026-01-02")
    make_run(Path("outputs/segmentation/unet/c"), finished="2026-01-04")
    make_run(Path("outputs/segmentation/unet/d"), finished=None, started="2026-02")
    evaluation = Path("outputs/segmentation/unet/c/evaluation/e")
    evaluation.mkdir(parents=True)
    record = {"status": "finished", "finished": "2027", "evaluated": "test"}
    (evaluation / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path / "outputs"


def resolved(*arguments: str, name: str = "predict") -> list[str]:
    return resolve_runs(list(arguments), name)[0]


def test_latest_is_the_run_that_finished_last(outputs: Path) -> None:
    chosen = "outputs/segmentation/unet/c"
    arguments, lines = resolve_runs(["run=latest", "input=x"], "predict")
    assert arguments == [f"run={chosen}", "input=x"]
    assert lines == [f"run=latest: {chosen}"]
    assert resolved(name="app") == resolved("run=null", name="app") == [f"run={chosen}"]
    assert resolved("seed=1", name="train") == ["seed=1"]
    assert resolved(name="evaluate") == []  # where run= is required


def test_a_folder_of_runs_stands_for_its_last_one(outputs: Path) -> None:
    folder = "outputs/classification/resnet18"
    for given in (folder, f"{folder}/", "outputs/classification"):
        assert resolved(f"run='{given}'") == [f"run={folder}/a"]
    assert resolved(f"run={folder}/b") == [f"run={folder}/b"]


def test_compared_folders_stand_for_all_of_their_runs(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "my parts, (a=b)").mkdir()
    given = f"outputs/classification/resnet18,{tmp_path}/my parts, (a=b)"
    for value in (given, f"[{given}]"):
        assert resolved(f"runs={value}", name="compare") == [f"runs=[{given}]"]
    assert resolved("runs=[latest,x]", name="compare") == ["runs=[outputs/segmentation/unet/c,x]"]


def test_resume_takes_the_run_that_was_started_last(outputs: Path) -> None:
    assert resolved("resume=latest", name="train") == ["resume=outputs/segmentation/unet/d"]


def test_a_file_of_a_run_stands_for_the_run(outputs: Path, tmp_path: Path) -> None:
    run = "outputs/classification/resnet18/b"
    for given in ("checkpoints/best.ckpt", "checkpoints", "run.json"):
        assert resolved(f"run={run}/{given}") == [f"run={run}"]
    with pytest.raises(RunError, match=rf"best.ckpt, of its best epoch. Write run={run}\."):
        resolved(f"run={run}/checkpoints/last.ckpt")
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(RunError, match=r"belongs to no run\. Expected a run folder"):
        resolved("run=best.ckpt")


def test_exports_and_names_of_nothing_stay(outputs: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "model.onnx").touch()
    for given in (export, export / "model.onnx", tmp_path / "none"):
        assert resolve_runs([f"run={given}"], "predict") == ([f"run={given}"], [])


def test_without_a_finished_run_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("outputs/a"), finished=None)
    for given in ("latest", "outputs"):
        with pytest.raises(RunError, match=rf"run={given}: there is no finished run in outputs/"):
            resolved(f"run={given}")


def test_a_sweep_lists_its_runs_unless_one_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = Path("outputs/sweeps/s")

    def add(number: int, *, finished: bool) -> Path:
        run = make_run(sweep / f"{number:02d}", finished="2026" if finished else None)
        status = "finished" if finished else "failed"
        write_job(run, JobRecord(number, run.name, [], status, value=0.25 if finished else None))
        return run

    add(0, finished=False)
    (sweep / "sweep.json").touch()
    with pytest.raises(RunError, match=r"no run of this sweep is finished. Resume it: python"):
        resolved(f"run={sweep}")
    add(1, finished=True)
    assert resolved(f"run={sweep}") == [f"run={sweep}/01"]
    line = f"run=latest: {sweep}/01, one of the 2 runs of a sweep"
    assert resolve_runs(["run=latest"], "predict")[1] == [line]
    add(2, finished=True)
    with pytest.raises(RunError) as caught:
        resolved(f"run={sweep}")
    assert str(caught.value).splitlines() == [
        f"run={sweep}: this sweep has 2 runs. Name one:",
        f"  run={sweep}/01  # metric of its best epoch 0.25",
        f"  run={sweep}/02  # metric of its best epoch 0.25",
    ]
    assert resolved(f"runs=[{sweep}]", name="compare") == [f"runs=[{sweep}]"]  # all of them
