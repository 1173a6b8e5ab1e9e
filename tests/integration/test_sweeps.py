"""`python train.py -m`, called as a user does: failures, their list, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quick import QUICK, check_refusal, content, record_of
from small import SMALL_NETWORK, Answer, Door

from capsule_inspection.contracts import RunError
from capsule_inspection.runs import training

Sweep = Callable[..., Answer]


@pytest.fixture
def sweep(door: Door, mvtec: Path, tmp_path: Path, without_pictures: None) -> Sweep:
    """Calls a sweep of small trainings into the folder `sweep`."""

    def call(*arguments: str) -> Answer:
        data = ("data=mvtec", f"data.root={mvtec}", f"data.cache_folder={tmp_path / 'cache'}")
        return door(
            "train", "-m", *QUICK, *data, f"hydra.sweep.dir={tmp_path / 'sweep'}", *arguments
        )

    return call


def job_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "job.json").read_text())


def jobs_of(sweep_folder: Path) -> list[Path]:
    return sorted(path.parent for path in sweep_folder.glob("*/job.json"))


@pytest.fixture
def fails_for_seed_1(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Lets trainings of seed 1 fail as long as the list holds True."""
    broken = [True]
    original = training._prepare

    def prepare(config: Any, *rest: Any, **named: Any) -> Any:
        if config.seed == 1 and broken[0]:
            raise RunError("the lamp went out")
        return original(config, *rest, **named)

    monkeypatch.setattr(training, "_prepare", prepare)
    return broken


def test_a_failed_job_stops_no_other_and_is_listed_with_its_cause(
    sweep: Sweep, tmp_path: Path, fails_for_seed_1: list[bool]
) -> None:
    answer = sweep("seed=0,1,2")
    assert answer.status == 1
    assert "1 of the 3 jobs of this sweep did not finish" in answer.err
    assert "01_seed1 (" in answer.err
    assert "the lamp went out" in answer.err
    jobs = jobs_of(tmp_path / "sweep")
    assert [path.name for path in jobs] == ["00_seed0", "01_seed1", "02_seed2"]
    assert [job_of(path)["status"] for path in jobs] == ["finished", "failed", "finished"]
    assert "Traceback" in (jobs[1] / "train.log").read_text()
    assert "Traceback" not in (jobs[2] / "train.log").read_text()
    assert "Traceback" not in answer.err


def test_the_report_covers_the_rest(
    sweep: Sweep, tmp_path: Path, fails_for_seed_1: list[bool]
) -> None:
    answer = sweep("seed=0,1")
    page = (tmp_path / "sweep" / "comparison" / "comparison.html").read_text()
    assert "01_seed1: failed. the lamp went out" in page
    assert "accuracy" in answer.out


def test_a_resumed_sweep_repeats_what_failed_and_touches_nothing_else(
    sweep: Sweep, door: Door, tmp_path: Path, fails_for_seed_1: list[bool]
) -> None:
    sweep("seed=0,1")
    whole, failed = jobs_of(tmp_path / "sweep")
    before, failed_before = content(whole), content(failed)
    times = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    fails_for_seed_1[0] = False
    answer = door("train", "-m", f"resume={tmp_path / 'sweep'}")
    assert answer.status == 0, answer.err
    assert content(whole) == before
    assert times == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert record_of(failed)["status"] == "finished"
    assert content(tmp_path / "sweep" / "earlier_attempts" / "01_seed1_1") == failed_before


def test_a_job_cut_short_goes_on_from_its_last_checkpoint(
    sweep: Sweep, door: Door, tmp_path: Path
) -> None:
    assert sweep("seed=0", "task.epochs=3").status == 0
    (job,) = jobs_of(tmp_path / "sweep")
    figures = (job / "metrics.json").read_bytes()
    for name, file in (("job.json", job / "job.json"), ("run.json", job / "run.json")):
        values = json.loads(file.read_text()) | {"status": "running"}
        (job / name).write_text(json.dumps(values))
    (job / "metrics.json").unlink()
    answer = door("train", "-m", f"resume={tmp_path / 'sweep'}")
    assert answer.status == 0, answer.err
    assert (job / "metrics.json").read_bytes() == figures
    assert record_of(job)["attempts"] == 2


def test_ctrl_c_ends_the_sweep_and_says_how_to_go_on(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_prepare", interrupted)
    answer = sweep("seed=0,1")
    assert answer.status == 130
    assert f"python train.py -m resume={tmp_path / 'sweep'}" in answer.err
    assert [job_of(path)["status"] for path in jobs_of(tmp_path / "sweep")] == ["interrupted"]


def test_a_sweep_goes_on_only_as_it_was_begun(sweep: Sweep, door: Door, tmp_path: Path) -> None:
    sweep("seed=0")
    answer = door("train", "-m", "seed=0,7", f"resume={tmp_path / 'sweep'}")
    check_refusal(answer, "a sweep goes on as it was begun", "seed=0,7", status=2)


def test_what_is_no_sweep_cannot_be_resumed_as_one(
    sweep: Sweep, door: Door, tmp_path: Path
) -> None:
    sweep("seed=0")
    check_refusal(door("train", "-m", f"resume={tmp_path / 'nowhere'}"), "no such folder")
    (job,) = jobs_of(tmp_path / "sweep")
    check_refusal(door("train", "-m", f"resume={job}"), "leave out -m")
    check_refusal(door("train", f"resume={tmp_path / 'sweep'}"), "python train.py -m resume=")


def test_several_processes_a_job_are_refused_before_anything_is_trained(
    sweep: Sweep, tmp_path: Path
) -> None:
    answer = sweep("seed=0,1", "trainer.strategy=ddp", "trainer.devices=2")
    assert answer.status == 1
    assert "cannot be used in a sweep" in answer.err
    assert not list((tmp_path / "sweep").glob("*/checkpoints"))


def test_an_experiment_that_sweeps_by_itself_names_its_jobs(
    door: Door, mvtec: Path, tmp_path: Path, without_pictures: None
) -> None:
    answer = door(
        "train",
        "experiment=origin_comparison",
        "model.weights=none",
        "model.pool=max",
        "data=mvtec",
        f"data.root={mvtec}",
        f"data.cache_folder={tmp_path / 'cache'}",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        *(setting for setting in QUICK if setting not in SMALL_NETWORK),
    )
    assert answer.status == 0, answer.err
    names = ["00_custom_resnet", "01_resnet18", "02_efficientnet_b0"]
    assert [path.name for path in jobs_of(tmp_path / "sweep")] == names
    assert "Optimistic: custom_resnet, resnet18 and efficientnet_b0" in answer.out


@pytest.mark.slow
def test_the_last_of_ten_jobs_has_the_figures_of_the_first(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("model.dropout=" + ",".join(["0"] * 10)).status == 0
    jobs = jobs_of(tmp_path / "sweep")
    assert len(jobs) == 10
    assert len({(job / "metrics.json").read_bytes() for job in jobs}) == 1
    assert len({(job / "predictions.csv").read_bytes() for job in jobs}) == 1
    held = [record_of(job)["peak_memory_bytes"]["resident"] for job in jobs]
    assert held[-1] < 1.1 * held[1]
