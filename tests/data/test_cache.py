"""The decoded cache: what is in it, and what happens when it is damaged, contested or too large."""

from __future__ import annotations

import errno
import hashlib
import logging
import multiprocessing
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data import cache as cache_module
from capsule_inspection.data.cache import DecodedCache, in_order, open_cache
from capsule_inspection.data.cropping import cut_out, cut_out_classes, cut_out_mask
from capsule_inspection.data.roi import Box
from capsule_inspection.types import ConfigurationError, DataError, DataIndex, ImageRecord

SIZE = (24, 48)


def part(number: int) -> np.ndarray:
    """A dark ellipse on grey, 100 high and 160 wide; its colour tells the number."""
    image = np.full((100, 160, 3), 205, np.uint8)
    cv2.ellipse(image, (80, 50), (60, 20), 0, 0, 360, (20 + 5 * number, 30, 60), -1)
    return image


def make_index(root: Path, count: int = 4) -> DataIndex:
    """Images 0, 2, ... are good; 1, 3, ... are cracked and have a mask."""
    records = []
    for number in range(count):
        path, mask, label = root / f"{number:03d}.png", None, number % 2
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(part(number)).save(path)
        if label:
            mask = f"{number:03d}_mask.png"
            marked = np.zeros((100, 160), np.uint8)
            marked[45:55, 70:90] = 255
            Image.fromarray(marked).save(root / mask)
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        records.append(
            ImageRecord(path.name, label, mask, sha256, 160, 100, len(content), 0, path.name)
        )
    return DataIndex(root, ("good", "crack"), tuple(records))


@pytest.fixture
def index(tmp_path: Path) -> DataIndex:
    return make_index(tmp_path / "images")


def build(index: DataIndex, folder: Path, roi: object = "auto", **other: object) -> DecodedCache:
    return open_cache(index, folder=folder, roi=roi, **{"image_size": SIZE, **other})  # type: ignore[arg-type]


def test_rows_follow_the_index_and_hold_images_masks_and_boxes(
    index: DataIndex, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    cache = build(index, tmp_path / "cache", workers=2, progress=lambda *now: seen.append(now))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(cache) == 4
    assert cache.images.shape == (4, 24, 48, 3)
    assert cache.images.dtype == np.uint8
    assert cache.masks.shape == (4, 24, 48)
    assert cache.boxes.dtype == np.float32
    assert cache.found.tolist() == [True] * 4
    assert cache.images[:, 12, 24, 0].tolist() == [20, 25, 30, 35]
    assert not cache.images.flags.writeable
    assert cache.images[np.array([3, 0])].flags.c_contiguous
    assert not cache.masks[[0, 2]].any()
    assert set(np.unique(cache.masks[[1, 3]])) == {0, 1}
    rows, columns = np.nonzero(cache.masks[1])
    x0, y0, x1, y1 = cache.boxes[1].tolist()
    found = (columns.min() / 48 * (x1 - x0) + x0, (rows.max() + 1) / 24 * (y1 - y0) + y0)
    assert found == pytest.approx((70, 55), abs=(x1 - x0) / 48)


def make_index_of_three_classes(root: Path) -> DataIndex:
    """As `make_index`, with a third class; the mask of image 1 marks both defects."""
    index = make_index(root)
    marked = np.zeros((100, 160), np.uint8)
    marked[45:55, 40:60], marked[45:55, 90:110] = 1, 2
    Image.fromarray(marked).save(root / "001_mask.png")
    return replace(index, classes=("good", "crack", "poke"))


def test_a_mask_of_several_classes_keeps_each_of_them(tmp_path: Path) -> None:
    index = make_index_of_three_classes(tmp_path / "images")
    cache = build(index, tmp_path / "cache", "none")
    assert set(np.unique(cache.masks[1])) == {0, 1, 2}
    assert set(np.unique(cache.masks[3])) == {0, 1}
    columns = [np.flatnonzero((cache.masks[1] == number).any(axis=0)) for number in (1, 2)]
    x0, _, x1, _ = cache.boxes[1].tolist()
    starts = [found.min() / 48 * (x1 - x0) + x0 for found in columns]
    assert starts == pytest.approx([40, 90], abs=(x1 - x0) / 48)
    records = [replace(record, label=2 * record.label) for record in index.records]
    later = build(replace(index, records=tuple(records)), tmp_path / "cache")
    assert set(np.unique(later.masks[3])) == {0, 2}


def test_padding_is_not_valid(index: DataIndex, tmp_path: Path) -> None:
    cache = build(index, tmp_path / "cache", "none", image_size=(50, 120))
    valid = cache.valid(np.array([2, 0]))
    assert valid.shape == (2, 50, 120)
    assert valid.dtype == bool
    # 160x100 at half its size stands in the middle of 120x50.
    assert valid[0].all(axis=0).tolist() == [False] * 20 + [True] * 80 + [False] * 20
    assert (cache.images[0][:, :20] == 205).all()


def test_a_crop_is_valid_throughout_and_shows_its_own_defects(
    index: DataIndex, tmp_path: Path
) -> None:
    cache = build(index, tmp_path / "cache", [20, 20, 100, 60])
    assert cache.valid([0, 1, 2, 3]).all()
    assert cache.boxes[0].tolist() == [20, 20, 100, 60]
    assert cache.masks.any()
    assert not build(index, tmp_path / "cache", [0, 0, 60, 30]).masks.any()


def test_second_opening_decodes_nothing(index: DataIndex, tmp_path: Path) -> None:
    first = build(index, tmp_path / "cache")
    for record in index.records:
        index.path_of(record.path).unlink()
    second = build(index, tmp_path / "cache")
    assert second.path == first.path
    assert np.array_equal(second.images, first.images)


def test_number_of_workers_does_not_change_a_byte(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", count=9)
    one, three = build(index, tmp_path / "a"), build(index, tmp_path / "b", workers=3)
    assert one.path.read_bytes() == three.path.read_bytes()


def test_all_that_decides_its_bytes_makes_another_file(index: DataIndex, tmp_path: Path) -> None:
    first, second, *rest = index.records
    settings = ({}, {"roi": "none"}, {"roi": [0, 0, 80, 40]}, {"margin": 0.3}, {"enlarge": False})
    others = [
        replace(index, records=(second, *rest, first)),
        replace(index, records=(replace(first, sha256="0" * 64), second, *rest)),
        replace(index, records=(first, replace(second, label=0), *rest)),
        replace(index, records=(first, replace(second, mask=None), *rest)),
        replace(index, classes=("good", "crack", "poke")),
    ]
    folder = tmp_path / "cache"
    paths = [build(index, folder, **setting).path for setting in settings]  # type: ignore[arg-type]
    paths += [build(other, folder).path for other in others]
    paths.append(build(index, folder, image_size=(24, 40)).path)
    assert len(set(paths)) == 11
    split = [replace(record, split="test", group="g") for record in index.records]
    assert build(replace(index, records=tuple(split)), folder).path == paths[0]


def test_the_content_of_a_mask_makes_the_cache_as_far_as_the_index_knows_it(
    index: DataIndex, tmp_path: Path
) -> None:
    folder, mask = tmp_path / "cache", index.path_of("001_mask.png")
    before = build(index, folder)
    once, other = (build(hashed(index, sha256), folder).path for sha256 in ("a" * 64, "b" * 64))
    assert once != other
    Image.fromarray(np.full((100, 160), 255, np.uint8)).save(mask)
    assert build(hashed(index, "a" * 64), folder).path == once
    after = build(index, folder)
    assert before.path != after.path
    assert after.masks[1].all()


def hashed(index: DataIndex, mask_sha256: str) -> DataIndex:
    records = [replace(record, mask_sha256=record.mask and mask_sha256) for record in index.records]
    return replace(index, records=tuple(records))


def test_damaged_cache_is_built_again_with_a_warning(
    index: DataIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = build(index, tmp_path / "cache")
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
            again = build(index, tmp_path / "cache")
        assert np.array_equal(again.images, expected)
        assert "built again" in caplog.text


def test_images_without_a_part_are_counted_and_used_whole(
    index: DataIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (100, 160, 3)).astype(np.uint8)
    Image.fromarray(texture).save(index.path_of("002.png"))
    with caplog.at_level(logging.WARNING):
        cache = build(index, tmp_path / "cache", image_size=(20, 32))
    assert cache.found.tolist() == [True, True, False, True]
    assert cache.boxes[2].tolist() == [0, 0, 160, 100]
    assert "1 of 4 images" in caplog.text
    assert "002.png" in caplog.text


def rest_of(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_all_unreadable_images_are_named_at_once_and_nothing_is_left(
    index: DataIndex, tmp_path: Path
) -> None:
    for name in ("000.png", "003.png"):
        content = index.path_of(name).read_bytes()
        index.path_of(name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"(?s)000\.png.*003\.png.*data\.on_bad_file"):
        build(index, tmp_path / "cache")
    assert not rest_of(tmp_path / "cache")


def test_a_roi_outside_of_an_image_and_an_unusable_mask_are_named(
    index: DataIndex, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.roi"):
        build(index, tmp_path / "cache", [0, 0, 200, 100])
    mask = index.path_of("001_mask.png")
    marked = np.zeros((100, 160), np.uint8)
    marked[45:55, 70:90], marked[60:70, 70:90] = 128, 255
    Image.fromarray(marked).save(mask)
    with pytest.raises(DataError, match=r"001_mask\.png: has the values 0, 128 and 255 over"):
        build(index, tmp_path / "cache")
    mask.unlink()
    with pytest.raises(DataError, match=r"001_mask\.png: mask cannot be read"):
        build(index, tmp_path / "cache")


def test_no_room_for_the_cache_is_a_data_error_and_leaves_nothing(
    index: DataIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"data\.cache_folder"):
        build(index, tmp_path / "file")
    monkeypatch.setattr(cache_module, "_write_rows", no_space)
    with pytest.raises(DataError, match=r"No space left.*data\.cache_folder"):
        build(index, tmp_path / "cache")
    assert not rest_of(tmp_path / "cache")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(DataError, match="are free"):  # noticed before anything is decoded
        build(index, tmp_path / "cache")


def _build_and_count(index: DataIndex, folder: Path, start: object, results: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    calls: list[int] = []
    cache = build(index, folder, progress=lambda done, total: calls.append(done))
    results.put((len(calls), cache.images.sum()))  # type: ignore[attr-defined]


def test_two_runs_at_once_build_once(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", count=30)
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    arguments = (index, tmp_path / "cache", start, results)
    processes = [context.Process(target=_build_and_count, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(calls for calls, _ in answers) == [0, 30]
    assert len({total for _, total in answers}) == 1


def test_images_shrink_by_area_and_their_border_is_repeated() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[::4] = 200
    small, inside = cut_out(image, box=Box(0, 0, 40, 40), image_size=(10, 10))
    assert (small == 50).all()
    assert inside == (0, 0, 10, 10)
    image = np.repeat(np.arange(0, 40, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(20, axis=0)
    padded, inside = cut_out(image, box=Box(-10, 0, 50, 20), image_size=(20, 60))
    assert inside == (10, 0, 50, 20)
    assert padded[0, :, 0].tolist() == [0] * 10 + list(range(40)) + [39] * 10


WHOLE = {"box": Box(0, 0, 40, 40), "image_size": (10, 10)}
CORNER = {"box": Box(20, 20, 40, 40), "image_size": (10, 10)}


def test_mask_pixel_is_set_from_a_quarter_of_its_area_or_where_it_is_the_strongest() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:2, 0:2] = 1  # 4 of 16
    mask[0:1, 4:7] = 1  # 3 of 16
    mask[12:16, 12:16] = 1  # all
    small = cut_out_mask(mask, **WHOLE)
    assert np.argwhere(small).tolist() == [[0, 0], [3, 3]]
    assert not cut_out_mask(mask, **CORNER).any()
    one = np.zeros((400, 400), np.uint8)
    one[201, 77] = 1
    small = cut_out_mask(one, box=Box(0, 0, 400, 400), image_size=(10, 10))
    assert np.argwhere(small).tolist() == [[5, 1]]


def test_each_class_is_cut_by_itself() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:8, 0:8], mask[20:30, 4:30] = 3, 1
    small = cut_out_classes(mask, **WHOLE)
    assert small.dtype == np.uint8
    for number in (1, 3):
        cut = cut_out_mask((mask == number).astype(np.uint8), **WHOLE)
        np.testing.assert_array_equal(small == number, cut)
    assert set(np.unique(cut_out_classes(mask, **CORNER))) == {0, 1}


def test_of_two_classes_that_claim_a_pixel_the_rarer_wins_or_of_equal_ones_the_later() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:2, 0:4], mask[2:4, 0:2], mask[20:40] = 2, 1, 2
    assert cut_out_classes(mask, **WHOLE)[0, 0] == 1
    equal = np.zeros((40, 40), np.uint8)
    equal[0:4, 0:2], equal[0:4, 2:4] = 2, 1
    assert cut_out_classes(equal, **WHOLE)[0, 0] == 2


def test_threads_keep_the_order() -> None:
    assert list(in_order(lambda value: value * 2, range(50), workers=3)) == list(range(0, 100, 2))
