"""Bad images and masks, odd names and old caches: each kind of fault is tested in tests/data."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from quick import (
    ODD_NAME,
    QUICK,
    check_error,
    content,
    draw_mvtec,
    record_of,
    rows_of,
    temporary_files,
)
from small import REPOSITORY, Cli

from capsule_inspection.data import cache
from capsule_inspection.workflows import train
from capsule_inspection.workflows.dataset import load_dataset
from capsule_inspection.workflows.record import RunRecord

Compose = Callable[..., DictConfig]
BAD = {
    "test/crack/000.png": "is not a PNG, JPEG",
    "test/poke/000.png": "ground_truth/poke/000_mask.png: there is no such file",
    "train/good/000.png": "cut short",
    "train/good/001.png": "is empty (0 bytes)",
    "train/good/002.png": "is 20000x20000 pixels",
}


@pytest.fixture
def damaged(mvtec: Path) -> Path:
    """Images of which those of BAD cannot be used."""
    path = mvtec / "train/good/000.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (mvtec / "train/good/001.png").write_bytes(b"")
    write_bomb(mvtec / "train/good/002.png")
    (mvtec / "test/crack/000.png").write_text("these are words")
    (mvtec / "ground_truth/poke/000_mask.png").unlink()
    return mvtec


def write_bomb(path: Path) -> None:
    """A PNG of some hundred bytes that claims 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))


def settings_for(root: Path) -> list[str]:
    return [*QUICK, "data=mvtec", f"data.root={root}", f"data.cache_folder={root.parent / 'cache'}"]


def test_all_bad_files_are_named_at_once_and_no_run_is_left(cli: Cli, damaged: Path) -> None:
    run, before = damaged.parent / "runs" / "run", content(damaged)
    result = cli("train", *settings_for(damaged), f"hydra.run.dir={run}")
    expected = [f"{damaged}: 5 of 18 images cannot be used", "data.on_bad_file=skip"]
    for name, reason in BAD.items():
        expected += [f"{name}: ", reason]
    check_error(result, *expected)
    assert not run.parent.exists()
    assert not temporary_files(damaged.parent)
    assert content(damaged) == before


def test_skipped_files_are_listed_in_the_record(
    compose: Compose, damaged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = compose("train", *settings_for(damaged), "data.on_bad_file=skip")
    (tmp_path / "run").mkdir()
    record = RunRecord.create(tmp_path / "run", seed=0)
    with caplog.at_level(logging.WARNING):
        train._prepare(config, record.folder, record, None)
    record.close("failed")
    assert "Skipped: 5 files" in caplog.text
    data = record_of(record.folder)["data"]
    assert sorted(file["path"] for file in data["skipped"]) == sorted(BAD)
    assert all(BAD[file["path"]] in file["reason"] for file in data["skipped"])
    assert sum(data["images"].values()) == 13
    assert data["layout"] == "MVTec AD"
    assert data["inventory"]["summary"].startswith("18 images")


def test_odd_characters_in_paths_do_no_harm(cli: Cli, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / ODD_NAME / "瓶 ü'\"")
    masks = root / "ground_truth" / "poke"
    (root / "test" / "poke" / "000.png").rename(root / "test" / "poke" / "膠囊, (1)=.png")
    (masks / "000_mask.png").rename(masks / "膠囊, (1)=_mask.png")
    good = root / "test" / "flawless, 良=(1)"
    (root / "train" / "good").rename(good)
    # On Linux, names are any bytes.
    no_text = good / (os.fsdecode(b"caf\xe9.png") if sys.platform == "linux" else "café.png")
    (good / "000.png").rename(no_text)
    data = [
        *("data=folder", f"data.root={root / 'test'}", f"data.masks={root / 'ground_truth'}"),
        "data.good_class='flawless, 良=(1)'",
        f"data.cache_folder={tmp_path / ODD_NAME / 'cache = ,('}",
    ]
    learn_from_masks = ("model.mask_loss_weight=1", "data.copy_paste=0.25")
    run, odd = tmp_path / "run", tmp_path / ODD_NAME / "a run, (1)=2"
    result = cli("train", *QUICK, *data, *learn_from_masks, f"hydra.run.dir={run}")
    assert result.status == 0, result.err
    assert float(rows_of(run, "metrics.csv")[0]["train/mask_loss"]) > 0
    assert record_of(run)["data"]["root"] == str(root / "test")
    assert sum(record_of(run)["data"]["images"].values()) == 18
    shutil.copytree(run, odd)
    result = cli("evaluate", f"run={odd}", f"output={tmp_path / ODD_NAME / 'out, =('}")
    assert result.status == 0, result.err
    result = cli("train", f"resume={odd}", "task.epochs=2")
    assert result.status == 0, result.err
    assert record_of(odd)["epochs"] == 2
    no_text.write_bytes(b"")
    result = cli("train", *QUICK, *data, f"hydra.run.dir={tmp_path / 'again'}")
    check_error(result, "caf", "is empty (0 bytes)")
    assert not (tmp_path / "again").exists()


def test_a_cache_of_another_version_is_built_again(
    compose: Compose, mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose("train", *settings_for(mvtec))
    before = load_dataset(config.data)[1].path
    assert load_dataset(config.data)[1].path == before
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    assert load_dataset(config.data)[1].path != before


def run_without_torch(folder: Path, *commands: list[str]) -> tuple[list[str], str]:
    """Runs commands in a process of their own; status and modules of each, and what they print."""
    code = (
        "import runpy, sys\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = command\n"
        "    try:\n"
        f"        runpy.run_path({str(REPOSITORY)!r} + '/train.py', run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        names = {'torch', 'lightning', 'timm'} & set(sys.modules)\n"
        "        print('ended', end.code, *sorted(names))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True
    )
    lines = ended.stdout.splitlines()
    return [line for line in lines if line.startswith("ended")], ended.stdout + ended.stderr


def test_mistakes_in_data_import_no_torch_and_leave_nothing(tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "bottle")
    few = draw_mvtec(tmp_path / "few")
    for path in sorted((few / "test/poke").iterdir())[1:]:
        path.unlink()
        (few / "ground_truth/poke" / f"{path.stem}_mask.png").unlink()
    bad = draw_mvtec(tmp_path / "bad")
    (bad / "test/poke/000.png").write_bytes(b"")
    (tmp_path / "table.csv").write_text("picture_of,kind\n1,2\n")
    (tmp_path / "labels.json").write_text("{")
    commands = {
        f"data.root={tmp_path / 'nosuch'}": "there is no such file or folder",
        f"data.root={root / 'train'}": "all 8 images are of the class good",
        f"data=synthetic data.root={root}": "something else (ground_truth/, test/, train/)",
        f"experiment=quickstart data.root={root}": "so nothing is drawn",
        f"data=folder data.root={root} data.good_class=fine": "no folder of data.good_class=fine",
        f"data=visa data.root={root}": "VisA",
        f"data=coco data.root={root} data.annotations={tmp_path / 'labels.json'}": "labels.json",
        f"data.path={tmp_path / 'table.csv'}": "table.csv",
        f"data=mvtec data.root={few} split=holdout": "poke has 1 image",
        f"data=mvtec data.root={root} split=kfold split.folds=9": "for split.folds=9",
        f"data=mvtec data.root={bad}": "is empty (0 bytes)",
        f"data=mvtec data.root={few / 'train'} inspect=true": "MVTec AD",
    }
    before = {path: content(path) for path in (root, few, bad)}
    with_cache = [
        ["train.py", *QUICK, f"data.cache_folder={tmp_path / 'cache'}", *each.split()]
        for each in commands
    ]
    statuses, printed = run_without_torch(tmp_path, *with_cache)
    assert statuses == ["ended 1"] * len(commands), printed
    for expected in commands.values():
        assert expected in printed
    assert printed.count("data=auto, since data.root is given and data= is not.") == 2
    assert not (tmp_path / "outputs").exists()
    assert {path: content(path) for path in before} == before


def test_a_data_set_is_inspected_without_torch(tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "bottle")
    given = [*QUICK, f"data.root={root}", f"data.cache_folder={tmp_path / 'cache'}"]
    statuses, printed = run_without_torch(tmp_path, ["train.py", *given, "inspect=true"])
    assert statuses == ["ended 0"], printed
