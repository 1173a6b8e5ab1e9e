"""`trainer=ddp`: several processes train one run, on the CPU through gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from quick import QUICK_DATA, draw_mvtec, metrics_of, rows_of
from small import REPOSITORY

from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.trainer import build_trainer

COUNTS = {"good": 29, "crack": 15, "poke": 15}
TOLERANCE = 1e-4
"""Relative: two processes add up the same numbers in another order. Measured: 1.2e-7."""
WITHOUT_BATCH_NORM = (
    "model=timm",
    "model.name=test_convnext",
    "model.weights=none",
    "data.augmentation.noise=0",
)
"""Batch statistics are those of a process's own images; layer norm and no noise leave only sums."""


def train(images: Path, run: Path, devices: int) -> None:
    """`python train.py` in a process of its own, which starts the others."""
    quick = (setting for setting in QUICK_DATA if setting != "trainer=cpu")
    done = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "train.py"), *quick, *WITHOUT_BATCH_NORM),
            *("trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={devices}"),
            *("data=mvtec", f"data.root={images}", f"data.cache_folder={images.parent / 'cache'}"),
            *("task.epochs=4", "task.batch_size=8", "split.val=0.3", f"hydra.run.dir={run}"),
            "trainer.precision=32-true",
        ],
        cwd=run.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "HYDRA_FULL_ERROR": "0"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_two_processes_have_the_figures_of_one(tmp_path: Path) -> None:
    images = draw_mvtec(tmp_path / "bottle", counts=COUNTS)
    runs = [tmp_path / f"on_{devices}" for devices in (1, 2)]
    for devices, run in enumerate(runs, 1):
        train(images, run, devices)
    stages = [row["split"] for row in rows_of(runs[0], "split.csv")]
    assert (stages.count("val"), stages.count("train")) == (17, 30)
    one, two = (rows_of(run, "metrics.csv") for run in runs)
    assert len(one) == len(two) == 4
    for alone, together in zip(one, two, strict=True):
        for key in alone.keys() - {"seconds"}:
            assert float(together[key]) == pytest.approx(float(alone[key]), rel=TOLERANCE), key
    figures = [metrics_of(run) for run in runs]
    for key, figure in figures[0].items():
        assert figures[1][key]["value"] == pytest.approx(figure["value"], rel=TOLERANCE), key
        assert figures[1][key]["n"] == figure["n"], key


def test_a_batch_that_processes_cannot_share_is_refused(
    compose: Callable[..., DictConfig],
) -> None:
    settings = [f"trainer.{setting}" for setting in ("accelerator=cpu", "devices=2")]
    config = compose("train", "trainer=ddp", *settings, "task.batch_size=9")
    runtime = hardware.RuntimeConfig("cpu", hardware.FLOAT32, channels_last=True, threads=1)
    with pytest.raises(ConfigurationError, match=r"task\.batch_size=9.*a multiple of 2"):
        build_trainer(config, runtime, callbacks=[], loggers=[])
