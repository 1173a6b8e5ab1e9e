"""Damaged files end in the answers of undamaged ones, or in one message; never in a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import damaged_folders
import pytest
from damage import Subject, fresh_copy, run_trial
from quick import AUTOENCODER, CLASSIFIER, UNET, draw
from small import REPOSITORY, SMALL

SETTINGS = {
    "finished": CLASSIFIER,
    "autoencoder": (*SMALL, *AUTOENCODER),
    "unet": (*SMALL, *UNET),
}
QUICK_TRIALS = {
    "run of finished": 13,
    "run of unet": 10,
    "run of autoencoder": 8,
    "evaluated finished": 1,
    "resumed finished": 2,
    "cache of unet": 4,
    "drawn of autoencoder": 1,
    "torch_export of finished": 4,
    "predictions of finished": 3,
    "sweep of finished": 4,
}
SLOW_TRIALS = {
    "run of finished": 80,
    "run of unet": 80,
    "run of autoencoder": 60,
    "evaluated unet": 10,
    "resumed finished": 12,
    "resumed unet": 6,
    "cache of finished": 20,
    "cache of unet": 20,
    "drawn of autoencoder": 4,
    "onnx of finished": 30,
    "openvino of unet": 30,
    "torch_export of autoencoder": 20,
    "predictions of unet": 15,
    "sweep of finished": 20,
}
ADDRESS_SPACE_BYTES = 12 << 30
Make = Callable[[str], Subject]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images to predict."""
    for number in range(3):
        draw(tmp_path / "images" / f"{number}.png", seed=100 + number)
    return tmp_path / "images"


@pytest.fixture
def subject(
    finished_home: Path,
    autoencoder_home: Path,
    unet_home: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Makes a folder to be damaged by what it is and the shared run that it is of."""
    monkeypatch.chdir(tmp_path)
    homes = {"finished": finished_home, "autoencoder": autoencoder_home, "unet": unet_home}
    paths = sorted(images.iterdir())

    def make(name: str) -> Subject:
        what, _, task = name.replace(" of ", " ").partition(" ")
        home = homes[task]
        run, folder = home / "run", tmp_path / "undamaged"
        root = home / ("bottle" if task == "finished" else "drawn")
        if what in ("run", "evaluated"):
            fresh_copy(run, folder, without=("*.png", "events*", "*.log"))
            if what == "evaluated":
                return damaged_folders.evaluated_subject(name, folder)
            return damaged_folders.run_subject(name, folder, paths)
        if what == "resumed":
            places = (f"data.root={root}", f"data.cache_folder={home / 'cache'}")
            damaged_folders.train_interrupted(folder, *SETTINGS[task], *places)
            return damaged_folders.resumed_subject(name, folder)
        if what in ("cache", "drawn"):
            fresh_copy(home / "cache", folder / "cache")
            if what == "drawn":
                fresh_copy(root, folder / "drawn")
            own = root if what == "cache" else None
            return damaged_folders.cache_subject(name, folder, run=run, root=own)
        if what == "predictions":
            damaged_folders.go_on_predicting(folder, run=run, images=images)
            return damaged_folders.prediction_subject(name, folder, run=run, images=images)
        if what == "sweep":
            damaged_folders.write_sweep(folder, run)
            return damaged_folders.sweep_subject(name, folder)
        damaged_folders.export(run, folder, what)
        return damaged_folders.export_subject(name, folder, paths)

    return make


def try_damages(subject: Subject, work: Path, *, trials: int, first_seed: int) -> None:
    """Every file in turn, beginning at another one for another first seed."""
    files = list(subject.paths())
    ends = [
        end
        for number in range(trials)
        for end in run_trial(
            subject,
            work,
            seed=first_seed + number,
            file=files[(first_seed + number) % len(files)],
        )[1].values()
    ]
    assert len(ends) >= trials


@pytest.mark.parametrize("name", QUICK_TRIALS)
def test_damage_ends_in_unchanged_answers_or_one_message(
    subject: Make, tmp_path: Path, name: str
) -> None:
    try_damages(subject(name), tmp_path / "work", trials=QUICK_TRIALS[name], first_seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_TRIALS)
def test_much_damage_ends_in_unchanged_answers_or_one_message(
    subject: Make, tmp_path: Path, name: str
) -> None:
    try_damages(subject(name), tmp_path / "work", trials=SLOW_TRIALS[name], first_seed=1000)


WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
import damaged_folders
from damage import run_trial
run, work = Path({run!r}), Path({work!r})
images = sorted(Path({images!r}).iterdir())
subject = damaged_folders.run_subject("run", run, images)
files = [path for path in subject.paths() if path.suffix in (".ckpt", ".npz")]
for seed in range({trials}):
    run_trial(subject, work, seed=seed, file=files[seed % len(files)])
print("done")
"""


@pytest.mark.slow
def test_damaged_arrays_neither_end_the_process_nor_take_much_memory(
    finished_home: Path, unet_home: Path, images: Path, tmp_path: Path
) -> None:
    for home in (finished_home, unet_home):
        code = WITH_LITTLE_MEMORY.format(
            limit=ADDRESS_SPACE_BYTES,
            run=str(fresh_copy(home / "run", tmp_path / "run")),
            work=str(tmp_path / "work"),
            images=str(images),
            trials=60,
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": f"{REPOSITORY / 'tests'}:{REPOSITORY}", "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("done\n")
