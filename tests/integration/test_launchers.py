"""Sweeps on the engines that run jobs side by side, and searches; each as a command of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from quick import QUICK, record_of
from small import REPOSITORY, Answer

SECONDS = 300


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep, 1"


@pytest.fixture
def command(mvtec: Path, tmp_path: Path, sweep_folder: Path):  # type: ignore[no-untyped-def]
    """Runs `python train.py` on small data, into `sweep_folder`."""

    def run(*arguments: str) -> Answer:
        settings = [
            *(setting for setting in QUICK if not setting.startswith("trainer.threads")),
            "data=mvtec",
            f"data.root={mvtec}",
            f"data.cache_folder={tmp_path / 'cache'}",
            f"hydra.sweep.dir='{sweep_folder}'",
        ]
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "train.py"), *settings, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "HYDRA_FULL_ERROR": "0"},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def statuses(sweep_folder: Path) -> dict[str, str]:
    jobs = sorted(sweep_folder.glob("*/job.json"))
    return {path.parent.name: json.loads(path.read_text())["status"] for path in jobs}


def check_two_jobs(answer: Answer, sweep_folder: Path) -> None:
    assert answer.status == 0, answer.err
    assert statuses(sweep_folder) == {"00_seed0": "finished", "01_seed1": "finished"}
    for job in ("00_seed0", "01_seed1"):
        assert record_of(sweep_folder / job)["status"] == "finished"
        assert (sweep_folder / job / "metrics.json").is_file()
    assert (sweep_folder / "comparison" / "comparison.html").is_file()


def needs(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install -e '.[{extra}]'")


@pytest.mark.slow
def test_joblib_runs_two_jobs_side_by_side_on_shared_cores(command, sweep_folder: Path) -> None:  # type: ignore[no-untyped-def]
    answer = command("-m", "hydra/launcher=local_parallel", "seed=0,1")
    check_two_jobs(answer, sweep_folder)
    cores = len(os.sched_getaffinity(0))
    hardware = record_of(sweep_folder / "00_seed0")["hardware"]
    assert hardware["threads"] == max(1, cores // 2)


@pytest.mark.slow
def test_a_job_that_fails_in_another_process_is_listed(command, sweep_folder: Path) -> None:  # type: ignore[no-untyped-def]
    answer = command("-m", "hydra/launcher=local_parallel", "task.batch_size=16,70000")
    assert answer.status == 1
    assert "1 of the 2 jobs of this sweep did not finish" in answer.err
    assert "task.batch_size=70000: expected a value from 1 to 65536" in answer.err
    assert sorted(statuses(sweep_folder).values()) == ["failed", "finished"]
    assert (sweep_folder / "comparison" / "comparison.html").is_file()


@pytest.mark.slow
def test_submitit_runs_two_jobs(command, sweep_folder: Path) -> None:  # type: ignore[no-untyped-def]
    needs("submitit", "slurm")
    answer = command(
        "-m",
        "hydra/launcher=submitit_local",
        "hydra.launcher.timeout_min=5",
        "hydra.launcher.cpus_per_task=1",
        "seed=0,1",
    )
    check_two_jobs(answer, sweep_folder)
    assert record_of(sweep_folder / "00_seed0")["hardware"]["threads"] == 1


@pytest.mark.slow
def test_ray_runs_two_jobs(command, sweep_folder: Path) -> None:  # type: ignore[no-untyped-def]
    needs("ray", "ray")
    answer = command("-m", "hydra/launcher=ray_cluster", "seed=0,1")
    check_two_jobs(answer, sweep_folder)


@pytest.mark.slow
def test_a_search_survives_a_failed_trial_and_tells_the_best(command, sweep_folder: Path) -> None:  # type: ignore[no-untyped-def]
    needs("optuna", "hparams")
    answer = command(
        "hparams=optimizer",
        "hydra.sweeper.n_trials=4",
        "optimizer.lr=choice(0.001,5000)",
        "hydra.sweeper.sampler.seed=1",
    )
    assert "Best of" in answer.out, answer.err
    assert "python train.py optimizer.lr=0.001 " in answer.out
    assert "hparams=" not in answer.out.partition("To train it anew")[2].splitlines()[0]
    found = list(statuses(sweep_folder).values())
    assert len(found) == 4
    assert set(found) == {"failed", "finished"}
    assert answer.status == 1


@pytest.mark.slow
def test_a_stored_search_goes_on_in_its_database(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    needs("optuna", "hparams")
    storage = f"sqlite:///{tmp_path / 'search.db'}"
    stored = (f"hydra.sweeper.storage={storage}", "hydra.sweeper.n_trials=1")
    for number in range(2):
        folder = f"hydra.sweep.dir={tmp_path / f'search{number}'}"
        answer = command("hparams=stored", *stored, folder)
        assert answer.status == 0, answer.err
    with contextlib.closing(sqlite3.connect(tmp_path / "search.db")) as database:
        states = database.execute("select state from trials").fetchall()
    assert states == [("COMPLETE",), ("COMPLETE",)]
