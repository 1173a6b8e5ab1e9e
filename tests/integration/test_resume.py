"""A training that was killed or interrupted goes on, and ends as if nothing had happened."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from omegaconf import DictConfig
from quick import QUICK, check_error, draw_mvtec, move_images, record_of, rows_of
from small import REPOSITORY, SMALL, Cli

from capsule_inspection.inference.checkpoints import read_checkpoint
from capsule_inspection.integrity import FILES, checksums
from capsule_inspection.workflows.interrupts import InterruptHandler
from capsule_inspection.workflows.train import _create_record

EPOCHS = 4
RESULTS = ("predictions.csv", "metrics.json")


def table(run: Path) -> list[dict[str, str]]:
    rows = rows_of(run, "metrics.csv")
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def settings_of(home: Path) -> list[str]:
    """A training with whatever draws numbers: order, augmentation, mixup and dropout."""
    random = ("task.mixup=0.3", "model.dropout=0.2", "task.batch_size=4", f"task.epochs={EPOCHS}")
    return [*QUICK, *images_of(home), *random]


def images_of(home: Path) -> list[str]:
    return ["data=mvtec", f"data.root={home / 'bottle'}", f"data.cache_folder={home / 'cache'}"]


def slow_training(*settings: str) -> list[str]:
    """The command of a training that is slow enough to meet it within an epoch."""
    code = (
        "import sys, time, runpy\n"
        "from capsule_inspection.data.module import CachedDataset\n"
        "read = CachedDataset.__getitems__\n"
        "def slow(self, draws):\n"
        "    time.sleep(0.15)\n"
        "    return read(self, draws)\n"
        "CachedDataset.__getitems__ = slow\n"
        f"sys.argv = ['train.py', *{list(settings)!r}]\n"
        f"runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')\n"
    )
    return [sys.executable, "-c", code]


def kill_after(epochs: int, run: Path, *settings: str) -> None:
    """Kill train.py within the next epoch of a run."""
    process = subprocess.Popen(
        slow_training(*settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=run.parents[1],
    )
    deadline = time.monotonic() + 300
    while not (run / "metrics.csv").is_file() or len(table(run)) < epochs:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"no {epochs} epochs: {process.communicate()[0]}")
        time.sleep(0.02)
    time.sleep(0.3)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert epochs <= len(table(run)) < EPOCHS
    assert record_of(run)["status"] == "running"


def check_equal(run: Path, whole: Path, *, attempts: int) -> None:
    assert table(run) == table(whole)
    for name in RESULTS:
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert record_of(run)["status"] == "finished"
    assert record_of(run)["attempts"] == attempts


def test_an_interrupted_or_killed_training_ends_with_the_figures_of_an_undisturbed_one(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(finished_home)
    whole, killed, interrupted = (tmp_path / name for name in ("whole", "killed", "interrupted"))
    assert cli("train", *settings, f"hydra.run.dir={whole}").status == 0
    assert len(table(whole)) == EPOCHS

    with monkeypatch.context() as patch:
        begin = InterruptHandler.on_train_batch_start

        def stop(self: InterruptHandler, trainer: L.Trainer, module: object, *batch: Any) -> None:
            if (trainer.current_epoch, batch[1]) == (2, 1):
                signal.raise_signal(signal.SIGINT)
            begin(self, trainer, module, *batch)

        patch.setattr(InterruptHandler, "on_train_batch_start", stop)
        result = cli("train", *settings, f"hydra.run.dir={interrupted}")
    assert result.status == 130, result.err
    assert f"resume={interrupted}" in result.out + result.err
    assert "Traceback" not in result.out + result.err
    assert record_of(interrupted)["status"] == "interrupted"
    assert (interrupted / "metrics.json").is_file()
    assert (interrupted / "checkpoints" / "best.ckpt").is_file()
    assert len(table(interrupted)) == 2

    kill_after(2, killed, *settings, f"hydra.run.dir={killed}")
    for run in (interrupted, killed):
        result = cli("train", f"resume={run}")
        assert result.status == 0, result.err
        check_equal(run, whole, attempts=2)
    assert scalar_steps(killed) == list(range(1, EPOCHS + 1))


@pytest.mark.slow
def test_a_second_ctrl_c_in_a_terminal_skips_the_evaluation_and_names_the_command_to_go_on(
    finished_home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = [*settings_of(finished_home), f"hydra.run.dir={run}"]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, slow_training(*settings))
    shown = read_terminal(terminal, until=f"epoch 2/{EPOCHS}  ")
    os.write(terminal, b"\x03")
    shown += read_terminal(terminal, until="press Ctrl-C again to skip the evaluation")
    os.write(terminal, b"\x03")
    shown += read_terminal(terminal, until=None)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130, shown
    assert f"To go on: python train.py resume={run}" in shown
    assert "Traceback" not in shown
    assert f"/{EPOCHS}, batches" in shown, "a bar"
    for line in re.findall(r"[^\n]*val balanced accuracy[^\n]*", shown):
        assert re.search(r"(^|\x1b\[2K)epoch \d", line), "a line is not glued to a bar"
    assert record_of(run)["status"] == "interrupted"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "metrics.json").exists()


def read_terminal(terminal: int, *, until: str | None) -> str:
    """What is written to a pseudo-terminal, until a text appears or the process has ended."""
    shown = ""
    deadline = time.monotonic() + 120
    while until is None or until not in shown:
        try:
            found = os.read(terminal, 65536) if select.select([terminal], [], [], 1)[0] else b" "
        except OSError:  # the process has ended
            break
        shown += found.decode(errors="replace") if found != b" " else ""
        assert time.monotonic() < deadline, shown
        if not found:
            break
    return shown


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_table_of_an_undisturbed_one(
    cli: Cli, finished_home: Path, tmp_path: Path
) -> None:
    """With a schedule that keeps a state, weights without averaging, and a head that begins."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first, second, third = jobs = ("00_seed0", "01_seed1", "02_seed2")
    stateful = ("scheduler=plateau", "scheduler.patience=1", "callbacks=no_ema")
    head_first = ("finetune=head_first", "finetune.head_epochs=3")
    settings = ["-m", *settings_of(finished_home), *stateful, *head_first, "seed=0,1,2"]
    assert cli("train", *settings, f"hydra.sweep.dir={whole}").status == 0

    kill_after(2, killed / second, *settings, f"hydra.sweep.dir={killed}")
    assert record_of(killed / first)["status"] == "finished"
    assert not (killed / third).exists()
    finished = (killed / first / "run.json").stat().st_mtime_ns

    result = cli("train", "-m", f"resume={killed}")
    assert result.status == 0, result.err
    assert (killed / first / "run.json").stat().st_mtime_ns == finished
    for job in jobs:
        check_equal(killed / job, whole / job, attempts=2 if job == second else 1)
    assert figures_of_report(killed) == figures_of_report(whole)


def figures_of_report(sweep: Path) -> list[dict[str, str]]:
    """The rows of the comparison, without what time they took."""
    rows = rows_of(sweep / "comparison", "comparison.csv")
    timed = ("time", "second", "memory")
    return [{k: v for k, v in row.items() if not any(t in k for t in timed)} for row in rows]


def scalar_steps(run: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    return [event.step for event in events.Scalars("val/loss")]


def settings_in(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


def test_a_finished_run_goes_on_for_more_epochs_only_with_its_images_where_they_are_now(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    check_error(cli("train", f"resume={finished}"), "task.epochs=4")
    assert record_of(finished)["status"] == "finished"
    changed = cli("train", f"resume={finished}", "task.epochs=3", "optimizer.lr=0.1")
    check_error(changed, "optimizer.lr cannot be changed when a run is resumed", status=2)
    there = move_images(finished, tmp_path)
    gone = cli("train", f"resume={finished}", "task.epochs=3")
    check_error(gone, f"{tmp_path / 'gone'}: there is no such file or folder")

    before = record_of(finished)["training_time_s"]
    result = cli("train", f"resume={finished}", "task.epochs=3", f"data.root={there}")
    assert result.status == 0, result.err
    assert [int(row["epoch"]) for row in table(finished)] == [0, 1, 2]
    seconds = [float(row["seconds"]) for row in rows_of(finished, "metrics.csv")]
    assert record_of(finished)["training_time_s"] == pytest.approx(sum(seconds), abs=0.01)
    assert record_of(finished)["training_time_s"] > before

    kept = settings_in(finished)
    assert (kept["trainer"]["max_epochs"], kept["resume"]) == (3, None)
    assert record_of(finished)["data"]["root"] == kept["data"]["root"] == str(there)
    check_error(cli("train", f"resume={finished}"), "all 3 epochs of this run are done")


def test_a_run_killed_before_its_split_is_resumed_and_needs_its_first_weights_only_once(
    cli: Cli, compose: Callable[..., DictConfig], finished: Path, tmp_path: Path
) -> None:
    run, home = tmp_path / "resumed", tmp_path / "home"
    draw_mvtec(home / "bottle", first_seed=500)
    run.mkdir()
    weights = ("seed=1", f"model.weights={finished}")
    config = compose("train", *QUICK, *images_of(home), *weights)
    _create_record(config, run).close("running")
    result = cli("train", f"resume={run}")
    assert result.status == 0, result.err
    assert (run / "split.csv").is_file()
    began_from = record_of(run)["weights"]
    assert began_from["source"] == "file"

    taught_first = read_checkpoint(finished / "checkpoints" / "best.ckpt")["training_hashes"]
    shutil.rmtree(finished)
    result = cli("train", f"resume={run}", "task.epochs=2")
    assert result.status == 0, result.err
    assert record_of(run)["weights"] == began_from
    command = record_of(run)["command"]
    assert command[-1] == "task.epochs=2"  # a later setting wins, so it trains as long from anew
    assert not any(setting.startswith("resume=") for setting in command)
    last = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert last["epoch"] == 1
    assert set(taught_first) < set(last["training_hashes"])
    assert "RANDOM" not in result.out + result.err


def test_files_of_others_are_not_replaced(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("mine")
    result = cli("train", *SMALL, f"hydra.run.dir={tmp_path}")
    check_error(result, "a run would replace split.csv in this folder")
    result = cli("train", *SMALL, f"hydra.run.dir={tmp_path / 'split.csv'}")
    check_error(result, str(tmp_path / "split.csv"))
    assert len(result.err.strip().splitlines()) == 1
    assert (tmp_path / "split.csv").read_text() == "mine"


def damage_last(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda run: None,
    "last.ckpt cut": damage_last,
    "last.ckpt gone": lambda run: (run / "checkpoints" / "last.ckpt").unlink(),
    "metrics.csv cut": lambda run: (run / "metrics.csv").write_bytes(b"epoch,step\n0,1"),
    "ood.json empty": lambda run: (run / "ood.json").write_bytes(b""),
}


def test_what_the_checkpoints_hold_decides_whatever_happened_to_other_files(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    results = {}
    for name, damage in DAMAGES.items():
        run = shutil.copytree(finished, tmp_path / "copies" / name)
        damage(run)
        result = cli("train", f"resume={run}", "task.epochs=3")
        assert result.status == 0, result.err
        assert ("the best." in result.out + result.err) == name.startswith("last.ckpt")
        scores = [(run / file).read_bytes() for file in (*RESULTS, "ood.json")]
        results[name] = (table(run), *scores)
        assert checksums(run, record_of(run)[FILES]) == record_of(run)[FILES]
        assert record_of(run)[FILES].keys() >= {"config.yaml", "split.csv", "metrics.csv"}
    assert [name for name in DAMAGES if results[name] != results["nothing"]] == []


def change_state(path: Path, *keys: Any, to: Any) -> None:
    checkpoint = read_checkpoint(path)
    node: Any = checkpoint
    for key in keys[:-1]:
        node = node[next(name for name in node if str(name).startswith(key))
                    if isinstance(node, dict) and isinstance(key, str) else key]  # fmt: skip
    node[keys[-1]] = to
    torch.save(checkpoint, path)


STATES: dict[str, tuple[Any, ...]] = {
    "loops": ("loops", ["x"]),
    "epochs": ("loops", "fit_loop", "epoch_progress", "current", "completed", "x"),
    "optimizer": ("optimizer_states", 0, "param_groups", 0, "lr", "x"),
    "moments": ("optimizer_states", 0, "state", {0: {"exp_avg": [1]}}),
    "schedule": ("lr_schedulers", 0, "last_epoch", [1]),
    "rows": ("callbacks", "EpochMetricsWriter", "rows", [1]),
    "patience": ("callbacks", "DelayedEarlyStopping", "wait_count", "x"),
    "best score": ("callbacks", "RunCheckpoint{'monitor': 'val", "best_k_models", {"a": "x"}),
    "average": ("inspection", "monitor_average", {"total": "x", "weight": 1.0}),
    "version": ("pytorch-lightning_version", "x"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_checkpoint_with_states_of_other_types_is_named(
    cli: Cli, finished: Path, state: str
) -> None:
    *keys, value = STATES[state]
    path = finished / "checkpoints" / "last.ckpt"
    change_state(path, *keys, to=value)
    result = cli("train", f"resume={finished}", "task.epochs=3")
    check_error(result, str(path), "cannot go on from this checkpoint", "Restore it from a copy")


def test_a_best_checkpoint_that_is_gone_or_damaged_is_named_before_the_training_goes_on(
    cli: Cli, finished: Path
) -> None:
    best, before = finished / "checkpoints" / "best.ckpt", table(finished)
    best.write_bytes(best.read_bytes()[:-30])
    check_error(cli("train", f"resume={finished}", "task.epochs=3"), str(best), "damaged")
    best.unlink()
    gone = cli("train", f"resume={finished}", "task.epochs=3")
    check_error(gone, str(best), "no such checkpoint")
    assert table(finished) == before
