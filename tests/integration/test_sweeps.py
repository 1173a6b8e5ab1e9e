"""`python train.py -m`, called as a user does: failures, their list, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quick import QUICK, QUICK_DATA, check_error, content, metrics_of, record_of
from small import Cli, CommandResult

from capsule_inspection.integrity import seal
from capsule_inspection.types import RunError
from capsule_inspection.workflows import train

Sweep = Callable[..., CommandResult]


@pytest.fixture
def data(finished_home: Path, tmp_path: Path) -> tuple[str, ...]:
    """Small images, and where a sweep goes."""
    images = ("data=mvtec", f"data.root={finished_home / 'bottle'}")
    cache = f"data.cache_folder={finished_home / 'cache'}"
    return (*images, cache, f"hydra.sweep.dir={tmp_path / 'sweep'}")


@pytest.fixture
def sweep(cli: Cli, data: tuple[str, ...]) -> Sweep:
    """Calls a sweep of small trainings into the folder `sweep`."""

    def call(*arguments: str) -> CommandResult:
        return cli("train", "-m", *QUICK, *data, *arguments)

    return call


def status_of(folder: Path) -> str:
    return json.loads((folder / "job.json").read_text())["status"]


def jobs_of(sweep_folder: Path) -> list[Path]:
    return sorted(path.parent for path in sweep_folder.glob("*/job.json"))


def fail_for(patch: pytest.MonkeyPatch, *seeds: int, error: BaseException) -> None:
    """Lets trainings of these seeds end before they begin."""
    original = train._prepare

    def prepare(config: Any, *rest: Any, **named: Any) -> Any:
        if config.seed in seeds:
            raise error
        return original(config, *rest, **named)

    patch.setattr(train, "_prepare", prepare)


def test_a_failed_job_stops_no_other_and_is_repeated_where_the_sweep_goes_on(
    sweep: Sweep, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    with monkeypatch.context() as patch:
        fail_for(patch, 1, error=RunError("the lamp went out"))
        result = sweep("seed=0,1,2")
    assert result.status == 1
    assert "1 of the 3 jobs of this sweep did not finish" in result.err
    assert "01_seed1 (" in result.err
    assert "the lamp went out" in result.err
    assert "Traceback" not in result.err
    assert "accuracy" in result.out
    whole, failed, cut_short = jobs = jobs_of(folder)
    assert [path.name for path in jobs] == ["00_seed0", "01_seed1", "02_seed2"]
    assert [status_of(path) for path in jobs] == ["finished", "failed", "finished"]
    assert "Traceback" in (failed / "train.log").read_text()
    assert "Traceback" not in (cut_short / "train.log").read_text()
    page = (folder / "comparison" / "comparison.html").read_text()
    assert "01_seed1: failed. the lamp went out" in page

    again = cli("train", "-m", "seed=0,7", f"resume={folder}")
    check_error(again, "the sweep was started with", "seed=0,7", status=2)
    check_error(cli("train", "-m", f"resume={tmp_path / 'nowhere'}"), "no such folder")
    check_error(cli("train", "-m", f"resume={whole}"), "remove -m")
    check_error(cli("train", f"resume={folder}"), "python train.py -m resume=")

    for name in ("job.json", "run.json"):
        values = json.loads((cut_short / name).read_text()) | {"status": "running"}
        (cut_short / name).write_text(json.dumps(seal(values)))
    figures = (cut_short / "metrics.json").read_bytes()
    (cut_short / "metrics.json").unlink()
    before, failed_before = content(whole), content(failed)
    times = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    result = cli("train", "-m", f"resume={folder}")
    assert result.status == 0, result.err
    assert content(whole) == before
    assert times == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert (record_of(failed)["status"], record_of(failed)["attempts"]) == ("finished", 1)
    assert content(folder / "earlier_attempts" / "01_seed1_1") == failed_before
    assert (cut_short / "metrics.json").read_bytes() == figures
    assert record_of(cut_short)["attempts"] == 2


def test_ctrl_c_ends_the_sweep_and_says_how_to_go_on(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for(monkeypatch, 0, error=KeyboardInterrupt())
    result = sweep("seed=0,1")
    assert result.status == 130
    assert f"python train.py -m resume={tmp_path / 'sweep'}" in result.err
    assert [status_of(path) for path in jobs_of(tmp_path / "sweep")] == ["interrupted"]


def test_several_processes_a_job_are_refused_before_anything_is_trained(
    sweep: Sweep, tmp_path: Path
) -> None:
    result = sweep("seed=0,1", "trainer.strategy=ddp", "trainer.devices=2")
    assert result.status == 1
    assert "cannot be used in a sweep" in result.err
    assert not list((tmp_path / "sweep").glob("*/checkpoints"))


def test_an_experiment_that_sweeps_by_itself_names_its_jobs(
    cli: Cli, data: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for(monkeypatch, 42, error=RunError("not in this test"))
    result = cli("train", "experiment=resnet_vs_pretrained", *data, *QUICK_DATA, "seed=42")
    assert "4 of the 4 jobs" in result.err
    names = ["custom_resnet", "resnet18", "efficientnet_b0", "efficientnet_lite0"]
    jobs = [path.name for path in jobs_of(tmp_path / "sweep")]
    assert jobs == [f"{number:02}_{name}" for number, name in enumerate(names)]


def test_the_recorded_command_of_a_job_repeats_it_alone_and_to_the_last_digit(
    sweep: Sweep, cli: Cli, tmp_path: Path
) -> None:
    assert sweep("seed=1,2").status == 0
    job = jobs_of(tmp_path / "sweep")[1]
    script, *settings = record_of(job)["command"]
    assert script == "train.py"
    assert "hydra.sweep.dir" not in " ".join(settings)

    assert cli("train", *settings, f"hydra.run.dir={tmp_path / 'again'}").status == 0

    again = tmp_path / "again"
    assert record_of(again)["command"] == [script, *settings[:-1]]
    assert settings[-1] == "hydra.mode=RUN"
    assert metrics_of(again) == metrics_of(job)
    assert (again / "predictions.csv").read_bytes() == (job / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_the_last_of_ten_jobs_has_the_figures_of_the_first(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("model.dropout=" + ",".join(["0"] * 10)).status == 0
    jobs = jobs_of(tmp_path / "sweep")
    assert len(jobs) == 10
    assert all(metrics_of(job) == metrics_of(jobs[0]) for job in jobs)
    assert len({(job / "predictions.csv").read_bytes() for job in jobs}) == 1
    held = [record_of(job)["peak_memory_bytes"]["resident"] for job in jobs]
    assert held[-1] < 1.1 * held[1]
