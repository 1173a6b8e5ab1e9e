"""The cores and the GPU that a job of a sweep may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf


def cores_of_job(cores: int) -> int:
    """How many cores of a machine the current job may use; outside of a sweep all."""
    launcher = _launcher()
    own = OmegaConf.select(launcher, "ray.remote.num_cpus") or launcher.get("cpus_per_task")
    if own:
        return max(1, min(cores, int(own)))
    jobs = int(launcher.get("n_jobs") or 1)
    if jobs < 0:  # as joblib counts: -1 is all cores, -2 all but one
        jobs = max(1, cores + 1 + jobs)
    return max(1, cores // jobs)


@contextmanager
def gpu_of_job(count: int) -> Iterator[int | None]:
    """A GPU that no other job of this sweep on this machine uses, as long as the block lasts.

    None where there is no choice: at most one GPU, or a launcher that assigns them itself (Slurm,
    Ray). Where all are in use, jobs take them in turn.
    """
    target = str(_launcher().get("_target_", ""))
    if count < 2 or not target.endswith(("JoblibLauncher", "LocalLauncher")):
        yield None
        return
    settings = HydraConfig.get()
    for number in range(count):
        lock = FileLock(Path(settings.sweep.dir) / f".gpu{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            yield number
        finally:
            lock.release()
        return
    yield int(settings.job.num) % count


def _launcher() -> Any:
    """Settings of the launcher; empty outside of a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return OmegaConf.create({})
    return HydraConfig.get().launcher
