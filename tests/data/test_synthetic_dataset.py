"""The synthetic data set is rendered once for its parameters, by one of several runs."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from image_folders import find_mvtec_samples

from capsule_inspection import file_list
from capsule_inspection.data import synthetic_dataset
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.files import make_partial_dir
from capsule_inspection.types import FILE_LIST, DataError

RENDER = "capsule_inspection.synthetic.dataset.render_dataset"


def ensure(folder: Path, **changed: Any) -> Path:
    usual = {"seed": 3, "size_px": 64, "counts": {"good": 3, "crack": 1}, "workers": 0}
    return synthetic_dataset.load_or_render_dataset(folder, **(usual | changed))


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch, write_image: Callable[..., Path]) -> list[Path]:
    """Folders rendered, by a stand-in that writes one image."""
    rendered: list[Path] = []

    def render_dataset(folder: Path, **settings: Any) -> None:
        time.sleep(0.05)  # time enough for others to come in between
        rendered.append(folder)
        write_image(folder / "train/good/000.png", seed=settings["seed"])

    monkeypatch.setattr(RENDER, render_dataset)
    return rendered


def test_what_is_rendered_has_the_mvtec_layout(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    found = find_mvtec_samples(ensure(tmp_path, progress=lambda *now: calls.append(now)))
    assert found.classes == ("good", "crack")
    assert len(found.samples) == 4
    assert calls[-1] == (4, 4)


def test_each_parameter_that_matters_has_a_folder_of_its_own_rendered_once(
    tmp_path: Path, renderings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(4) as pool:
        (first,) = set(pool.map(lambda _: ensure(tmp_path), range(4)))
    assert ensure(tmp_path) == first
    # Neither order nor zeros nor workers matter.
    assert ensure(tmp_path, counts={"poke": 0, "crack": 1, "good": 3}, workers=2) == first
    assert renderings == [first]
    assert first.parent == tmp_path
    assert first.name.startswith("capsule-4x64px-seed3-")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", first.name)  # needs no quotes
    for change in ({"seed": 4}, {"size_px": 65}, {"counts": {"good": 2, "crack": 1}}):
        ensure(tmp_path, **change)
    monkeypatch.setattr(synthetic_dataset, "CAPSULE_VERSION", 99)
    ensure(tmp_path)
    assert len(set(renderings)) == len(renderings) == 5


def test_a_rendering_that_was_killed_or_failed_is_begun_again(
    tmp_path: Path, renderings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RENDER, fail)
        with pytest.raises(DataError, match=r"\(No space left on device\).*data\.root"):
            ensure(tmp_path)
    assert ensure(tmp_path) == renderings[0]
    shutil.rmtree(renderings[0])
    left = make_partial_dir(renderings[0])
    (left / "000.png").write_bytes(b"half")
    assert ensure(tmp_path) == renderings[0]
    assert not left.exists()


def pixels(folder: Path) -> dict[str, bytes]:
    """The images and masks of a data set, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 16]) + content[101:])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an empty image": lambda folder: (folder / "train/good/001.png").write_bytes(b""),
    "all files empty": lambda folder: [path.write_bytes(b"") for path in folder.rglob("*.*g")],
    "a missing mask": lambda folder: (folder / "ground_truth/crack/000_mask.png").unlink(),
    "a flipped byte": lambda folder: flip(folder / "test/crack/000.png"),
    "no list of files": lambda folder: (folder / FILE_LIST).unlink(),
    "an empty list of files": lambda folder: (folder / FILE_LIST).write_bytes(b""),
    "a changed list of files": lambda folder: flip(folder / FILE_LIST),
    "a folder in place of a file": lambda folder: (
        (folder / "train/good/001.png").unlink(),
        (folder / "train/good/001.png").mkdir(),
    ),
    "one file alone": lambda folder: [
        shutil.rmtree(folder / name) for name in ("train", "ground_truth")
    ],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_an_incomplete_or_damaged_set_is_drawn_again_and_nothing_is_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]
) -> None:
    folder = ensure(tmp_path)
    sound = pixels(folder)
    (folder / "own.txt").write_text("mine")
    assert ensure(tmp_path) == folder
    assert pixels(folder) == sound
    for number in (1, 2):
        damage(folder)
        with caplog.at_level(logging.WARNING):
            assert ensure(tmp_path) == folder
        assert f"drawn again; the damaged one is then {folder.name}.damaged-{number}" in caplog.text
        assert pixels(folder) == sound
    assert (tmp_path / f"{folder.name}.damaged-1" / "own.txt").read_text() == "mine"
    caplog.clear()
    assert ensure(tmp_path) == ensure(tmp_path, verify="full") == folder
    assert not caplog.text


def test_a_byte_that_the_times_do_not_show_is_found_by_verify_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ensure(tmp_path)
    sound = pixels(folder)
    known = {path: file_list._status(path) for path in folder.rglob("*.png")}
    monkeypatch.setattr(file_list, "_status", lambda path: known[path])
    flip(folder / "train/good/000.png")
    ensure(tmp_path)
    assert pixels(folder) != sound
    monkeypatch.undo()
    ensure(tmp_path, verify="full")
    assert pixels(folder) == sound


def test_a_copy_of_a_set_is_as_good_and_the_list_is_no_file_of_the_data(tmp_path: Path) -> None:
    folder = ensure(tmp_path / "a")
    shutil.copytree(folder, tmp_path / "b" / folder.name, copy_function=shutil.copyfile)
    assert ensure(tmp_path / "b") == tmp_path / "b" / folder.name
    assert len(list((tmp_path / "b").iterdir())) == 1
    tree = scan_tree(folder)
    assert FILE_LIST not in (*tree.files, *tree.system)


def test_a_folder_that_cannot_be_made_and_an_unknown_class_are_errors(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written.*data\.root"):
        ensure(tmp_path / "file" / "data")
    with pytest.raises(DataError, match=r"data\.counts: dent"):
        ensure(tmp_path / "drawn", counts={"good": 1, "dent": 1})


@pytest.mark.parametrize("name", ["good/000.png", "001.png", "notes.txt", "capsule/train/a.png"])
def test_nothing_is_drawn_into_a_folder_with_anything_else(
    tmp_path: Path, renderings: list[Path], name: str
) -> None:
    other = tmp_path / "mine" / name
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(DataError, match=rf"something else \({name.split('/')[0]}.*data=auto"):
        ensure(tmp_path / "mine")
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [other]
    assert not renderings


def test_drawn_sets_their_locks_and_the_cache_are_not_anything_else(
    tmp_path: Path, renderings: list[Path]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / ".gitkeep").touch()
    ensure(tmp_path, cache_folder=tmp_path / "cache")
    (renderings[0] / FILE_LIST).unlink()
    make_partial_dir(renderings[0])
    ensure(tmp_path, cache_folder=tmp_path / "cache")  # with one that is damaged now
    ensure(tmp_path, cache_folder=tmp_path / "cache", seed=4)
    assert len(renderings) == 3
    # One that is drawn is found, whatever has come beside it.
    (tmp_path / "mine.png").touch()
    assert ensure(tmp_path, seed=4).parent == tmp_path
    with pytest.raises(DataError, match=r"something else \(cache/, mine\.png\)"):
        ensure(tmp_path, seed=5)
