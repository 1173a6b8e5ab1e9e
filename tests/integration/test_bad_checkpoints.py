"""Damaged, foreign and busy run folders, and full disks: refused, and nothing is lost."""

from __future__ import annotations

import csv
import errno
import json
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
from quick import QUICK, check_refusal, content, draw, draw_mvtec, record_of, strays
from small import REPOSITORY, Answer, Door

from capsule_inspection.contracts import DataError
from capsule_inspection.inference.checkpoints import read_checkpoint
from capsule_inspection.runs import predicting

pytestmark = pytest.mark.usefixtures("without_pictures")

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def widen(path: Path) -> None:
    """Make a checkpoint that of a wider network."""
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {
        key: torch.cat([value, value]) if key.startswith("network.") and value.ndim else value
        for key, value in state.items()
    }
    torch.save(checkpoint, path)


def lay_trap(path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 0, "inspection": Trap(path.parent / "executed")}, path)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "cut short": (cut, "cut short"),
    "empty": (lambda path: path.write_bytes(b""), "cut short"),
    "missing": (lambda path: path.unlink(), "there is no such checkpoint"),
    "of another model": (widen, "of another model"),
    "with code": (lay_trap, "holds more than tensors"),
    "no checkpoint": (lambda path: torch.save({"a": torch.ones(2)}, path), "of a run"),
}


def check_untouched(run: Path, before: dict[str, bytes]) -> None:
    """The run is as it was, byte for byte, and nothing was added to it but lines of the log."""
    after, before = without_logs(content(run)), without_logs(before)
    assert sorted(after) == sorted(before)
    assert [name for name in before if after[name] != before[name]] == []
    assert not strays(run.parent)


def without_logs(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.endswith("train.log")}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_checkpoint_is_not_evaluated(
    door: Door, finished: Path, tmp_path: Path, damage: str
) -> None:
    do, expected = DAMAGES[damage]
    do(finished / BEST)
    before = content(finished)
    answer = door("evaluate", f"run={finished}", f"output={tmp_path / 'out'}")
    check_refusal(answer, str(finished / BEST), expected)
    check_untouched(finished, before)
    assert not (finished / "checkpoints" / "executed").exists()
    assert without_logs(content(tmp_path / "out")) == {}


@pytest.mark.parametrize("damage", sorted(set(DAMAGES) - {"missing"}))
def test_a_bad_checkpoint_is_not_resumed(door: Door, finished: Path, damage: str) -> None:
    do, expected = DAMAGES[damage]
    do(finished / LAST)
    before = content(finished)
    answer = door("train", f"resume={finished}", "task.epochs=3")
    check_refusal(answer, str(finished / LAST), expected)
    check_untouched(finished, before)
    assert not (finished / "checkpoints" / "executed").exists()


def test_a_configuration_that_no_longer_fits_the_checkpoint_is_refused(
    door: Door, finished: Path
) -> None:
    config = OmegaConf.load(finished / "config.yaml")
    config.model.width *= 2
    OmegaConf.save(config, finished / "config.yaml")
    before = content(finished)
    check_refusal(door("evaluate", f"run={finished}"), str(finished / BEST), "another model")
    answer = door("train", f"resume={finished}", "task.epochs=3")
    check_refusal(answer, str(finished / LAST), "another model")
    check_untouched(finished, before)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "split.csv"])
@pytest.mark.parametrize("door_name", ["train", "evaluate"])
def test_a_damaged_run_folder_is_refused(
    door: Door, finished: Path, name: str, door_name: str
) -> None:
    (finished / name).write_bytes(b'{"a: [\xff')
    before = content(finished)
    command = [f"resume={finished}", "task.epochs=3"]
    answer = door(door_name, *(command if door_name == "train" else [f"run={finished}"]))
    check_refusal(answer, str(finished / name))
    check_untouched(finished, before)


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
@pytest.mark.parametrize("door_name", ["train", "evaluate"])
def test_a_run_folder_that_lacks_a_file_is_refused(
    door: Door, finished: Path, name: str, door_name: str
) -> None:
    (finished / name).unlink()
    before = content(finished)
    command = [f"resume={finished}", "task.epochs=3"]
    answer = door(door_name, *(command if door_name == "train" else [f"run={finished}"]))
    check_refusal(answer, str(finished), name)
    check_untouched(finished, before)


def folders(path: Path) -> list[Path]:
    return sorted(inner for inner in path.rglob("*") if inner.is_dir())


def test_a_run_that_is_not_there_is_named_and_not_made(door: Door, tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "no-such-run"
    check_refusal(door("evaluate", f"run={run}"), str(run), "run.json", "no such folder")
    check_refusal(door("train", f"resume={run}"), str(run), "no such folder")
    assert not run.parent.exists()


def test_a_live_run_is_not_evaluated(door: Door, finished: Path) -> None:
    before, inner = content(finished), folders(finished)
    with FileLock(finished / "run.lock"):
        answer = door("evaluate", f"run={finished}")
    check_refusal(answer, str(finished), "being trained by another process")
    check_untouched(finished, before)
    assert folders(finished) == inner


def test_a_killed_run_is_evaluated_at_its_best_epoch(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    record = record_of(finished) | {"status": "running"}
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    answer = door("evaluate", f"run={finished}", f"output={tmp_path / 'out'}")
    assert answer.status == 0, answer.err + answer.out
    assert record_of(tmp_path / "out")["status"] == "finished"
    assert "this run is not finished, its status is running. Its best epoch" in answer.out


def test_a_stage_without_images_is_refused_before_anything_is_written(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    root = draw_mvtec(tmp_path / "other", first_seed=100)
    settings = ["data=mvtec", f"data.root={root}", "split=all_test", "stage=val"]
    answer = door("evaluate", f"run={finished}", *settings, f"output={tmp_path / 'out'}")
    check_refusal(answer, "stage=val: the split has no val images")
    assert without_logs(content(tmp_path / "out")) == {}


@pytest.mark.parametrize(
    ("error", "ended", "status"),
    [(DataError("broken"), "failed", 1), (KeyboardInterrupt(), "interrupted", 130)],
)
def test_an_evaluation_that_was_not_finished_says_so(
    door: Door,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    ended: str,
    status: int,
) -> None:
    def refuse(*given: object) -> None:
        raise error

    monkeypatch.setattr(predicting, "write_figures", refuse)
    answer = door("evaluate", f"run={finished}", f"output={tmp_path / 'out'}")
    assert answer.status == status
    record = record_of(tmp_path / "out")
    assert record["status"] == ended
    assert record.get("error") == ("broken" if ended == "failed" else None)


def test_an_evaluation_is_not_taken_for_a_run(door: Door, finished: Path, tmp_path: Path) -> None:
    (finished / BEST).unlink()
    record = record_of(finished) | {"evaluated": "2026-01-01", "run": "outputs/a"}
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    answer = door("evaluate", f"run={finished}", f"output={tmp_path / 'out'}")
    check_refusal(answer, "this is an evaluation", "Name the run that it is of: run=outputs/a")


def test_a_run_without_a_finished_epoch_is_not_evaluated(door: Door, finished: Path) -> None:
    (finished / BEST).unlink()
    before, inner = content(finished), folders(finished)
    answer = door("evaluate", f"run={finished}")
    check_refusal(answer, str(finished), "no epoch", f"resume={finished}")
    check_untouched(finished, before)
    assert folders(finished) == inner


def test_evaluate_needs_a_run(door: Door) -> None:
    check_refusal(door("evaluate"), "run is needed", status=2)


def test_an_existing_run_is_not_overwritten(
    door: Door, finished_home: Path, finished: Path
) -> None:
    before = content(finished)
    answer = door(
        "train",
        *QUICK,
        "data=mvtec",
        f"data.root={finished_home / 'bottle'}",
        f"hydra.run.dir={finished}",
    )
    check_refusal(answer, str(finished), "hydra.run.dir", f"resume={finished}")
    check_untouched(finished, before)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted", "running"])
def test_no_run_is_overwritten_whatever_its_status(door: Door, finished: Path, status: str) -> None:
    record = record_of(finished) | {"status": status}
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    before = content(finished)
    check_refusal(door("train", f"hydra.run.dir={finished}"), str(finished), "already")
    check_untouched(finished, before)


def test_a_full_output_folder_is_left_as_it_is(door: Door, finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "notes"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    before = content(finished)
    answer = door("evaluate", f"run={finished}", f"output={output}")
    check_refusal(answer, f"output={output}", "notes.txt", "Nothing is overwritten")
    assert without_logs(content(output)) == {"notes.txt": b"mine"}
    check_untouched(finished, before)


def evaluate_on(door: Door, run: Path, root: Path, output: Path) -> Answer:
    settings = ["data=mvtec", f"data.root={root}", "split=all_test", f"output={output}"]
    return door("evaluate", f"run={run}", *settings)


def test_other_images_need_no_train_folder(door: Door, finished: Path, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "other", first_seed=100)
    shutil.rmtree(root / "train")
    output = tmp_path / "out"
    answer = evaluate_on(door, finished, root, output)
    assert answer.status == 0, answer.err
    with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert {row["label"] for row in rows} == {"crack", "poke"}
    assert all("p_good" in row for row in rows)


def test_a_class_that_the_run_does_not_know_is_named(
    door: Door, finished: Path, tmp_path: Path
) -> None:
    root = draw_mvtec(tmp_path / "other", counts={"good": 3, "dent": 3}, first_seed=100)
    before = content(finished)
    answer = evaluate_on(door, finished, root, tmp_path / "out")
    check_refusal(answer, str(root), "dent", "good, crack, poke")
    assert without_logs(content(tmp_path / "out")) == {}
    check_untouched(finished, before)


@pytest.mark.parametrize("setting", ["data.image_size=[64,64]", "data.roi=auto"])
def test_size_and_crop_are_the_runs(door: Door, finished: Path, setting: str) -> None:
    before, inner = content(finished), folders(finished)
    answer = door("evaluate", f"run={finished}", "data=mvtec", "data.root=x", setting)
    check_refusal(answer, setting.partition("=")[0], "as the run was trained", status=2)
    check_untouched(finished, before)
    assert folders(finished) == inner


def test_other_images_need_a_split_of_their_own(door: Door, finished: Path, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "other", first_seed=100)
    answer = door("evaluate", f"run={finished}", "data=mvtec", f"data.root={root}")
    check_refusal(answer, "data=mvtec", "split=all_test", status=2)


@pytest.mark.parametrize(("change", "named"), [("moved away", "bottle"), ("one more", "aaa_000")])
def test_images_that_the_run_does_not_know_are_not_its_test_images(
    door: Door, finished_home: Path, finished: Path, tmp_path: Path, change: str, named: str
) -> None:
    root = shutil.copytree(finished_home / "bottle", tmp_path / "bottle")
    change_images(root, change)
    before = content(finished)
    answer = door("evaluate", f"run={finished}", f"data.root={root}", f"output={tmp_path / 'out'}")
    check_refusal(answer, named)
    check_untouched(finished, before)


def change_images(root: Path, how: str) -> None:
    if how == "moved away":
        root.rename(root.with_name("elsewhere"))
    elif how == "one changed":
        draw(root / "train/good/000.png", seed=999)
    elif how == "one more":
        draw(root / "train/good/aaa_000.png", seed=999)
    else:
        (root / "train/good/000.png").unlink()


OTHER_IMAGES = "{root}: the images are not those that this run began with"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("moved away", "{root}: there is no such folder"),
        ("one changed", OTHER_IMAGES),
        ("one more", "{run}/split.csv: 1 of 19 images have no row"),
        ("one less", OTHER_IMAGES),
    ],
)
def test_a_run_is_not_resumed_on_other_images(
    door: Door, finished_home: Path, finished: Path, tmp_path: Path, change: str, expected: str
) -> None:
    root = shutil.copytree(finished_home / "bottle", tmp_path / "bottle")
    change_images(root, change)
    before = content(finished)
    answer = door("train", f"resume={finished}", "task.epochs=3", f"data.root={root}")
    check_refusal(answer, expected.format(root=root, run=finished))
    check_untouched(finished, before)


@pytest.mark.parametrize(
    "setting",
    ["optimizer.lr=0.1", "model.width=12", "seed=3", "data.roi=auto", "split=kfold", "model=timm"],
)
def test_what_may_not_change_is_refused(door: Door, finished: Path, setting: str) -> None:
    before = content(finished)
    answer = door("train", f"resume={finished}", "task.epochs=3", setting)
    check_refusal(answer, setting.partition("=")[0], status=2)
    check_untouched(finished, before)


def test_a_live_run_is_not_resumed(door: Door, finished: Path) -> None:
    before = content(finished)
    with FileLock(finished / "run.lock"):
        answer = door("train", f"resume={finished}", "task.epochs=3")
    check_refusal(answer, str(finished), "another process")
    check_untouched(finished, before)


def test_a_run_with_nothing_left_to_do_stays_finished(door: Door, finished: Path) -> None:
    before = content(finished)
    check_refusal(door("train", f"resume={finished}"), str(finished), "task.epochs=4")
    check_untouched(finished, before)


def test_a_moved_run_is_resumed_and_keeps_its_best_epoch(
    door: Door, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = read_checkpoint(finished / BEST)["epoch"]
    # A worse third epoch must not take the place of the best one.
    monkeypatch.setattr(
        "capsule_inspection.tasks.smoothing.SmoothedFigure.update", lambda self, value: -1.0
    )
    answer = door("train", f"resume={finished}", "task.epochs=3")
    assert answer.status == 0, answer.err
    assert read_checkpoint(finished / LAST)["epoch"] == 2
    assert read_checkpoint(finished / BEST)["epoch"] == best


SETTINGS = ("data=mvtec", "task.epochs=3")


def check_stopped_and_resumed(
    door: Door, answer: Answer, run: Path, *, make_room: Callable[[], None]
) -> None:
    """The first epoch is kept, and a resumed run ends as any other."""
    check_refusal(answer, str(run), "disk is full", f"resume={run}")
    for name in (LAST, BEST):
        assert read_checkpoint(run / name)["epoch"] == 0
    assert not strays(run)
    make_room()
    answer = door("train", f"resume={run}")
    assert answer.status == 0, answer.err
    assert record_of(run)["status"] == "finished"
    assert "error" not in record_of(run)
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [0, 1, 2]


def test_a_full_disk_keeps_the_last_whole_checkpoint(
    door: Door, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    save = torch.save

    def fail(checkpoint: dict, file: Any) -> None:
        if checkpoint["epoch"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", fail)
    root = f"data.root={finished_home / 'bottle'}"
    cache = f"data.cache_folder={finished_home / 'cache'}"
    answer = door("train", *QUICK, *SETTINGS, root, cache, f"hydra.run.dir={run}")
    assert record_of(run)["status"] == "failed"
    assert "No space left" in record_of(run)["error"]
    check_stopped_and_resumed(
        door,
        answer,
        run,
        make_room=lambda: monkeypatch.setattr(torch, "save", save),
    )


DRIVER = """
import shutil, sys, runpy
from pathlib import Path
from lightning.pytorch.callbacks import ModelCheckpoint
save, filler = ModelCheckpoint._save_checkpoint, Path({disk!r}) / "filler"
def fill_first(self, trainer, path):
    if trainer.current_epoch == 1 and not filler.exists():
        filler.write_bytes(bytes(shutil.disk_usage(filler.parent).free - 8192))
    save(self, trainer, path)
if "--fill" in sys.argv:
    ModelCheckpoint._save_checkpoint = fill_first
    sys.argv.remove("--fill")
runpy.run_path({train!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full_keeps_the_last_whole_checkpoint(
    finished_home: Path, tmp_path: Path
) -> None:
    """On a file system of 4 MB, which vanishes with the process that mounted it."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(disk=str(disk), train=str(REPOSITORY / "train.py")))
    settings = [f"data.root={finished_home / 'bottle'}"]
    settings += [f"data.cache_folder={finished_home / 'cache'}", f"hydra.run.dir={disk / 'run'}"]
    train = shlex.join([sys.executable, str(driver), "--fill", *QUICK, *SETTINGS, *settings])
    mount = f"mount -t tmpfs -o size=4m tmpfs {shlex.quote(str(disk))} || exit 99"
    copy = f"cp -r {shlex.quote(str(disk / 'run'))} {shlex.quote(str(kept))}"
    answer = subprocess.run(
        [
            "unshare",
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            f"{mount}; {train}; s=$?; {copy}; exit $s",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    if "unshare" in answer.stderr or answer.returncode == 99:
        pytest.skip(f"no small disk can be made here ({answer.stderr.strip()})")
    said = Answer(answer.returncode, answer.stdout, answer.stderr)
    check_refusal(said, "disk is full", f"resume={disk / 'run'}")
    for name in (LAST, BEST):
        assert read_checkpoint(kept / name)["epoch"] == 0
    assert not strays(kept)
    assert record_of(kept)["status"] in ("failed", "running")
