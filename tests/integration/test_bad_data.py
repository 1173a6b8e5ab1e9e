"""Bad images, masks, folders and caches: train.py says what is wrong, and loses nothing."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from quick import (
    ODD_NAME,
    QUICK,
    check_refusal,
    content,
    draw_mask,
    draw_mvtec,
    record_of,
    strays,
)
from small import REPOSITORY, Answer, Door

from capsule_inspection.data import cache

pytestmark = pytest.mark.usefixtures("without_pictures")

Damage = Callable[[Path], object]


def train(door: Door, root: Path, *settings: str, layout: str = "mvtec") -> Answer:
    """Train on a folder, with run and cache beside it."""
    home = root.parent
    own = [f"data.cache_folder={home / 'cache'}", f"hydra.run.dir={home / 'run'}"]
    return door("train", *QUICK, f"data={layout}", f"data.root={root}", *own, *settings)


def check_failed(answer: Answer, home: Path, *expected: str) -> None:
    """A refusal with status 1 that the record repeats; no result and no half-written file."""
    check_refusal(answer, *expected)
    run = home / "run"
    record = record_of(run)
    assert record["status"] == "failed"
    assert all(text in record["error"] for text in expected)
    assert not (run / "checkpoints").exists()
    assert not list(run.glob("predictions.csv"))
    assert not strays(home)


def write_bomb(path: Path) -> None:
    """A PNG of some hundred bytes that claims 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))


def cut(path: Path, *, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


GOOD, CRACK = "train/good/000.png", "test/crack/001.png"
CRACK_MASK = "ground_truth/crack/001_mask.png"

BAD_FILES: dict[str, tuple[str, Damage, tuple[str, ...]]] = {
    "truncated": (GOOD, lambda root: cut(root / GOOD), ("cut short",)),
    "zero bytes": (GOOD, lambda root: (root / GOOD).write_bytes(b""), ("is empty (0 bytes)",)),
    "no image": (
        GOOD,
        lambda root: (root / GOOD).write_text("these are words"),
        ("is not a PNG, JPEG, BMP, TIFF or WebP image",),
    ),
    "1x1": (
        GOOD,
        lambda root: Image.new("RGB", (1, 1)).save(root / GOOD),
        ("is 1x1 pixels", "at least 8x8"),
    ),
    "20000x20000": (
        GOOD,
        lambda root: write_bomb(root / GOOD),
        ("is 20000x20000 pixels", "data.max_pixels"),
    ),
    "dangling link": (GOOD, lambda root: dangle(root / GOOD), ("there is no such file",)),
    "mask missing": (
        CRACK,
        lambda root: (root / CRACK_MASK).unlink(),
        (CRACK_MASK, "there is no such file"),
    ),
    "mask of another size": (
        CRACK,
        lambda root: draw_mask(root / CRACK_MASK, size_px=20),
        ("mask is 20x20, its image is 40x40", "Export masks at the image's size"),
    ),
    "mask empty": (
        CRACK,
        lambda root: draw_mask(root / CRACK_MASK, empty=True),
        ("shows crack, but its mask", "is empty"),
    ),
    "mask truncated": (CRACK, lambda root: cut(root / CRACK_MASK), (CRACK_MASK, "cut short")),
    "mask of a good image": (
        GOOD,
        lambda root: draw_mask(root / "ground_truth/good/000_mask.png"),
        ("is a good image, but ground_truth/good/000_mask.png marks a defect",),
    ),
    "equal in two classes": (
        CRACK,
        lambda root: shutil.copy(root / "test/poke/002.png", root / CRACK),
        ("is labelled crack, but has the same content as test/poke/002.png", "labelled poke"),
    ),
}


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_with_reason_and_remedy(door: Door, mvtec: Path, case: str) -> None:
    name, damage, expected = BAD_FILES[case]
    damage(mvtec)
    before = content(mvtec)
    answer = train(door, mvtec)
    check_failed(answer, mvtec.parent, str(mvtec), f"{name}: ", "data.on_bad_file=skip", *expected)
    assert content(mvtec) == before


def damage_all(root: Path) -> list[str]:
    """Five bad files of different kinds; returns their names."""
    cut(root / "train/good/000.png")
    (root / "train/good/001.png").write_bytes(b"")
    write_bomb(root / "train/good/002.png")
    (root / "test/crack/000.png").write_text("these are words")
    (root / "ground_truth/poke/000_mask.png").unlink()
    return [
        "test/crack/000.png",
        "test/poke/000.png",
        "train/good/000.png",
        "train/good/001.png",
        "train/good/002.png",
    ]


def test_all_bad_files_are_named_at_once(door: Door, mvtec: Path) -> None:
    names = damage_all(mvtec)
    answer = train(door, mvtec)
    check_failed(answer, mvtec.parent, "5 of 18 images cannot be used", *names)


def test_skipped_files_are_listed_in_the_record(door: Door, mvtec: Path) -> None:
    names = damage_all(mvtec)
    answer = train(door, mvtec, "data.on_bad_file=skip")
    assert answer.status == 0, answer.err
    assert "5 files were skipped" in answer.out
    record = record_of(mvtec.parent / "run")
    assert sorted(file["path"] for file in record["data"]["skipped"]) == names
    assert all(file["reason"] for file in record["data"]["skipped"])
    assert sum(record["data"]["images"].values()) == 13


def test_where_all_files_are_bad_nothing_can_be_skipped(door: Door, mvtec: Path) -> None:
    for path in [*mvtec.glob("t*/*/*.png")]:
        path.write_bytes(b"")
    answer = train(door, mvtec, "data.on_bad_file=skip")
    check_failed(answer, mvtec.parent, "18 of 18 images", "no image is left")


@pytest.mark.parametrize("layout", ["mvtec", "folder"])
def test_a_missing_folder_is_named(door: Door, tmp_path: Path, layout: str) -> None:
    root = tmp_path / "nowhere"
    answer = train(door, root, layout=layout)
    check_failed(answer, tmp_path, str(root), "there is no such folder", "data.root")
    assert not root.exists()


@pytest.mark.parametrize("layout", ["mvtec", "folder"])
def test_an_empty_folder_is_named(door: Door, tmp_path: Path, layout: str) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    answer = train(door, root, layout=layout)
    check_failed(answer, tmp_path, str(root), "expected", "Check data.root")


def test_a_missing_manifest_is_named(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    answer = door(
        "train", *QUICK, "data=manifest", f"data.path={path}", f"hydra.run.dir={tmp_path / 'run'}"
    )
    check_failed(answer, tmp_path, str(path), "there is no such file", "data.path")


def test_a_class_with_one_image_says_how_many_are_needed(door: Door, tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "bottle", counts={"good": 8, "crack": 1, "poke": 5})
    answer = train(door, root)
    missing = "class crack has 1 image, at least {} are needed."
    check_failed(answer, tmp_path, missing.format(3), "train, val, test")
    answer = door("train", *QUICK, "data=mvtec", f"data.root={root}", "split=kfold")
    check_refusal(answer, missing.format(5), "split.folds")


def test_a_file_without_permission_is_named(
    door: Door, mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patched, because root may read everything.
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **settings: Any) -> Any:
        if self.name == "003.png" and self.parent.name == "good":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **settings)

    monkeypatch.setattr(Path, "open", refuse)
    answer = train(door, mvtec)
    check_failed(answer, mvtec.parent, "train/good/003.png: may not be read (permission denied)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["test/poke", "test/poke/001.png", "ground_truth/poke"])
def test_what_may_not_be_read_is_named(door: Door, mvtec: Path, name: str) -> None:
    (mvtec / name).chmod(0)
    try:
        answer = train(door, mvtec)
    finally:
        (mvtec / name).chmod(0o755)
    check_failed(answer, mvtec.parent, name, "permission denied")


def test_a_folder_without_permission_is_named(
    door: Door, mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = os.scandir

    def refuse(path: str | Path) -> Any:
        if str(path).endswith("test/poke"):
            raise PermissionError(13, "Permission denied")
        return scanned(path)

    monkeypatch.setattr(os, "scandir", refuse)
    answer = train(door, mvtec)
    check_failed(answer, mvtec.parent, f"{mvtec}/test/poke: the folder may not be read")


@pytest.mark.parametrize("layout", ["mvtec", "folder"])
def test_odd_characters_in_paths_do_no_harm(door: Door, tmp_path: Path, layout: str) -> None:
    root = draw_mvtec(tmp_path / ODD_NAME / "瓶 ü'\"")
    settings = [f"data.cache_folder={tmp_path / ODD_NAME / 'cache = ,('}"]
    if layout == "folder":
        (root / "test" / "poke" / "000.png").rename(root / "test" / "poke" / "膠囊, (1)=.png")
        masks = root / "ground_truth" / "poke"
        (masks / "000_mask.png").rename(masks / "膠囊, (1)=_mask.png")
        (root / "train" / "good").rename(root / "test" / "flawless, 良=(1)")
        shutil.rmtree(root / "train")
        settings += ["data.good_class='flawless, 良=(1)'", f"data.masks={root / 'ground_truth'}"]
        root = root / "test"
    run = tmp_path / "run"
    answer = door(
        "train",
        *QUICK,
        f"data={layout}",
        f"data.root={root}",
        *settings,
        f"hydra.run.dir={run}",
    )
    assert answer.status == 0, answer.err
    assert record_of(run)["data"]["root"] == str(root)
    odd = tmp_path / ODD_NAME / "a run, (1)=2"
    shutil.copytree(run, odd)
    answer = door("evaluate", f"run={odd}", f"output={tmp_path / ODD_NAME / 'out, =('}")
    assert answer.status == 0, answer.err
    answer = door("train", f"resume={odd}", "task.epochs=2")
    assert answer.status == 0, answer.err
    assert record_of(odd)["epochs"] == 2


@pytest.fixture
def warm(finished_home: Path, tmp_path: Path) -> Path:
    """A copy of the cache that the finished run has built."""
    return shutil.copytree(finished_home / "cache as built", tmp_path / "cache")


def train_again(door: Door, home: Path, cache_folder: Path) -> Path:
    """Train as the finished run was trained, with another cache; the figures are the same."""
    run = cache_folder.parent / "again"
    settings = ["data=mvtec", f"data.root={home / 'bottle'}", "task.epochs=2"]
    own = [f"data.cache_folder={cache_folder}", f"hydra.run.dir={run}"]
    answer = door("train", *QUICK, *settings, *own)
    assert answer.status == 0, answer.err
    for name in ("split.csv", "predictions.csv"):
        assert (run / name).read_bytes() == (home / "run" / name).read_bytes()
    assert not strays(cache_folder)
    return run


def test_a_cache_cut_short_is_built_again(door: Door, finished_home: Path, warm: Path) -> None:
    (path,) = (warm / "decoded").glob("*.npy")
    whole = path.read_bytes()
    cut(path)
    run = train_again(door, finished_home, warm)
    assert "it is built again" in (run / "train.log").read_text(encoding="utf-8")
    assert path.read_bytes() == whole


def test_a_cache_of_another_version_is_built_again(
    door: Door, finished_home: Path, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    train_again(door, finished_home, warm)
    assert len(list((warm / "decoded").glob("*.npy"))) == 2


def test_whatever_else_is_remembered_may_be_damaged(
    door: Door, finished_home: Path, warm: Path
) -> None:
    remembered = [
        path
        for folder in ("index", "duplicates")
        for path in (warm / folder).iterdir()
        if path.suffix != ".lock"
    ]
    assert len(remembered) == 2
    for path in remembered:
        cut(path)
    train_again(door, finished_home, warm)


def test_no_room_for_the_cache_is_said_before_decoding(
    door: Door, mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = shutil.disk_usage(mvtec)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=1))
    answer = train(door, mvtec)
    check_failed(answer, mvtec.parent, "the cache needs", "data.cache_folder")
    assert not list((mvtec.parent / "cache").rglob("*.npy"))


@pytest.mark.slow
def test_two_runs_at_once_build_one_cache(draw_two: Path) -> None:
    home = draw_two.parent
    command = [sys.executable, str(REPOSITORY / "train.py"), *QUICK, "data=mvtec"]
    command += [f"data.root={draw_two}", f"data.cache_folder={home / 'cache'}"]
    runs = [
        subprocess.Popen(
            [*command, f"hydra.run.dir={home / name}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=home,
        )
        for name in ("a", "b")
    ]
    for run in runs:
        output = run.communicate(timeout=300)[0]
        assert run.returncode == 0, output
        assert "Traceback" not in output
    assert len(list((home / "cache" / "decoded").glob("*.npy"))) == 1
    assert (home / "a/predictions.csv").read_bytes() == (home / "b/predictions.csv").read_bytes()
    assert not strays(home)


@pytest.fixture
def draw_two(tmp_path: Path) -> Path:
    """Enough images that two runs meet while they build."""
    return draw_mvtec(tmp_path / "bottle", counts={"good": 300, "crack": 50, "poke": 50})


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux only")
def test_a_name_that_is_no_utf8_does_no_harm(door: Door, mvtec: Path) -> None:
    odd = mvtec / "train" / "good" / os.fsdecode(b"caf\xe9.png")
    (mvtec / "train/good/000.png").rename(odd)
    answer = train(door, mvtec)
    assert answer.status == 0, answer.err
    odd.write_bytes(b"")
    answer = train(door, mvtec, f"hydra.run.dir={mvtec.parent / 'again'}")
    check_refusal(answer, "caf", "is empty (0 bytes)")
    assert record_of(mvtec.parent / "again")["status"] == "failed"
