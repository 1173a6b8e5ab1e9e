"""Cores and GPUs of the jobs of a sweep, with an artificial launcher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from capsule_inspection.workflows import resources

JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
Job = Callable[..., None]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    """Pretends to be a job of a sweep with a launcher."""

    def begin(number: int = 0, **launcher: Any) -> None:
        values = {
            "mode": RunMode.MULTIRUN,
            "launcher": launcher,
            "sweep": {"dir": str(tmp_path)},
            "job": {"num": number},
        }
        monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: OmegaConf.create(values)))

    return begin


def test_parallel_jobs_divide_eight_cores(job: Job) -> None:
    assert resources.cores_of_job(8) == 8  # outside of a sweep
    for launcher, cores in (
        ({"_target_": JOBLIB, "n_jobs": 2}, 4),
        ({"_target_": JOBLIB, "n_jobs": 3}, 2),
        ({"_target_": JOBLIB, "n_jobs": -1}, 1),
        ({"_target_": JOBLIB, "n_jobs": -7}, 4),
        ({"_target_": JOBLIB, "n_jobs": 100}, 1),
        ({"_target_": "x.SlurmLauncher", "cpus_per_task": 6}, 6),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {"num_cpus": 3}}}, 3),
        ({"_target_": "x.BasicLauncher"}, 8),
    ):
        job(**launcher)
        assert resources.cores_of_job(8) == cores, launcher


def test_parallel_jobs_use_different_gpus_and_then_take_turns(job: Job) -> None:
    job(_target_=JOBLIB, n_jobs=2)
    with resources.gpu_of_job(2) as first:
        with resources.gpu_of_job(2) as second:
            assert {first, second} == {0, 1}
        with resources.gpu_of_job(2) as third:
            assert third == second
    job(number=5, _target_=JOBLIB, n_jobs=3)
    with resources.gpu_of_job(2), resources.gpu_of_job(2), resources.gpu_of_job(2) as third:
        assert third == 1


def test_a_single_gpu_and_those_of_schedulers_are_left_alone(job: Job) -> None:
    for launcher, gpus in (
        ({"_target_": JOBLIB, "n_jobs": 2}, 1),
        ({"_target_": "x.SlurmLauncher", "gpus_per_node": 4}, 4),
    ):
        job(**launcher)
        with resources.gpu_of_job(gpus) as gpu:
            assert gpu is None
