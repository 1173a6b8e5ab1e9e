"""`trainer=ddp`: several processes train one run, on the CPU through gloo."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from quick import QUICK, check_refusal, draw_mvtec
from small import REPOSITORY, SMALL_NETWORK, Answer

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


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_mvtec(tmp_path_factory.mktemp("images") / "bottle", counts=COUNTS)


@pytest.fixture
def command(images: Path, tmp_path: Path) -> Callable[..., Answer]:
    """Runs `python train.py` on small data, into a folder below `tmp_path`."""

    def run(name: str, *arguments: str) -> Answer:
        settings = [
            *(setting for setting in QUICK if setting not in (*SMALL_NETWORK, "trainer=cpu")),
            "trainer=ddp",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "data=mvtec",
            f"data.root={images}",
            f"data.cache_folder={images.parent / 'cache'}",
            "task.epochs=4",
            "task.batch_size=8",
            "split.val=0.3",
            f"hydra.run.dir={tmp_path / name}",
        ]
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "train.py"), *settings, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "HYDRA_FULL_ERROR": "0"},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def epochs(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def images_of(run: Path, stage: str) -> int:
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        return sum(row["split"] == stage for row in csv.DictReader(file))


@pytest.mark.slow
def test_two_processes_have_the_figures_of_one(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    for devices in (1, 2):
        answer = command(f"on_{devices}", *WITHOUT_BATCH_NORM, f"trainer.devices={devices}")
        assert answer.status == 0, answer.out + answer.err
    one, two = epochs(tmp_path / "on_1"), epochs(tmp_path / "on_2")
    assert images_of(tmp_path / "on_1", "val") == 17
    assert images_of(tmp_path / "on_1", "train") == 30
    assert len(one) == len(two) == 4
    for alone, together in zip(one, two, strict=True):
        for key in alone.keys() - {"seconds"}:
            assert together[key] == pytest.approx(alone[key], rel=TOLERANCE), key
    figures = [json.loads((tmp_path / f"on_{n}" / "metrics.json").read_text()) for n in (1, 2)]
    for key, figure in figures[0].items():
        assert figures[1][key]["value"] == pytest.approx(figure["value"], rel=TOLERANCE), key
        assert figures[1][key]["n"] == figure["n"], key


@pytest.mark.slow
def test_a_batch_that_processes_cannot_share_is_refused(command: Callable[..., Answer]) -> None:
    answer = command("run", *SMALL_NETWORK, "trainer.devices=2", "task.batch_size=9")
    check_refusal(answer, "task.batch_size=9", "a multiple of 2", status=2)
