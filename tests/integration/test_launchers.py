"""Sweeps on the engines that run jobs side by side, and searches; each as a command of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import slurm_stand_in
from quick import QUICK, check_error, record_of
from small import REPOSITORY, CommandResult

from capsule_inspection.config.entry import Job
from capsule_inspection.config.sweeps import current_sweep
from capsule_inspection.types import RunError

SECONDS = 300
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep, 1"


@pytest.fixture
def start(mvtec: Path, tmp_path: Path, sweep_folder: Path) -> Start:
    """Begins `python train.py` on small data, into `sweep_folder`."""
    quick = [setting for setting in QUICK if not setting.startswith("trainer.threads")]
    images = ("data=mvtec", f"data.root={mvtec}", f"data.cache_folder={tmp_path / 'cache'}")

    def begin(
        *arguments: str, script: Path = REPOSITORY / "train.py", **environment: str
    ) -> subprocess.Popen[str]:
        folder = f"hydra.sweep.dir='{sweep_folder}'"
        return subprocess.Popen(
            [sys.executable, str(script), *quick, *images, folder, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HYDRA_FULL_ERROR": "0", **environment},
        )

    return begin


def answer_of(process: subprocess.Popen[str]) -> CommandResult:
    out, err = process.communicate(timeout=SECONDS)
    return CommandResult(process.returncode, out, err)


def statuses(sweep_folder: Path) -> dict[str, str]:
    jobs = sorted(sweep_folder.glob("*/job.json"))
    return {path.parent.name: json.loads(path.read_text())["status"] for path in jobs}


def check_two_jobs(result: CommandResult, sweep_folder: Path) -> None:
    assert result.status == 0, result.err
    assert statuses(sweep_folder) == {"00_seed0": "finished", "01_seed1": "finished"}
    for job in ("00_seed0", "01_seed1"):
        assert record_of(sweep_folder / job)["status"] == "finished"
        assert (sweep_folder / job / "metrics.json").is_file()
    assert (sweep_folder / "comparison" / "comparison.html").is_file()


def needs(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install -e '.[{extra}]'")


@pytest.mark.slow
def test_joblib_runs_jobs_side_by_side_on_shared_cores_and_lists_what_fails(
    start: Start, sweep_folder: Path
) -> None:
    result = answer_of(start("-m", "hydra/launcher=local_parallel", "task.batch_size=8,16,70000"))
    assert result.status == 1
    assert "1 of the 3 jobs of this sweep did not finish" in result.err
    assert "task.batch_size=70000: expected a value from 1 to 65536" in result.err
    assert sorted(statuses(sweep_folder).values()) == ["failed", "finished", "finished"]
    assert (sweep_folder / "comparison" / "comparison.html").is_file()
    cores = len(os.sched_getaffinity(0))
    for job in ("00_batch_size8", "01_batch_size16"):
        assert record_of(sweep_folder / job)["hardware"]["threads"] == max(1, cores // 2)


KILLED_SWEEP = """
import os, signal, sys
from pathlib import Path
from capsule_inspection.config import entry

def train(config):
    if config.seed == 1 and "KILLED" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5

def report(folder):
    print("the comparison is written")

conf = Path(sys.path[0], "conf")
sys.exit(entry.run(train, config_folder=conf, name="train", after_sweep=report))
"""


def test_a_killed_worker_ends_the_sweep_with_one_message_and_resume_goes_on(
    start: Start, sweep_folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(KILLED_SWEEP)
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    launcher = ("hydra/launcher=local_parallel", "hydra.launcher.n_jobs=2")
    result = answer_of(start("-m", *launcher, "seed=0,1", script=script, KILLED="1"))
    check_error(result, "01_seed1 (", "killed before it ended", "a process of its jobs was killed")
    assert f"python train.py -m 'resume={sweep_folder}'" in result.err
    assert "the comparison is written" in result.out
    assert statuses(sweep_folder)["01_seed1"] == "running"
    result = answer_of(start("-m", *launcher, "seed=0,1", script=script))
    assert result.status == 0, result.err
    assert statuses(sweep_folder) == {"00_seed0": "finished", "01_seed1": "finished"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["slurm", "submitit_local"])
def test_a_preempted_job_is_queued_again_and_goes_on(
    start: Start, sweep_folder: Path, tmp_path: Path, launcher: str
) -> None:
    needs("submitit", "slurm")
    cluster = tmp_path / "cluster"
    slurm_stand_in.install(cluster)
    sweep = start(
        "-m",
        f"hydra/launcher={launcher}",
        "hydra.launcher.timeout_min=60",
        "hydra.launcher.cpus_per_task=1",
        "seed=0,1",
        "task.epochs=30",
        "callbacks=none",
        PATH=f"{cluster}:{os.environ['PATH']}",
    )
    job = sweep_folder / "00_seed0"
    wait_for(sweep, lambda: (job / "checkpoints" / "last.ckpt").is_file())
    preempt(sweep_folder)
    result = answer_of(sweep)
    check_two_jobs(result, sweep_folder)
    assert record_of(job)["attempts"] == 2
    assert record_of(job)["hardware"]["threads"] == 1
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
def test_ray_runs_two_jobs(start: Start, sweep_folder: Path) -> None:
    needs("ray", "ray")
    check_two_jobs(answer_of(start("-m", "hydra/launcher=ray_cluster", "seed=0,1")), sweep_folder)


def test_a_job_in_another_process_is_where_the_sweep_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster that was running already, with a folder and an environment of its own."""
    (tmp_path / "begun").mkdir()
    monkeypatch.chdir(tmp_path / "begun")
    monkeypatch.setenv("CAPSULE_SWEEP_FOLDER", "below/here")
    sent = pickle.dumps(Job(print))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAPSULE_SWEEP_FOLDER")
    assert pickle.loads(sent).action is print
    assert Path.cwd() == tmp_path / "begun"
    assert current_sweep() == Path("below/here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "begun").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"begun: there is no such folder on .*all machines share"):
        pickle.loads(sent)


@pytest.mark.slow
def test_a_search_survives_failed_trials_and_goes_on_in_its_database(
    start: Start, tmp_path: Path
) -> None:
    needs("optuna", "hparams")
    search = (
        "hparams_search=optimizer_sqlite",
        f"hydra.sweeper.storage=sqlite:///{tmp_path / 'search.db'}",
        "hydra.sweeper.sampler.seed=1",
        "optimizer.lr=choice(0.001,5000)",
    )
    first, second = tmp_path / "first", tmp_path / "second"
    result = answer_of(start(*search, "hydra.sweeper.n_trials=4", f"hydra.sweep.dir={first}"))
    assert result.status == 1
    assert "Best of" in result.out, result.err
    assert "python train.py optimizer.lr=0.001 " in result.out
    assert "hparams_search=" not in result.out.partition("To repeat it")[2].splitlines()[0]
    found = list(statuses(first).values())
    assert len(found) == 4
    assert set(found) == {"failed", "finished"}

    parallel = ("hydra/launcher=local_parallel", "hydra.sweeper.n_jobs=2")
    number = "hydra.sweeper.n_trials=2"
    result = answer_of(start(*search, *parallel, number, f"hydra.sweep.dir={second}"))
    assert "Traceback" not in result.err
    found += statuses(second).values()
    with contextlib.closing(sqlite3.connect(tmp_path / "search.db")) as database:
        states = [state for (state,) in database.execute("select state from trials").fetchall()]
    assert len(states) == len(found) == 6
    assert states.count("COMPLETE") == found.count("finished")
