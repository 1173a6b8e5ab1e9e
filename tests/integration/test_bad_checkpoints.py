"""Damaged, foreign and busy run folders, and full disks: refused, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from omegaconf import OmegaConf
from quick import (
    QUICK,
    accept_changes,
    check_error,
    content,
    draw,
    draw_mvtec,
    record_of,
    rows_of,
    temporary_files,
)
from small import REPOSITORY, Cli, CommandResult

from capsule_inspection.inference.checkpoints import read_checkpoint
from capsule_inspection.types import DataError, RunError
from capsule_inspection.workflows import evaluate
from capsule_inspection.workflows.record import RunRecord

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
Prepare = Callable[[Path, Path], object]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def lay_trap(run: Path, name: str) -> None:
    path = run / name
    torch.save({"state_dict": {}, "epoch": 0, "inspection": Trap(path.parent / "executed")}, path)
    accept_changes(run)


def widen(run: Path) -> None:
    """Let the configuration be that of a wider network than the checkpoints have."""
    config = OmegaConf.load(run / "config.yaml")
    config.model.width *= 2
    OmegaConf.save(config, run / "config.yaml")
    accept_changes(run)


def damage(path: Path) -> None:
    path.write_bytes(b'{"a: [\xff')


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def move(run: Path, root: Path, *, also: str) -> None:
    """Copy the run's images to `root`, with one more or one changed."""
    shutil.copytree(record_of(run)["data"]["root"], root)
    draw(root / "train" / "good" / also, seed=999)


OTHER = "data=mvtec data.root={root}"
EVALUATIONS: dict[str, tuple[Prepare, str, int, str]] = {
    "code": (lambda run, root: lay_trap(run, BEST), "", 1, f"{BEST}; more than tensors"),
    "another model": (lambda run, root: widen(run), "", 1, f"{BEST}; of another model"),
    "a damaged record": (lambda run, root: damage(run / "run.json"), "", 1, "{run}/run.json"),
    "a damaged split": (lambda run, root: damage(run / "split.csv"), "", 1, "{run}/split.csv"),
    "another byte in the weights": (
        lambda run, root: flip(run / BEST), "", 1, "{run}/checkpoints/best.ckpt; verify=skip",
    ),
    "another byte, not verified": (
        lambda run, root: flip(run / BEST), "verify=skip", 1, f"{BEST}; damaged; from a copy",
    ),
    "another byte in the split": (
        lambda run, root: flip(run / "split.csv"), "", 1, "{run}/split.csv; verify=skip",
    ),
    "an unknown class": (
        lambda run, root: draw_mvtec(root, counts={"good": 3, "dent": 3}, first_seed=100),
        f"{OTHER} split=test_only",
        1,
        "{root}; dent; good, crack, poke",
    ),
    "a subset without images": (
        lambda run, root: draw_mvtec(root, first_seed=100),
        f"{OTHER} split=test_only subset=val",
        1,
        "subset=val: the split has no val images",
    ),
    "no split of their own": (
        lambda run, root: draw_mvtec(root, first_seed=100), OTHER, 2, "data=mvtec; split=test_only",
    ),
    "an image too many": (
        lambda run, root: move(run, root, also="aaa_000.png"), "data.root={root}", 1, "aaa_000",
    ),
    "a folder in use": (
        lambda run, root: draw(root / "notes.png", seed=1),
        "output={root}",
        1,
        "output={root}; notes.png; Nothing is overwritten",
    ),
    "size and crop": (lambda run, root: None, "data.roi=auto", 2, "as in the run's training"),
}  # fmt: skip
RESUMES: dict[str, tuple[Prepare, str, int, str]] = {
    "code": (lambda run, root: lay_trap(run, LAST), "", 1, f"{LAST}; more than tensors"),
    "another model": (lambda run, root: widen(run), "", 1, f"{LAST}; of another model"),
    "a damaged configuration": (
        lambda run, root: damage(run / "config.yaml"), "", 1, "{run}/config.yaml",
    ),
    "a flipped configuration": (
        lambda run, root: flip(run / "config.yaml"), "", 1, "{run}/config.yaml",
    ),
    "a flipped split": (lambda run, root: flip(run / "split.csv"), "", 1, "{run}/split.csv"),
    "a flipped record": (lambda run, root: flip(run / "run.json"), "", 1, "{run}/run.json"),
    "no record": (lambda run, root: (run / "run.json").unlink(), "", 1, "{run}; run.json"),
    "an image changed": (
        lambda run, root: move(run, root, also="000.png"),
        "data.root={root}",
        1,
        "{root}: the images have changed since this run began",
    ),
    "an image too many": (
        lambda run, root: move(run, root, also="aaa_000.png"),
        "data.root={root}",
        1,
        "{run}/split.csv: 1 of 19 images have no row",
    ),
    "nothing left to do": (lambda run, root: None, "task.epochs=2", 1, "task.epochs=4"),
    "another rate": (lambda run, root: None, "optimizer.lr=0.1", 2, "optimizer.lr"),
}  # fmt: skip
CASES = {
    **{f"evaluate: {name}": case for name, case in EVALUATIONS.items()},
    **{f"train: {name}": case for name, case in RESUMES.items()},
}


def check_untouched(run: Path, before: dict[str, bytes]) -> None:
    """The run is as it was, byte for byte, and nothing was added to it but lines of the log."""
    assert without_logs(content(run)) == without_logs(before)
    assert not temporary_files(run.parent)


def without_logs(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.endswith("train.log")}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_used_is_named_and_nothing_is_lost_or_executed(
    cli: Cli, finished: Path, tmp_path: Path, case: str
) -> None:
    prepare, settings, status, expected = CASES[case]
    root, output = tmp_path / "other", tmp_path / "out"
    prepare(finished, root)
    before, others, name = content(finished), content(root), case.partition(":")[0]
    own = [f"run={finished}", f"output={output}"]
    if name == "train":
        own = [f"resume={finished}", "task.epochs=3"]
    result = cli(name, *own, *settings.format(root=root).split())
    check_error(result, *expected.format(run=finished, root=root).split("; "), status=status)
    check_untouched(finished, before)
    assert without_logs(content(root)) == others
    assert not (finished / "checkpoints" / "executed").exists()
    assert without_logs(content(output)) == {}


def test_a_changed_file_is_refused_and_opened_all_the_same_where_it_is_not_verified(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    path = finished / "ood.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    image = next(Path(record_of(finished)["data"]["root"]).rglob("000.png"))
    settings = [f"run={finished}", f"input={image}", f"output={tmp_path / 'out'}"]
    check_error(cli("predict", *settings), f"{path}: damaged or changed", "verify=skip")
    result = cli("predict", *settings, "verify=skip")
    assert result.status == 0, result.err
    path.unlink()
    check_error(cli("predict", *settings), f"{path}: missing", "verify=skip")


def test_a_run_that_is_not_there_is_named_and_not_made(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "no-such-run"
    check_error(cli("evaluate", f"run={run}"), str(run), "run.json", "no such folder")
    check_error(cli("train", f"resume={run}"), str(run), "no such folder")
    assert not run.parent.exists()


def test_no_run_is_overwritten_whatever_its_status_nor_resumed_twice_at_once(
    cli: Cli, finished: Path
) -> None:
    for status in ("failed", "interrupted", "running", "finished"):
        accept_changes(finished, status=status)
        before = content(finished)
        with pytest.raises(RunError, match="this folder has a run already"):
            RunRecord.create(finished, seed=0)
        check_untouched(finished, before)
    result = cli("train", f"hydra.run.dir={finished}")
    check_error(result, str(finished), "hydra.run.dir", f"resume={finished}")
    with FileLock(finished / "run.lock"), pytest.raises(RunError, match="by another process"):
        RunRecord.reopen(finished)
    check_untouched(finished, before)


def test_a_killed_run_is_evaluated_at_its_best_epoch_also_on_test_images_alone(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    accept_changes(finished, status="running")
    root, output = draw_mvtec(tmp_path / "other", first_seed=100), tmp_path / "out"
    shutil.rmtree(root / "train")
    settings = ["data=mvtec", f"data.root={root}", "split=test_only", f"output={output}"]
    result = cli("evaluate", f"run={finished}", *settings)
    assert result.status == 0, result.err + result.out
    assert record_of(output)["status"] == "finished"
    assert "this run is not finished, it was stopped before its end. Its best epoch" in result.out
    rows = rows_of(output)
    assert [row["label"] for row in rows].count("crack") == 5
    assert {row["label"] for row in rows} == {"crack", "poke"}
    assert len(rows) == 10
    assert all("p_good" in row for row in rows)


@pytest.mark.parametrize(
    ("error", "status"), [(DataError("broken"), 1), (KeyboardInterrupt(), 130)]
)
def test_an_evaluation_that_was_stopped_leaves_nothing_and_is_begun_anew_by_the_same_command(
    cli: Cli,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_splits", refuse)
        result = cli("evaluate", f"run={finished}", f"output={tmp_path / 'out'}")
    assert result.status == status
    assert not (tmp_path / "out").exists()
    assert cli("evaluate", f"run={finished}", f"output={tmp_path / 'out'}").status == 0
    assert record_of(tmp_path / "out")["status"] == "finished"


def test_a_moved_run_is_resumed_and_keeps_its_best_epoch(
    cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = read_checkpoint(finished / BEST)["epoch"]
    # A worse third epoch must not take the place of the best one.
    monkeypatch.setattr(
        "capsule_inspection.tasks.optimization.EMAMetric.update", lambda self, value: -1.0
    )
    result = cli("train", f"resume={finished}", "task.epochs=3")
    assert result.status == 0, result.err
    assert read_checkpoint(finished / LAST)["epoch"] == 2
    assert read_checkpoint(finished / BEST)["epoch"] == best


def settings_on(disk: Path, home: Path) -> list[str]:
    """Those of the finished run, for three epochs, into a folder `run`."""
    places = [f"data.root={home / 'bottle'}", f"data.cache_folder={home / 'cache'}"]
    return [*QUICK, "data=mvtec", "task.epochs=3", *places, f"hydra.run.dir={disk / 'run'}"]


def check_kept(run: Path) -> None:
    """The first epoch is there, whole, and nothing half-written."""
    for name in (LAST, BEST):
        assert read_checkpoint(run / name)["epoch"] == 0
    assert not temporary_files(run)


def test_a_full_disk_keeps_the_last_whole_checkpoint_and_the_run_goes_on_from_it(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, save = tmp_path / "run", torch.save

    def fail(checkpoint: dict, file: Any) -> None:
        if checkpoint["epoch"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", fail)
    result = cli("train", *settings_on(tmp_path, finished_home))
    check_error(result, str(run), "disk is full", f"resume={run}")
    assert record_of(run)["status"] == "failed"
    assert "No space left" in record_of(run)["error"]
    check_kept(run)
    monkeypatch.setattr(torch, "save", save)
    result = cli("train", f"resume={run}")
    assert result.status == 0, result.err
    assert record_of(run)["status"] == "finished"
    assert "error" not in record_of(run)
    assert [int(row["epoch"]) for row in rows_of(run, "metrics.csv")] == [0, 1, 2]


DRIVER = """
import logging, shutil, sys, runpy
from pathlib import Path
logging.getLogger("torch.utils.flop_counter").setLevel("ERROR")  # as train.py, which imports later
from lightning.pytorch.callbacks import ModelCheckpoint
save, filler = ModelCheckpoint._save_checkpoint, Path({disk!r}) / "filler"
def fill_first(self, trainer, path):
    if trainer.current_epoch == 1 and not filler.exists():
        filler.write_bytes(bytes(shutil.disk_usage(filler.parent).free - 8192))
    save(self, trainer, path)
ModelCheckpoint._save_checkpoint = fill_first
runpy.run_path({train!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full_keeps_the_last_whole_checkpoint(
    finished_home: Path, tmp_path: Path
) -> None:
    """On a file system of 4 MB, which vanishes with the process that mounted it."""
    disk, kept, driver = tmp_path / "disk", tmp_path / "kept", tmp_path / "driver.py"
    disk.mkdir()
    driver.write_text(DRIVER.format(disk=str(disk), train=str(REPOSITORY / "train.py")))
    train = shlex.join([sys.executable, str(driver), *settings_on(disk, finished_home)])
    mount = f"mount -t tmpfs -o size=4m tmpfs {shlex.quote(str(disk))} || exit 99"
    copy = f"cp -r {shlex.quote(str(disk / 'run'))} {shlex.quote(str(kept))}"
    script = f"{mount}; {train}; s=$?; {copy}; exit $s"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    if "unshare" in done.stderr or done.returncode == 99:
        pytest.skip(f"no small disk can be made here ({done.stderr.strip()})")
    result = CommandResult(done.returncode, done.stdout, done.stderr)
    check_error(result, "disk is full", f"resume={disk / 'run'}")
    check_kept(kept)
    assert record_of(kept)["status"] in ("failed", "running")
