"""The decoded cache: what is in it, and what happens when it is damaged, contested or too large."""

from __future__ import annotations

import errno
import hashlib
import logging
import multiprocessing
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from capsule_inspection.contracts import ConfigurationError, DataError, DataIndex, ImageRecord
from capsule_inspection.data import cache as cache_module
from capsule_inspection.data.cache import DecodedCache, in_order, open_cache
from capsule_inspection.data.cropping import cut_out, cut_out_classes, cut_out_mask
from capsule_inspection.data.roi import Box

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


def build(index: DataIndex, folder: Path, roi: object = "auto", **other: object) -> DecodedCache:
    return open_cache(index, folder=folder, roi=roi, **{"image_size": SIZE, **other})  # type: ignore[arg-type]


def test_rows_follow_the_index_and_have_the_promised_shapes(tmp_path: Path) -> None:
    cache = build(make_index(tmp_path / "images"), tmp_path / "cache", workers=2)
    assert len(cache) == 4
    assert cache.images.shape == (4, 24, 48, 3)
    assert cache.images.dtype == np.uint8
    assert cache.masks.shape == (4, 24, 48)
    assert cache.boxes.dtype == np.float32
    assert cache.found.tolist() == [True] * 4
    assert cache.images[:, 12, 24, 0].tolist() == [20, 25, 30, 35]


def test_masks_hold_the_label_where_the_source_is_marked(tmp_path: Path) -> None:
    cache = build(make_index(tmp_path / "images"), tmp_path / "cache")
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
    cache = build(make_index_of_three_classes(tmp_path / "images"), tmp_path / "cache", "none")
    assert set(np.unique(cache.masks[1])) == {0, 1, 2}
    assert set(np.unique(cache.masks[3])) == {0, 1}
    columns = [np.flatnonzero((cache.masks[1] == number).any(axis=0)) for number in (1, 2)]
    x0, _, x1, _ = cache.boxes[1].tolist()
    starts = [found.min() / 48 * (x1 - x0) + x0 for found in columns]
    assert starts == pytest.approx([40, 90], abs=(x1 - x0) / 48)


def test_a_mask_of_two_values_holds_a_later_label(tmp_path: Path) -> None:
    index = make_index_of_three_classes(tmp_path / "images")
    records = [replace(record, label=2 * record.label) for record in index.records]
    cache = build(replace(index, records=tuple(records)), tmp_path / "cache")
    assert set(np.unique(cache.masks[3])) == {0, 2}


def test_the_number_of_classes_makes_another_cache(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    more = replace(index, classes=("good", "crack", "poke"))
    assert build(index, tmp_path / "cache").path != build(more, tmp_path / "cache").path


def test_a_defect_outside_of_the_region_leaves_an_empty_mask(tmp_path: Path) -> None:
    cache = build(make_index(tmp_path / "images"), tmp_path / "cache", [0, 0, 60, 30])
    assert not cache.masks.any()


def test_a_mask_that_became_unclear_is_named(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    marked = np.zeros((100, 160), np.uint8)
    marked[45:55, 70:90], marked[60:70, 70:90] = 128, 255
    Image.fromarray(marked).save(index.path_of("001_mask.png"))
    with pytest.raises(DataError, match=r"001_mask\.png: has the values 0, 128 and 255 over"):
        build(index, tmp_path / "cache")


def test_views_are_read_only_and_rows_can_be_gathered(tmp_path: Path) -> None:
    cache = build(make_index(tmp_path / "images"), tmp_path / "cache")
    assert not cache.images.flags.writeable
    assert cache.images[np.array([3, 0])].flags.c_contiguous


def test_padding_is_not_valid(tmp_path: Path) -> None:
    cache = build(make_index(tmp_path / "images"), tmp_path / "cache", "none", image_size=(50, 120))
    valid = cache.valid(np.array([2, 0]))
    assert valid.shape == (2, 50, 120)
    assert valid.dtype == bool
    # 160x100 at half its size stands in the middle of 120x50.
    assert valid[0].all(axis=0).tolist() == [False] * 20 + [True] * 80 + [False] * 20
    assert (cache.images[0][:, :20] == 205).all()


def test_crop_inside_the_image_is_valid_throughout(tmp_path: Path) -> None:
    cache = build(make_index(tmp_path / "images"), tmp_path / "cache", [20, 20, 100, 60])
    assert cache.valid([0, 1, 2, 3]).all()
    assert cache.boxes[0].tolist() == [20, 20, 100, 60]


def test_second_opening_decodes_nothing(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
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


@pytest.mark.parametrize(
    "change",
    [{"roi": "none"}, {"image_size": (24, 40)}, {"margin": 0.3}, {"roi": [0, 0, 80, 40]}],
)
def test_other_settings_have_another_file(tmp_path: Path, change: dict[str, object]) -> None:
    index = make_index(tmp_path / "images")
    assert build(index, tmp_path / "cache").path != build(index, tmp_path / "cache", **change).path


def test_other_labels_contents_order_and_masks_have_another_file(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    first, *rest = index.records
    variants = [
        (*rest, first),
        (replace(first, sha256="0" * 64), *rest),
        (first, replace(rest[0], label=0), *rest[1:]),
        (first, replace(rest[0], mask=None), *rest[1:]),
    ]
    indices = [index, *(replace(index, records=records) for records in variants)]
    assert len({build(each, tmp_path / "cache").path for each in indices}) == 5


def test_changed_mask_makes_a_new_cache(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    before = build(index, tmp_path / "cache")
    Image.fromarray(np.full((100, 160), 255, np.uint8)).save(tmp_path / "images" / "001_mask.png")
    after = build(index, tmp_path / "cache")
    assert before.path != after.path
    assert after.masks[1].all()


def test_the_content_of_a_mask_makes_the_cache_where_the_index_knows_it(tmp_path: Path) -> None:
    index, folder = make_index(tmp_path / "images"), tmp_path / "cache"
    once, other = (build(hashed(index, sha256), folder).path for sha256 in ("a" * 64, "b" * 64))
    assert once != other
    os.utime(index.path_of("001_mask.png"), ns=(1, 1))
    assert build(hashed(index, "a" * 64), folder).path == once


def hashed(index: DataIndex, mask_sha256: str) -> DataIndex:
    records = [replace(record, mask_sha256=record.mask and mask_sha256) for record in index.records]
    return replace(index, records=tuple(records))


def test_groups_and_splits_share_one_cache(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    records = tuple(replace(record, split="test", group="g") for record in index.records)
    other = replace(index, records=records)
    assert build(index, tmp_path / "cache").path == build(other, tmp_path / "cache").path


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_header(path: Path) -> None:
    path.write_bytes(b"")


def damage_form(path: Path) -> None:
    np.save(path, np.zeros(4, np.uint8))


def damage_count(path: Path) -> None:
    np.save(path, np.load(path)[:3])


@pytest.mark.parametrize("damage", [damage_cut, damage_header, damage_form, damage_count])
def test_damaged_cache_is_built_again_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    index = make_index(tmp_path / "images")
    cache = build(index, tmp_path / "cache")
    expected, path = cache.images.copy(), cache.path
    del cache
    damage(path)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        again = build(index, tmp_path / "cache")
    assert np.array_equal(again.images, expected)
    assert "built again" in caplog.text


def test_images_without_a_part_are_counted_and_used_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = make_index(tmp_path / "images")
    texture = np.random.default_rng(0).integers(0, 256, (100, 160, 3)).astype(np.uint8)
    Image.fromarray(texture).save(index.path_of("002.png"))
    with caplog.at_level(logging.WARNING):
        cache = build(index, tmp_path / "cache", image_size=(20, 32))
    assert cache.found.tolist() == [True, True, False, True]
    assert cache.boxes[2].tolist() == [0, 0, 160, 100]
    assert "1 of 4 images" in caplog.text
    assert "002.png" in caplog.text


def test_all_unreadable_images_are_named_at_once_and_nothing_is_left(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    for name in ("000.png", "003.png"):
        content = index.path_of(name).read_bytes()
        index.path_of(name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"(?s)000\.png.*003\.png.*data\.on_bad_file"):
        build(index, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_roi_outside_of_an_image_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    with pytest.raises(ConfigurationError, match=r"data\.roi"):
        build(index, tmp_path / "cache", [0, 0, 200, 100])


def test_full_disk_is_a_data_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "_write_rows", no_space)
    with pytest.raises(DataError, match=r"No space left.*data\.cache_folder"):
        build(make_index(tmp_path / "images"), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_too_little_space_is_noticed_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(DataError, match="are free"):
        build(make_index(tmp_path / "images"), tmp_path / "cache")


def test_folder_that_is_a_file_is_a_data_error(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images")
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_folder"):
        build(index, tmp_path / "cache")


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    index = make_index(tmp_path / "images")
    build(index, tmp_path / "cache", workers=2, progress=lambda *now: seen.append(now))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


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


def test_images_shrink_by_area() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[::2] = 200
    small, inside = cut_out(image, box=Box(0, 0, 40, 40), image_size=(10, 10))
    assert (small == 100).all()
    assert inside == (0, 0, 10, 10)


def test_border_is_repeated_beyond_the_image() -> None:
    image = np.repeat(np.arange(0, 40, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(20, axis=0)
    padded, inside = cut_out(image, box=Box(-10, 0, 50, 20), image_size=(20, 60))
    assert inside == (10, 0, 50, 20)
    assert padded[0, :, 0].tolist() == [0] * 10 + list(range(40)) + [39] * 10


def test_mask_pixel_is_set_from_a_quarter_of_its_area() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:2, 0:2] = 1  # 4 of 16
    mask[0:1, 4:7] = 1  # 3 of 16
    small = cut_out_mask(mask, box=Box(0, 0, 40, 40), image_size=(10, 10))
    assert small[0, 0] == 1
    assert small.sum() == 1


def test_mask_of_one_pixel_does_not_vanish() -> None:
    mask = np.zeros((400, 400), np.uint8)
    mask[201, 77] = 1
    small = cut_out_mask(mask, box=Box(0, 0, 400, 400), image_size=(10, 10))
    assert np.argwhere(small).tolist() == [[5, 1]]


def test_mask_outside_of_the_box_is_empty() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0, 0] = 1
    assert not cut_out_mask(mask, box=Box(20, 20, 40, 40), image_size=(10, 10)).any()


def test_each_class_is_cut_by_itself() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:8, 0:8], mask[20:30, 4:30] = 3, 1
    box, size = Box(0, 0, 40, 40), (10, 10)
    small = cut_out_classes(mask, box=box, image_size=size)
    assert small.dtype == np.uint8
    for number in (1, 3):
        alone = (mask == number).astype(np.uint8)
        cut = cut_out_mask(alone, box=box, image_size=size)
        np.testing.assert_array_equal(small == number, cut)


def test_of_two_classes_that_claim_a_pixel_the_rarer_wins() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:2, 0:4], mask[2:4, 0:2], mask[20:40] = 2, 1, 2
    small = cut_out_classes(mask, box=Box(0, 0, 40, 40), image_size=(10, 10))
    assert small[0, 0] == 1


def test_of_two_equally_rare_classes_that_claim_a_pixel_the_later_wins() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:4, 0:2], mask[0:4, 2:4] = 2, 1
    small = cut_out_classes(mask, box=Box(0, 0, 40, 40), image_size=(10, 10))
    assert small[0, 0] == 2


def test_classes_outside_of_the_box_are_gone() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0, 0], mask[25:35, 25:35] = 1, 2
    small = cut_out_classes(mask, box=Box(20, 20, 40, 40), image_size=(10, 10))
    assert set(np.unique(small)) == {0, 2}


def test_threads_keep_the_order() -> None:
    assert list(in_order(lambda value: value * 2, range(50), workers=3)) == list(range(0, 100, 2))
