"""The size of a data set's crops at its images' own resolution, and crops of that size."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data import native as native_module
from capsule_inspection.data.cache import open_cache
from capsule_inspection.data.native import native_size
from capsule_inspection.data.reading import read_image
from capsule_inspection.types import ConfigurationError, DataIndex, ImageRecord


def part(axes: tuple[int, int], *, size: tuple[int, int] = (200, 320)) -> np.ndarray:
    """A dark, grained ellipse on light grey; `axes` are half its width and half its height."""
    image = np.full((*size, 3), 205, np.uint8)
    cv2.ellipse(image, (size[1] // 2, size[0] // 2), axes, 0, 0, 360, (40, 60, 90), -1)
    return image + np.random.default_rng(axes[0]).integers(0, 12, image.shape, np.uint8)


def carpet(*size: int) -> np.ndarray:
    """Nothing that lies on a background."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


def make_index(root: Path, *images: np.ndarray) -> DataIndex:
    """Good images, all of them, but for the second one, which has a mask of a few pixels."""
    root.mkdir(exist_ok=True)
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


SMALL, WIDE, HIGH = part((50, 20)), part((100, 25)), part((60, 70))
SIZES: dict[str, tuple[tuple[np.ndarray, ...], dict[str, Any], tuple[int, int]]] = {
    # The part is 101 x 41 pixels, and a twentieth of its longer side wider on each side.
    "one": ((SMALL,), {}, (64, 128)),
    # 201 + 2 * 10 pixels wide is the one, 141 + 2 * 7 high the other.
    "largest of several": ((SMALL, WIDE, HIGH), {}, (160, 224)),
    "no margin": ((SMALL,), {"margin": 0.0}, (64, 128)),
    "more margin": ((SMALL,), {"margin": 0.3}, (128, 192)),
    "one without a part does not count": ((SMALL, WIDE, carpet(400, 600)), {}, (96, 224)),
    "none with a part": ((carpet(100, 90), carpet(64, 200)), {}, (128, 224)),
    "whole images": ((SMALL, carpet(330, 96)), {"roi": "none"}, (352, 320)),
    "a box": ((SMALL, WIDE), {"roi": (10, 20, 110, 84)}, (64, 128)),
}


def size_of(index: DataIndex, folder: Path, **changed: Any) -> tuple[int, int]:
    return native_size(index, folder=folder, **({"roi": "auto", "margin": 0.05} | changed))


@pytest.mark.parametrize(("images", "settings", "expected"), SIZES.values(), ids=SIZES)
def test_the_size_is_that_of_the_largest_crop_up_to_the_next_multiple_of_32(
    images: tuple[np.ndarray, ...], settings: dict, expected: tuple[int, int], tmp_path: Path
) -> None:
    assert size_of(make_index(tmp_path, *images), tmp_path / "cache", **settings) == expected


def test_what_was_measured_is_kept_and_read_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(tmp_path / "images", SMALL, WIDE, HIGH)
    seen: list[tuple[int, int]] = []
    first = size_of(index, tmp_path, workers=3, progress=lambda *now: seen.append(now))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(native_module, "_measure", None)
    with monkeypatch.context() as patch:
        patch.setattr(native_module, "locked", None)  # as from a folder that is only read
        assert size_of(index, tmp_path) == first
        assert size_of(replace(index, records=index.records[::-1]), tmp_path) == first
    fewer = replace(index, records=index.records[:1])
    for other, changed in ((index, {"margin": 0.1}), (index, {"roi": "none"}), (fewer, {})):
        with pytest.raises(TypeError):
            size_of(other, tmp_path, **changed)
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match=r"data\.roi"):
        size_of(index, tmp_path, roi="outo")


@pytest.mark.parametrize("roi", ["auto", "none"])
def test_crops_of_the_native_size_have_the_images_own_pixels_and_masks(
    tmp_path: Path, roi: str
) -> None:
    index = make_index(tmp_path, SMALL, WIDE, part((30, 15), size=(60, 90)))
    size = size_of(index, tmp_path, roi=roi)
    settings: dict[str, Any] = {"folder": tmp_path, "roi": roi, "margin": 0.05, "image_size": size}
    cache = open_cache(index, enlarge=False, **settings)
    for row, record in enumerate(index.records):
        x0, y0, _, _ = cache.boxes[row].astype(int)
        left, top, right, bottom = cache.inside[row]
        shown = cache.images[row][top:bottom, left:right]
        source = read_image(index.path_of(record.path))
        assert np.array_equal(shown, source[y0 + top : y0 + bottom, x0 + left : x0 + right]), row
        assert shown.size > 0
    assert cache.inside[2].tolist() != cache.inside[0].tolist()  # it is smaller than a crop
    x0, y0, _, _ = cache.boxes[1].astype(int)
    assert np.count_nonzero(cache.masks[1]) == 9
    assert cache.masks[1, 100 - y0, 160 - x0 : 169 - x0].tolist() == [1] * 9
    assert not cache.masks[0].any()
    if roi == "auto":  # a small part is enlarged unless it may not be
        enlarged = open_cache(index, **settings)
        assert enlarged.path != cache.path
        kept, larger = (int(np.count_nonzero(of.foregrounds[0])) for of in (cache, enlarged))
        assert kept == pytest.approx(np.pi * 50 * 20, rel=0.06)
        assert larger > 2 * kept
        assert np.allclose(np.diff(cache.boxes[:, [0, 2]]), size[1])
