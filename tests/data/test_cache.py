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
from capsule_inspection.data.crop import crop_classes, crop_mask, resize_crop
from capsule_inspection.data.layouts.samples import FoundSamples
from capsule_inspection.data.roi import Box
from capsule_inspection.types import ConfigurationError, DataError


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
    assert cache.images.dtype == np.uint8
    assert cache.masks.shape == (4, 24, 48)
    assert cache.boxes.dtype == np.float32
    assert cache.roi_found.tolist() == [True] * 4
    assert cache.images[:, 12, 24, 0].tolist() == [20, 25, 30, 35]
    assert not cache.images.flags.writeable
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
    assert cache.masks.any()
    assert not build(found, tmp_path / "cache", [0, 0, 60, 30]).masks.any()


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
    settings = ({}, {"roi": "none"}, {"roi": [0, 0, 80, 40]}, {"margin": 0.3}, {"enlarge": False})
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


def test_damaged_cache_is_built_again_with_a_warning(
    found: FoundSamples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = build(found, tmp_path / "cache")
    expected, path, content = cache.images.copy(), cache.path, cache.path.read_bytes()
    rows = np.load(path)
    del cache
    damages: tuple[Callable[[], object], ...] = (
        lambda: path.write_bytes(content[:-100]),
        lambda: path.write_bytes(b""),
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


def test_images_without_a_part_are_counted_and_used_whole(
    found: FoundSamples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (100, 160, 3)).astype(np.uint8)
    Image.fromarray(texture).save(found.root / "002.png")
    with caplog.at_level(logging.WARNING):
        cache = build(found, tmp_path / "cache", image_size=(20, 32))
    assert cache.roi_found.tolist() == [True, True, False, True]
    assert cache.boxes[2].tolist() == [0, 0, 160, 100]
    assert "1 of 4 images" in caplog.text
    assert "002.png" in caplog.text


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


def test_images_shrink_by_area_and_their_border_is_repeated() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[::4] = 200
    small, content_box = resize_crop(image, box=Box(0, 0, 40, 40), image_size=(10, 10))
    assert (small == 50).all()
    assert content_box == (0, 0, 10, 10)
    image = np.repeat(np.arange(0, 40, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(20, axis=0)
    padded, content_box = resize_crop(image, box=Box(-10, 0, 50, 20), image_size=(20, 60))
    assert content_box == (10, 0, 50, 20)
    assert padded[0, :, 0].tolist() == [0] * 10 + list(range(40)) + [39] * 10


WHOLE = {"box": Box(0, 0, 40, 40), "image_size": (10, 10)}
CORNER = {"box": Box(20, 20, 40, 40), "image_size": (10, 10)}


def test_mask_pixel_is_set_from_a_quarter_of_its_area_or_where_it_is_the_strongest() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:2, 0:2] = 1  # 4 of 16
    mask[0:1, 4:7] = 1  # 3 of 16
    mask[12:16, 12:16] = 1  # all
    small = crop_mask(mask, **WHOLE)
    assert np.argwhere(small).tolist() == [[0, 0], [3, 3]]
    assert not crop_mask(mask, **CORNER).any()
    one = np.zeros((400, 400), np.uint8)
    one[201, 77] = 1
    small = crop_mask(one, box=Box(0, 0, 400, 400), image_size=(10, 10))
    assert np.argwhere(small).tolist() == [[5, 1]]


def test_each_class_is_cut_by_itself() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:8, 0:8], mask[20:30, 4:30] = 3, 1
    small = crop_classes(mask, **WHOLE)
    assert small.dtype == np.uint8
    for number in (1, 3):
        cut = crop_mask((mask == number).astype(np.uint8), **WHOLE)
        np.testing.assert_array_equal(small == number, cut)
    assert set(np.unique(crop_classes(mask, **CORNER))) == {0, 1}


def test_of_two_classes_that_claim_a_pixel_the_rarer_wins_or_of_equal_ones_the_later() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:2, 0:4], mask[2:4, 0:2], mask[20:40] = 2, 1, 2
    assert crop_classes(mask, **WHOLE)[0, 0] == 1
    equal = np.zeros((40, 40), np.uint8)
    equal[0:4, 0:2], equal[0:4, 2:4] = 2, 1
    assert crop_classes(equal, **WHOLE)[0, 0] == 2
