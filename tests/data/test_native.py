"""The size of a data set's crops at its photographs' own resolution, and crops of that size."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from capsule_inspection.contracts import ConfigurationError, DataIndex, ImageRecord
from capsule_inspection.data import native as native_module
from capsule_inspection.data.cache import open_cache
from capsule_inspection.data.native import native_size
from capsule_inspection.data.reading import read_image
from capsule_inspection.data.roi import Roi

MARGIN = 0.05


def photograph(axes: tuple[int, int], *, size: tuple[int, int] = (200, 320)) -> np.ndarray:
    """A dark, grained ellipse on light grey; `axes` are half its width and half its height."""
    image = np.full((*size, 3), 205, np.uint8)
    cv2.ellipse(image, (size[1] // 2, size[0] // 2), axes, 0, 0, 360, (40, 60, 90), -1)
    grain = np.random.default_rng(axes[0]).integers(0, 12, image.shape, np.uint8)
    return image + grain


def carpet(size: tuple[int, int]) -> np.ndarray:
    """Nothing that lies on a background."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


def make_index(root: Path, *images: np.ndarray) -> DataIndex:
    """Good images, all of them, but for the second one, which has a mask of a few pixels."""
    root.mkdir()
    records = []
    for number, image in enumerate(images):
        path, mask, label = root / f"{number:03d}.png", None, int(number == 1)
        Image.fromarray(image).save(path)
        if label:
            mask = "mask.png"
            marked = np.zeros(image.shape[:2], np.uint8)
            marked[image.shape[0] // 2, image.shape[1] // 2 : image.shape[1] // 2 + 9] = 255
            Image.fromarray(marked).save(root / mask)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        height, width = image.shape[:2]
        records.append(ImageRecord(path.name, label, mask, sha256, width, height, 1, 0, path.name))
    return DataIndex(root, ("good", "crack"), tuple(records))


SMALL, WIDE, HIGH = photograph((50, 20)), photograph((100, 25)), photograph((60, 70))


def size_of(index: DataIndex, folder: Path, *, roi: Roi = "auto", **other: object) -> tuple:
    return native_size(index, folder=folder, roi=roi, **{"margin": MARGIN, **other})  # type: ignore[arg-type]


def test_the_size_is_that_of_the_largest_crop_up_to_the_next_multiple_of_32(
    tmp_path: Path,
) -> None:
    # The part is 101 x 41 pixels, and a twentieth of its longer side wider on each side.
    alone = make_index(tmp_path / "alone", SMALL)
    assert size_of(alone, tmp_path / "cache") == (64, 128)
    # 201 + 2 * 10 pixels wide is the one, 141 + 2 * 7 high the other.
    index = make_index(tmp_path / "images", SMALL, WIDE, HIGH)
    assert size_of(index, tmp_path / "cache") == (160, 224)


def test_more_margin_makes_larger_crops(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL)
    assert size_of(index, tmp_path / "cache", margin=0.0) == (64, 128)
    assert size_of(index, tmp_path / "cache", margin=0.3) == (128, 192)


def test_photographs_without_a_part_do_not_count(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE, carpet((400, 600)))
    assert size_of(index, tmp_path / "cache") == size_of(
        make_index(tmp_path / "without", SMALL, WIDE), tmp_path / "cache"
    )


def test_where_no_part_is_seen_at_all_photographs_count_as_a_whole(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", carpet((100, 90)), carpet((64, 200)))
    assert size_of(index, tmp_path / "cache") == (128, 224)


def test_without_a_region_of_interest_photographs_count_as_a_whole(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL, carpet((330, 96)))
    assert size_of(index, tmp_path / "cache", roi="none") == (352, 320)


def test_a_box_that_is_spelled_out_is_the_size(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE)
    assert size_of(index, tmp_path / "cache", roi=(10, 20, 110, 84)) == (64, 128)
    with pytest.raises(ConfigurationError, match=r"data\.roi"):
        size_of(index, tmp_path / "cache", roi="outo")


def test_what_was_measured_is_kept_and_photographs_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE)
    first = size_of(index, tmp_path / "cache")
    monkeypatch.setattr(native_module, "_measure", None)
    assert size_of(index, tmp_path / "cache") == first
    turned = replace(index, records=index.records[::-1])
    assert size_of(turned, tmp_path / "cache") == first
    for other in ({"margin": 0.1}, {"roi": "none"}):
        with pytest.raises(TypeError):
            size_of(index, tmp_path / "cache", **other)
    with pytest.raises(TypeError):
        size_of(replace(index, records=index.records[:1]), tmp_path / "cache")


def test_what_was_measured_is_read_without_a_lock_as_from_a_folder_that_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(tmp_path / "images", SMALL)
    first = size_of(index, tmp_path / "cache")
    monkeypatch.setattr(native_module, "locked", None)
    assert size_of(index, tmp_path / "cache") == first


def test_progress_counts_photographs_and_threads_change_nothing(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE, HIGH)
    seen: list[tuple[int, int]] = []
    found = size_of(index, tmp_path / "a", workers=3, progress=lambda *now: seen.append(now))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert found == size_of(index, tmp_path / "b")
    size_of(index, tmp_path / "a", progress=lambda *now: seen.append(now))
    assert len(seen) == 3


def cached(index: DataIndex, folder: Path, **settings: object) -> tuple:
    """The cache at the native size, and the photographs."""
    size = size_of(index, folder, **settings)
    cache = open_cache(
        index,
        folder=folder,
        image_size=size,
        enlarge=False,
        **{"roi": "auto", "margin": MARGIN, **settings},  # type: ignore[arg-type]
    )
    return cache, [read_image(index.path_of(record.path)) for record in index.records]


@pytest.mark.parametrize("roi", ["auto", "none"])
def test_crops_of_the_native_size_have_the_photographs_own_pixels(tmp_path: Path, roi: str) -> None:
    small_one = photograph((30, 15), size=(60, 90))
    index = make_index(tmp_path / "images", SMALL, WIDE, small_one)
    cache, photographs = cached(index, tmp_path / "cache", roi=roi)
    for row, image in enumerate(photographs):
        x0, y0, _, _ = cache.boxes[row].astype(int)
        left, top, right, bottom = cache.inside[row]
        shown = cache.images[row][top:bottom, left:right]
        source = image[y0 + top : y0 + bottom, x0 + left : x0 + right]
        assert np.array_equal(shown, source), row
        assert shown.size > 0
    assert cache.inside[2].tolist() != cache.inside[0].tolist()  # it is smaller than a crop


def test_masks_of_the_native_size_are_the_photographs_own(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE)
    cache, _ = cached(index, tmp_path / "cache")
    assert np.count_nonzero(cache.masks[1]) == 9
    x0, y0, _, _ = cache.boxes[1].astype(int)
    assert cache.masks[1, 100 - y0, 160 - x0 : 169 - x0].tolist() == [1] * 9
    assert not cache.masks[0].any()


def test_a_small_part_is_enlarged_unless_it_may_not_be(tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE)
    kept, _ = cached(index, tmp_path / "cache")
    enlarged = open_cache(
        index,
        folder=tmp_path / "cache",
        roi="auto",
        image_size=kept.images.shape[1:3],
        margin=MARGIN,
    )
    assert enlarged.path != kept.path
    parts = [int(np.count_nonzero(cache.foregrounds[0])) for cache in (kept, enlarged)]
    assert parts[0] == pytest.approx(np.pi * 50 * 20, rel=0.06)
    assert parts[1] > 2 * parts[0]
    assert np.allclose(np.diff(kept.boxes[:, [0, 2]]), kept.images.shape[2])
