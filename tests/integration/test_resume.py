"""A training that was killed or interrupted goes on, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from quick import QUICK, move_images
from small import REPOSITORY, SMALL, SMALL_NETWORK, Door

EPOCHS = "task.epochs=6"


def table(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def start(run: Path, drawn_folder: Path, *settings: str) -> subprocess.Popen[str]:
    """train.py in a process of its own, slowed down so that a signal meets it within an epoch."""
    code = (
        "import sys, time, runpy\n"
        "from capsule_inspection.data.module import CachedImages\n"
        "read = CachedImages.__getitems__\n"
        "def slow(self, draws):\n"
        "    time.sleep(0.15)\n"
        "    return read(self, draws)\n"
        "CachedImages.__getitems__ = slow\n"
        f"sys.argv = ['train.py', *{list(settings)!r}]\n"
        f"runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=run.parent,
    )


def wait_for_epochs(process: subprocess.Popen[str], run: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.csv").is_file() and len(table(run)) >= count:
            time.sleep(0.3)  # into the next epoch
            return
        time.sleep(0.02)
    output = process.communicate(timeout=10)[0] if process.poll() is not None else "too slow"
    pytest.fail(f"no {count} epochs: {output}")


def settings_for(run: Path, drawn_folder: Path) -> list[str]:
    return [
        *SMALL,
        *SMALL_NETWORK,
        EPOCHS,
        "task.batch_size=4",
        "task.mixup=0.3",
        "model.dropout=0.2",
        f"data.root={drawn_folder / 'drawn'}",
        f"data.cache_folder={drawn_folder / 'cache'}",
        f"hydra.run.dir={run}",
    ]


@pytest.mark.parametrize(
    "extra",
    [
        [],
        pytest.param(["scheduler=plateau", "scheduler.patience=1"], marks=pytest.mark.slow),
        pytest.param(["callbacks=no_ema", "scheduler=one_cycle"], marks=pytest.mark.slow),
        pytest.param(["finetune=head_first", "finetune.head_epochs=3"], marks=pytest.mark.slow),
    ],
    ids=lambda extra: (extra or ["default"])[0],
)
def test_a_killed_training_ends_with_the_figures_of_an_undisturbed_one(
    door: Door, drawn_folder: Path, tmp_path: Path, extra: list[str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert door("train", *settings_for(whole, drawn_folder), *extra).status == 0

    process = start(killed, drawn_folder, *settings_for(killed, drawn_folder), *extra)
    wait_for_epochs(process, killed, 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(table(killed))
    assert done < 6
    assert record(killed)["status"] == "running"

    answer = door("train", f"resume={killed}")
    assert answer.status == 0, answer.err
    assert table(killed) == table(whole)
    assert (killed / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert (killed / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    assert record(killed)["status"] == "finished"
    assert record(killed)["attempts"] == 2
    assert scalar_steps(killed) == list(range(6))


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_table_of_an_undisturbed_one(
    door: Door, drawn_folder: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    jobs = ["00_seed0", "01_seed1", "02_seed2"]
    assert door("train", *sweep_settings(whole, drawn_folder)).status == 0

    process = start(killed, drawn_folder, *sweep_settings(killed, drawn_folder))
    wait_for_epochs(process, killed / jobs[1], 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert record(killed / jobs[0])["status"] == "finished"
    assert record(killed / jobs[1])["status"] == "running"
    assert not (killed / jobs[2]).exists()
    finished = (killed / jobs[0] / "run.json").stat().st_mtime_ns

    answer = door("train", "-m", f"resume={killed}")
    assert answer.status == 0, answer.err
    assert (killed / jobs[0] / "run.json").stat().st_mtime_ns == finished
    assert record(killed / jobs[1])["attempts"] == 2
    for job in jobs:
        for name in ("metrics.json", "predictions.csv"):
            assert (killed / job / name).read_bytes() == (whole / job / name).read_bytes()
    assert figures_of_report(killed) == figures_of_report(whole)


def sweep_settings(sweep: Path, drawn_folder: Path) -> list[str]:
    settings = settings_for(sweep, drawn_folder)
    without_run = [setting for setting in settings if not setting.startswith("hydra.run.dir=")]
    return ["-m", *without_run, "seed=0,1,2", f"hydra.sweep.dir={sweep}"]


def figures_of_report(sweep: Path) -> list[dict[str, str]]:
    """The rows of the comparison, without what time they took."""
    with (sweep / "comparison" / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    timed = ("time", "second", "memory")
    return [{k: v for k, v in row.items() if not any(t in k for t in timed)} for row in rows]


def scalar_steps(run: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    return [event.step for event in events.Scalars("val/loss")]


def test_ctrl_c_keeps_the_best_epoch_and_says_how_to_go_on(
    door: Door, drawn_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(run, drawn_folder, *settings_for(run, drawn_folder))
    wait_for_epochs(process, run, 2)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert f"resume={run}" in output
    assert "Traceback" not in output
    assert record(run)["status"] == "interrupted"
    assert (run / "metrics.json").is_file()
    assert (run / "checkpoints" / "best.ckpt").is_file()

    answer = door("train", f"resume={run}")
    assert answer.status == 0, answer.err
    assert [int(row["epoch"]) for row in table(run)] == list(range(6))


def test_a_finished_run_goes_on_for_more_epochs_only(door: Door, tmp_path: Path) -> None:
    run = tmp_path / "run"
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={run}")
    refused = door("train", f"resume={run}")
    assert refused.status == 1
    assert "task.epochs=4" in refused.err
    assert record(run)["status"] == "finished"
    answer = door("train", f"resume={run}", "task.epochs=3")
    assert answer.status == 0, answer.err
    assert len(table(run)) == 3


def settings_in(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


def test_a_resumed_run_needs_its_first_weights_no_more(door: Door, tmp_path: Path) -> None:
    first, run = tmp_path / "first", tmp_path / "run"
    settings = [*SMALL, *SMALL_NETWORK, "task.epochs=1"]
    door("train", *settings, f"hydra.run.dir={first}")
    began = door("train", *settings, "seed=1", f"model.weights={first}", f"hydra.run.dir={run}")
    assert began.status == 0, began.err
    weights = record(run)["weights"]
    assert weights["source"] == "file"
    shutil.rmtree(first)
    answer = door("train", f"resume={run}", "task.epochs=2")
    assert answer.status == 0, answer.err
    assert record(run)["weights"] == weights
    assert "RANDOM" not in answer.out + answer.err


def test_a_resumed_run_keeps_how_long_it_was_asked_to_be(door: Door, tmp_path: Path) -> None:
    run = tmp_path / "run"
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={run}")
    door("train", f"resume={run}", "task.epochs=3")
    kept = settings_in(run)
    assert (kept["trainer"]["max_epochs"], kept["resume"]) == (3, None)
    refused = door("train", f"resume={run}")
    assert refused.status == 1
    assert "all 3 epochs of this run are done" in refused.err


def test_a_run_that_failed_before_its_split_has_one_when_it_is_resumed(
    door: Door, mvtec: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    spoilt = mvtec / "train" / "good" / "000.png"
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[:100])
    data = ["data=mvtec", f"data.root={mvtec}", f"data.cache_folder={tmp_path / 'cache'}"]
    failed = door("train", *QUICK, *data, f"hydra.run.dir={run}")
    assert failed.status == 1
    assert spoilt.name in failed.err
    assert not (run / "split.csv").exists()
    spoilt.write_bytes(whole)
    answer = door("train", f"resume={run}")
    assert answer.status == 0, answer.err
    assert (run / "split.csv").is_file()


def test_a_run_whose_images_have_moved_is_resumed_with_their_new_place_and_knows_it_from_then_on(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    there = move_images(finished, tmp_path)
    answer = door("train", f"resume={finished}", "task.epochs=3")
    assert answer.status == 1
    assert f"{tmp_path / 'gone'}: there is no such folder" in answer.err
    answer = door("train", f"resume={finished}", "task.epochs=3", f"data.root={there}")
    assert answer.status == 0, answer.err
    assert [int(row["epoch"]) for row in table(finished)] == [0, 1, 2]
    assert record(finished)["data"]["root"] == settings_in(finished)["data"]["root"] == str(there)
    answer = door("train", f"resume={finished}", "task.epochs=4")
    assert answer.status == 0, answer.err


def test_files_of_others_are_not_replaced(door: Door, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("mine")
    answer = door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={tmp_path}")
    assert answer.status == 1
    assert "a run would replace split.csv in this folder" in answer.err
    assert (tmp_path / "split.csv").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_one_message(door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    answer = door("train", *SMALL, f"hydra.run.dir={tmp_path / 'file'}")
    assert answer.status == 1
    assert answer.err.startswith("error: ")
    assert len(answer.err.strip().splitlines()) == 1
    assert str(tmp_path / "file") in answer.err


def test_training_time_adds_up(door: Door, tmp_path: Path) -> None:
    run = tmp_path / "run"
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={run}")
    before = record(run)["training_time_s"]
    door("train", f"resume={run}", "task.epochs=3")
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert record(run)["training_time_s"] == pytest.approx(sum(seconds), abs=0.01)
    assert record(run)["training_time_s"] > before


def test_what_may_not_change_is_refused(door: Door, tmp_path: Path) -> None:
    run = tmp_path / "run"
    door("train", *SMALL, *SMALL_NETWORK, f"hydra.run.dir={run}")
    answer = door("train", f"resume={run}", "optimizer.lr=0.1")
    assert answer.status == 2
    assert "optimizer.lr cannot be changed when a run is resumed" in answer.err
