"""Sweeps on the engines that run jobs side by side, and searches; each as a command of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import slurm_stand_in
from quick import QUICK, record_of
from small import REPOSITORY, Answer

SECONDS = 300


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep, 1"


@pytest.fixture
def start(mvtec: Path, tmp_path: Path, sweep_folder: Path):  # type: ignore[no-untyped-def]
    """Begins `python train.py` on small data, into `sweep_folder`."""

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        settings = [
            *(setting for setting in QUICK if not setting.startswith("trainer.threads")),
            "data=mvtec",
            f"data.root={mvtec}",
            f"data.cache_folder={tmp_path / 'cache'}",
            f"hydra.sweep.dir='{sweep_folder}'",
        ]
        return subprocess.Popen(
            [sys.executable, str(REPOSITORY / "train.py"), *settings, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HYDRA_FULL_ERROR": "0", **environment},
        )

    return begin


@pytest.fixture
def command(start):  # type: ignore[no-untyped-def]
    """Runs `python train.py` on small data, into `sweep_folder`, to its end."""

    def run(*arguments: str, **environment: str) -> Answer:
        return answer_of(start(*arguments, **environment))

    return run


def answer_of(process: subprocess.Popen[str]) -> Answer:
    out, err = process.communicate(timeout=SECONDS)
    return Answer(process.returncode, out, err)


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
@pytest.mark.parametrize("launcher", ["slurm", "submitit_local"])
def test_a_preempted_job_is_queued_again_and_goes_on(  # type: ignore[no-untyped-def]
    start, sweep_folder: Path, tmp_path: Path, launcher: str
) -> None:
    needs("submitit", "slurm")
    cluster = tmp_path / "cluster"
    slurm_stand_in.install(cluster)
    sweep = start(
        "-m",
        f"hydra/launcher={launcher}",
        "hydra.launcher.timeout_min=60",
        "seed=0,1",
        "task.epochs=30",
        "callbacks=none",
        PATH=f"{cluster}:{os.environ['PATH']}",
    )
    job = sweep_folder / "00_seed0"
    wait_for(sweep, lambda: (job / "checkpoints" / "last.ckpt").is_file())
    preempt(sweep_folder)
    answer = answer_of(sweep)
    check_two_jobs(answer, sweep_folder)
    assert record_of(job)["attempts"] == 2
    epochs = [line.partition(",")[0] for line in (job / "metrics.csv").read_text().splitlines()]
    assert epochs == ["epoch", *map(str, range(30))]
    if launcher == "slurm":
        script = (cluster / "script.sh").read_text()
        asked = ("gpus-per-node=1", "mem=32GB", "time=60", "signal=USR2@120", "requeue\n")
        assert all(f"#SBATCH --{setting}" in script for setting in asked), script


def wait_for(sweep: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not happened():
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)


def preempt(sweep_folder: Path) -> None:
    """What Slurm sends to the processes of the first job: a warning, then submitit's signal."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "submitit.core._submit" not in line or str(sweep_folder) not in line:
            continue
        if any("00_seed0" in file.path for file in process.open_files()):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            process.send_signal(signal.SIGUSR2)
            return
    raise AssertionError("the first job runs nowhere")


@pytest.mark.slow
def test_ray_runs_two_jobs(command, sweep_folder: Path) -> None:  # type: ignore[no-untyped-def]
    needs("ray", "ray")
    answer = command("-m", "hydra/launcher=ray_cluster", "seed=0,1")
    check_two_jobs(answer, sweep_folder)


@pytest.mark.slow
def test_ray_takes_two_jobs_to_a_cluster_that_runs_already(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    needs("ray", "ray")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as home,  # sockets need short names
        running_ray(home, port, {**os.environ, **environment}),
    ):
        address = f"hydra.launcher.ray.init.address=127.0.0.1:{port}"
        folder = "hydra.sweep.dir=below/here"
        answer = command(
            "-m", "hydra/launcher=ray_cluster", address, "seed=0,1", folder, **environment
        )
    check_two_jobs(answer, tmp_path / "below" / "here")


@contextlib.contextmanager
def running_ray(home: str, port: int, environment: dict[str, str]) -> Iterator[None]:
    """A cluster that was started elsewhere, and knows nothing of the sweep."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    options = [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    rest = ["--include-dashboard=false", f"--temp-dir={home}"]
    head = subprocess.Popen(
        [*command, *options, *rest],
        cwd=home,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        children = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        head.wait(timeout=60)
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


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
    parallel = ("hydra/launcher=local_parallel", "hydra.sweeper.n_jobs=2")
    for number, launcher in ((1, ()), (2, parallel)):
        folder = f"hydra.sweep.dir={tmp_path / f'search{number}'}"
        trials = f"hydra.sweeper.n_trials={number}"
        answer = command(
            "hparams=stored", f"hydra.sweeper.storage={storage}", trials, folder, *launcher
        )
        assert answer.status == 0, answer.err
        assert list(statuses(tmp_path / f"search{number}").values()) == ["finished"] * number
    with contextlib.closing(sqlite3.connect(tmp_path / "search.db")) as database:
        states = database.execute("select state from trials").fetchall()
    assert states == [("COMPLETE",)] * 3
