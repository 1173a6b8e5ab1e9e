"""Damaged files end in the answers of undamaged ones, or in one message; never in a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import damaged_folders
import pytest
from damage import Open, Subject, fresh_copy, run_trial
from quick import AUTOENCODER, CLASSIFIER, UNET, draw
from small import REPOSITORY, SMALL

from capsule_inspection.types import RunFiles

SETTINGS = {
    "finished": CLASSIFIER,
    "autoencoder": (*SMALL, *AUTOENCODER),
    "unet": (*SMALL, *UNET),
}
QUICK_TRIALS = {
    "run of finished": 20,
    "run of unet": 10,
    "run of autoencoder": 10,
    "evaluated finished": 1,
    "cache of unet": 3,
    "torch_export of finished": 2,
    "predictions of finished": 1,
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
        files: dict[str, Sequence[Open]]
        if what in ("run", "evaluated"):
            fresh_copy(run, folder, without=("*.png", "events*", "*.log"))
            files = damaged_folders.ways_of_run(paths)
            if what == "evaluated":
                read = ("run.json", "config.yaml", "split.csv", "ood.json", RunFiles.BEST)
                files = dict.fromkeys(read, (damaged_folders.evaluate,))
        elif what == "resumed":
            places = (f"data.root={root}", f"data.cache_folder={home / 'cache'}")
            damaged_folders.train_interrupted(folder, *SETTINGS[task], *places)
            read = ("run.json", "config.yaml", "*.csv", "checkpoints/*.ckpt")
            files = dict.fromkeys(read, (damaged_folders.resume,))
        elif what == "cache":
            fresh_copy(home / "cache", folder / "cache")
            files = {
                "cache/**/*[0-9a-z]": [partial(damaged_folders.read_dataset, run=run, root=root)]
            }
        elif what == "drawn":
            fresh_copy(home / "cache", folder / "cache")
            fresh_copy(root, folder / "drawn")
            files = {"drawn/**/*": [partial(damaged_folders.read_dataset, run=run)]}
        elif what == "predictions":
            goes_on = partial(damaged_folders.go_on_predicting, run=run, images=images)
            goes_on(folder)
            files = dict.fromkeys(("*.*", "overlays/*"), (goes_on,))
        elif what == "sweep":
            damaged_folders.write_sweep(folder, run)
            read = ("sweep.json", "*/job.json", "*/run.json")
            files = dict.fromkeys(read, (damaged_folders.read_sweep,))
        else:
            damaged_folders.export(run, folder, what)
            files = {"*": [partial(damaged_folders.predict, images=paths)]}
        return Subject(name, folder, files)

    return make


@pytest.mark.parametrize(("name", "trials"), QUICK_TRIALS.items())
def test_damage_ends_in_unchanged_answers_or_one_message(
    subject: Make, tmp_path: Path, name: str, trials: int
) -> None:
    damaged = subject(name)
    for seed in range(trials):
        run_trial(damaged, tmp_path / "work", seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "trials"), SLOW_TRIALS.items())
def test_much_damage_ends_in_unchanged_answers_or_one_message(
    subject: Make, tmp_path: Path, name: str, trials: int
) -> None:
    damaged = subject(name)
    for seed in range(1000, 1000 + trials):
        run_trial(damaged, tmp_path / "work", seed=seed)


WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
import damaged_folders
from damage import Open, Subject, run_trial
run, work = Path({run!r}), Path({work!r})
images = sorted(Path({images!r}).iterdir())
files = damaged_folders.ways_of_run(images)
files = {{key: ways for key, ways in files.items() if key.endswith((".ckpt", ".npz"))}}
subject = Subject("run", run, files)
for seed in range({trials}):
    run_trial(subject, work, seed=seed)
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
