"""The image cache: its content, and what happens when it is damaged or too large."""

from __future__ import annotations

import errno
import logging
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_folders import found_in, load
from PIL import Image

from capsule_inspection.data import sample_reader
from capsule_inspection.data.cache import CacheWriter, ImageCache
from capsule_inspection.data.cached_rows import CheckedRows
from capsule_inspection.data.file_facts import facts_path
from capsule_inspection.data.layouts.samples import FoundSamples
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import IGNORE_INDEX, ConfigurationError, DataError


def part(number: int) -> np.ndarray:
    """A dark ellipse on grey, 100 high and 160 wide; its colour tells the number."""
    image = np.full((100, 160, 3), 205, np.uint8)
    cv2.ellipse(image, (80, 50), (60, 20), 0, 0, 360, (20 + 5 * number, 30, 60), -1)
    return image


def write_images(root: Path, count: int = 4) -> FoundSamples:
    """Images 0, 2, ... are good; 1, 3, ... are cracked and have a mask."""
    root.mkdir(parents=True, exist_ok=True)
    masks: dict[str, str | None] = {}
    for number in range(count):
        name = f"{number:03d}.png"
        Image.fromarray(part(number)).save(root / name)
        masks[name] = f"{number:03d}_mask.png" if number % 2 else None
        if number % 2:
            defect = np.zeros((100, 160), np.uint8)
            defect[45:55, 70:90] = 255
            Image.fromarray(defect).save(root / f"{number:03d}_mask.png")
    return found_in(root, masks)


@pytest.fixture
def found(tmp_path: Path) -> FoundSamples:
    return write_images(tmp_path / "images")


def build(found: FoundSamples, folder: Path, roi: object = "auto", **other: object) -> ImageCache:
    return load(found, folder, roi=roi, **other)[1]


def test_rows_follow_the_index_and_hold_images_masks_and_boxes(
    found: FoundSamples, tmp_path: Path
) -> None:
    cache = build(found, tmp_path / "cache", workers=2)
    assert len(cache) == 4
    assert cache.images.shape == (4, 24, 48, 3)
    assert cache.images[:].dtype == np.uint8
    assert cache.masks.shape == (4, 24, 48)
    assert cache.boxes.dtype == np.float32
    assert cache.roi_found.tolist() == [True] * 4
    assert cache.images[:, 12, 24, 0].tolist() == [20, 25, 30, 35]
    assert not cache.images[:].flags.writeable
    assert cache.images[np.array([3, 0])].flags.c_contiguous
    assert not cache.masks[[0, 2]].any()
    assert set(np.unique(cache.masks[[1, 3]])) == {0, 1}
    rows, columns = np.nonzero(cache.masks[1])
    x0, y0, x1, y1 = cache.boxes[1].tolist()
    corner = (columns.min() / 48 * (x1 - x0) + x0, (rows.max() + 1) / 24 * (y1 - y0) + y0)
    assert corner == pytest.approx((70, 55), abs=(x1 - x0) / 48)


def test_a_mask_of_several_classes_keeps_each_of_them(found: FoundSamples, tmp_path: Path) -> None:
    defects = np.zeros((100, 160), np.uint8)
    defects[45:55, 40:60], defects[45:55, 90:110] = 1, 2
    Image.fromarray(defects).save(found.root / "001_mask.png")
    found = replace(found, classes=("good", "crack", "poke"))
    cache = build(found, tmp_path / "cache", "none")
    assert set(np.unique(cache.masks[1])) == {0, 1, 2}
    assert set(np.unique(cache.masks[3])) == {0, 1}
    columns = [np.flatnonzero((cache.masks[1] == number).any(axis=0)) for number in (1, 2)]
    x0, _, x1, _ = cache.boxes[1].tolist()
    starts = [place.min() / 48 * (x1 - x0) + x0 for place in columns]
    assert starts == pytest.approx([40, 90], abs=(x1 - x0) / 48)
    pokes = [replace(s, class_name="poke") if s.mask else s for s in found.samples]
    later = build(replace(found, samples=tuple(pokes)), tmp_path / "cache")
    assert set(np.unique(later.masks[3])) == {0, 2}


def test_padding_is_not_valid(found: FoundSamples, tmp_path: Path) -> None:
    cache = build(found, tmp_path / "cache", "none", image_size=(50, 120))
    valid = cache.valid(np.array([2, 0]))
    assert valid.shape == (2, 50, 120)
    assert valid.dtype == bool
    # 160x100 at half its size stands in the middle of 120x50.
    assert valid[0].all(axis=0).tolist() == [False] * 20 + [True] * 80 + [False] * 20
    assert (cache.images[0][:, :20] == 205).all()


def test_a_crop_is_valid_throughout_and_shows_its_own_defects(
    found: FoundSamples, tmp_path: Path
) -> None:
    cache = build(found, tmp_path / "cache", [20, 20, 100, 60])
    assert cache.valid([0, 1, 2, 3]).all()
    assert cache.boxes[0].tolist() == [20, 20, 100, 60]
    assert cache.masks[:].any()
    with pytest.raises(DataError, match=r"all that the masks mark in 2 of 2 images of crack"):
        build(found, tmp_path / "cache", [0, 0, 60, 30])


def test_number_of_workers_does_not_change_a_byte(tmp_path: Path) -> None:
    found = write_images(tmp_path / "images", count=40)
    one, three = build(found, tmp_path / "a"), build(found, tmp_path / "b", workers=3)
    assert one.path.read_bytes() == three.path.read_bytes()


def test_rows_of_bad_files_are_left_out(found: FoundSamples, tmp_path: Path) -> None:
    whole = build(found, tmp_path / "whole")
    for name in ("000.png", "002.png"):
        (found.root / name).write_bytes(b"")
    index, cache = load(found, tmp_path / "cache", on_bad_file="skip")
    assert [sample.path for sample in index.samples] == ["001.png", "003.png"]
    for name in ("images", "masks", "boxes", "content_boxes", "foregrounds"):
        assert np.array_equal(getattr(cache, name), getattr(whole, name)[[1, 3]]), name
    assert load(found, tmp_path / "cache", on_bad_file="skip")[1].path == cache.path


def test_all_that_decides_its_bytes_makes_another_file(found: FoundSamples, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    settings = ({}, {"roi": "none"}, {"roi": [0, 0, 160, 80]}, {"margin": 0.3}, {"enlarge": False})
    paths = [build(found, folder, **setting).path for setting in settings]  # type: ignore[arg-type]
    paths.append(build(found, folder, image_size=(24, 40)).path)
    paths.append(build(replace(found, classes=("good", "crack", "poke")), folder).path)
    first, second, *rest = found.samples
    others = (
        (second, *rest, first),
        (first, *rest),
        (first, replace(second, class_name="good", mask=None), *rest),
        (first, replace(second, mask=None), *rest),
    )
    paths += [build(replace(found, samples=samples), folder).path for samples in others]
    Image.fromarray(part(9)).save(found.root / "000.png")
    paths.append(build(found, folder).path)
    Image.fromarray(np.full((100, 160), 255, np.uint8)).save(found.root / "001_mask.png")
    changed = build(found, folder)
    assert changed.masks[1].all()
    paths.append(changed.path)
    assert len(set(paths)) == len(paths) == 13
    split = [replace(sample, split="test", group="g") for sample in found.samples]
    assert build(replace(found, samples=tuple(split)), folder).path == changed.path


def flip(path: Path, place: int) -> None:
    """Change a byte in place, in a file that may be mapped."""
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ 16]))


def test_damaged_cache_is_built_again_with_a_warning(
    found: FoundSamples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = build(found, tmp_path / "cache")
    expected, path, content = cache.images[:].copy(), cache.path, cache.path.read_bytes()
    rows = np.load(path)
    del cache
    huge = content.replace(b"(4,)", b"(%d,)" % 10**9).replace(b" " * 9, b"", 1)
    assert len(huge) == len(content)
    damages: tuple[Callable[[], object], ...] = (
        lambda: path.write_bytes(content[:-100]),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(bytes(len(content))),
        lambda: path.write_bytes(content + b"more"),
        lambda: path.write_bytes(huge),
        lambda: path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]),
        lambda: np.save(path, np.zeros(4, np.uint8)),
        lambda: np.save(path, rows[:3]),
    )
    for damage in damages:
        path.unlink()
        damage()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            again = build(found, tmp_path / "cache")
        assert np.array_equal(again.images, expected)
        assert "built again" in caplog.text
        assert path.read_bytes() == content


def test_the_cache_of_other_images_is_not_taken_for_this_one(
    found: FoundSamples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = build(found, tmp_path / "cache")
    expected, path = cache.images[:].copy(), cache.path
    Image.fromarray(part(9)).save(found.root / "000.png")
    other = build(found, tmp_path / "cache").path
    Image.fromarray(part(0)).save(found.root / "000.png")
    other.replace(path)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(build(found, tmp_path / "cache").images, expected)
    assert "built again" in caplog.text


@pytest.mark.parametrize("verify", ["fast", "full"])
def test_a_changed_byte_in_a_row_is_made_again_and_named(
    found: FoundSamples, tmp_path: Path, caplog: pytest.LogCaptureFixture, verify: str
) -> None:
    path = build(found, tmp_path / "cache").path
    content = path.read_bytes()
    length = len(np.load(path)[:1].tobytes())
    start = 192  # bytes of the header
    for field, place in {"images": 9, "masks": 24 * 48 * 3 + 9, "foregrounds": length - 9}.items():
        flip(path, start + 2 * length + place)
        flip(path, start + 3 * length + place)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            cache = build(found, tmp_path / "cache", verify=verify)
            assert ("002.png is damaged" in caplog.text) == (verify == "full")
            getattr(cache, field)[2]
            assert ("003.png is damaged" in caplog.text) == (verify == "full")
            assert cache.model_inputs(np.arange(4))
        assert caplog.text.count("is damaged; it was made again") == 2
        assert path.read_bytes() == content


def test_rows_are_checked_once_and_when_they_are_used(
    found: FoundSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(found, tmp_path / "cache")
    checked: list[int] = []
    is_sound = CheckedRows._is_sound
    monkeypatch.setattr(
        CheckedRows, "_is_sound", lambda rows, row: checked.append(row) or is_sound(rows, row)
    )
    cache = build(found, tmp_path / "cache")
    assert checked == []
    for use in (
        lambda: cache.images[1],
        lambda: cache.masks[-3],
        lambda: cache.foregrounds[np.array([0, 1])],
        lambda: cache.images[[False, False, True, False]],
        lambda: cache.masks[2:, 3:5],
        lambda: [*cache.images],
    ):
        use()
    assert checked == [1, 0, 2, 3]


def test_a_damaged_row_whose_image_is_gone_or_another_is_an_error(
    found: FoundSamples, tmp_path: Path
) -> None:
    cache = build(found, tmp_path / "cache")
    for row in (1, 2, 3):
        flip(cache.path, 192 + row * cache.rows.values.itemsize)
    (found.root / "001.png").unlink()
    Image.fromarray(part(8)).save(found.root / "002.png")
    Image.fromarray(np.full((100, 160), 255, np.uint8)).save(found.root / "003_mask.png")
    for row, reason in {1: "no such file", 2: "has changed", 3: "has changed"}.items():
        match = rf"00{row}\.png is damaged, and cannot be made again: .*{reason}.* delete \w+\.npy"
        with pytest.raises(DataError, match=match):
            cache.masks[row]


def test_what_a_killed_process_left_does_no_harm(found: FoundSamples, tmp_path: Path) -> None:
    path = build(found, tmp_path / "cache").path
    content = path.read_bytes()
    path.unlink()
    name = facts_path(Path(), found.root).name
    (path.parent / f"{name}.partial").write_bytes(b"half" * len(content))
    assert build(found, tmp_path / "cache").path.read_bytes() == content
    assert leftovers(tmp_path / "cache") == [path]


def test_images_without_a_part_are_used_whole(found: FoundSamples, tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (100, 160, 3)).astype(np.uint8)
    Image.fromarray(texture).save(found.root / "002.png")
    cache = build(found, tmp_path / "cache", image_size=(20, 32))
    assert cache.roi_found.tolist() == [True, True, False, True]
    assert cache.boxes[2].tolist() == [0, 0, 160, 100]


def test_what_the_crop_does_to_defects_is_kept_with_their_image(
    found: FoundSamples, tmp_path: Path
) -> None:
    cache = build(found, tmp_path / "cache", "none", image_size=(50, 80))
    assert cache.defect_inside.tolist() == pytest.approx([np.nan, 1, np.nan, 1], nan_ok=True)
    assert cache.defect_on_part.tolist() == pytest.approx([np.nan, 1, np.nan, 1], nan_ok=True)
    # 10 pixels high, at half of its size.
    assert cache.defect_thickness[[1, 3]].tolist() == pytest.approx([5, 5], abs=0.25)
    assert not cache.ignored_fraction.any()
    half = build(found, tmp_path / "cache", [0, 0, 80, 100], image_size=(50, 40))
    assert half.defect_inside[1] == pytest.approx(0.5)


def test_a_rim_that_the_mask_ignores_stays_around_its_defect(
    found: FoundSamples, tmp_path: Path
) -> None:
    """As in Pascal VOC: 1 the class, 255 its rim, in a coloured palette."""
    mask = np.zeros((100, 160), np.uint8)
    mask[42:58, 67:93] = IGNORE_INDEX
    mask[45:55, 70:90] = 1
    plain = build(found, tmp_path / "cache", "none", image_size=(50, 80))
    voc = Image.fromarray(mask)
    voc.putpalette([0, 0, 0, 128, 0, 0, *[0] * 759, 224, 224, 192])
    for number in (1, 3):
        voc.save(found.root / f"{number:03d}_mask.png")
    found = replace(found, mask_rules=MaskRules(ignore=255))
    cache = build(found, tmp_path / "cache", "none", image_size=(50, 80))
    np.testing.assert_array_equal(cache.masks[1] == 1, plain.masks[1] == 1)
    ignored = cache.masks[1] == IGNORE_INDEX
    assert ignored.any(axis=1).nonzero()[0].tolist() == list(range(21, 29))
    assert ignored.any(axis=0).nonzero()[0].tolist() == list(range(33, 47))
    assert ignored.mean() == pytest.approx(cache.ignored_fraction[1])
    assert not cache.ignored_fraction[[0, 2]].any()
    np.testing.assert_array_equal(cache.valid([1]), plain.valid([1]))  # padding alone


def leftovers(folder: Path) -> list[Path]:
    return [path for path in (folder / "decoded").iterdir() if path.suffix != ".lock"]


def test_a_roi_outside_of_an_image_is_refused(found: FoundSamples, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.roi"):
        build(found, tmp_path / "cache", [0, 0, 200, 100])
    assert not leftovers(tmp_path / "cache")


def test_no_room_for_the_cache_is_a_data_error_and_leaves_nothing(
    found: FoundSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"data\.cache_folder"):
        build(found, tmp_path / "file")
    monkeypatch.setattr(CacheWriter, "_read", no_space)
    (found.root / "000.png").write_bytes(b"")  # the other rows have to be moved
    with pytest.raises(DataError, match=r"No space left.*data\.cache_folder"):
        build(found, tmp_path / "cache", on_bad_file="skip")
    assert not leftovers(tmp_path / "cache")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    monkeypatch.setattr(sample_reader, "decode_image", None)
    with pytest.raises(DataError, match="are free"):  # noticed before anything is decoded
        build(found, tmp_path / "cache", on_bad_file="skip")
