"""The size of a data set's crops at its images' own resolution, and crops of that size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from image_folders import found_in, load
from PIL import Image

from capsule_inspection.data import dataset, sample_reader
from capsule_inspection.data.dataset import DatasetConfig, load_dataset
from capsule_inspection.data.image_io import read_image
from capsule_inspection.data.layouts.samples import FoundSamples
from capsule_inspection.data.native_size import find_native_size
from capsule_inspection.types import ConfigurationError


def part(axes: tuple[int, int], *, size: tuple[int, int] = (200, 320)) -> np.ndarray:
    """A dark, grained ellipse on light grey; `axes` are half its width and half its height."""
    image = np.full((*size, 3), 205, np.uint8)
    cv2.ellipse(image, (size[1] // 2, size[0] // 2), axes, 0, 0, 360, (40, 60, 90), -1)
    return image + np.random.default_rng(axes[0]).integers(0, 12, image.shape, np.uint8)


def carpet(*size: int) -> np.ndarray:
    """Nothing that lies on a background."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


def write_images(root: Path, *images: np.ndarray) -> FoundSamples:
    """Good images, all of them, but for the second one, which has a mask of a few pixels."""
    root.mkdir(exist_ok=True)
    masks: dict[str, str | None] = {}
    for number, image in enumerate(images):
        name = f"{number:03d}.png"
        Image.fromarray(image).save(root / name)
        masks[name] = "mask.png" if number == 1 else None
        if number == 1:
            defect = np.zeros(image.shape[:2], np.uint8)
            defect[image.shape[0] // 2, image.shape[1] // 2 : image.shape[1] // 2 + 9] = 255
            Image.fromarray(defect).save(root / "mask.png")
    return found_in(root, masks)


ROWS = (slice(None, None, -1), slice(1))
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
    "a box": ((SMALL, WIDE), {"roi": (80, 60, 180, 124)}, (64, 128)),
}


def size_of(found: FoundSamples, folder: Path, **changed: Any) -> tuple[int, int]:
    return load(found, folder, image_size=None, enlarge=False, **changed)[1].images.shape[1:3]


@pytest.mark.parametrize(("images", "settings", "expected"), SIZES.values(), ids=SIZES)
def test_the_size_is_that_of_the_largest_crop_up_to_the_next_multiple_of_32(
    images: tuple[np.ndarray, ...], settings: dict, expected: tuple[int, int], tmp_path: Path
) -> None:
    assert size_of(write_images(tmp_path, *images), tmp_path / "cache", **settings) == expected


def test_what_was_measured_is_kept_and_read_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write_images(tmp_path / "images", SMALL, WIDE, HIGH)
    first = size_of(found, tmp_path, workers=3)
    (kept,) = (tmp_path / "native").glob("*.json")
    for damage in ("", "[1, 1]", "[" * 10**5, kept.read_text().replace("160", "161")):
        kept.write_text(damage)
        assert size_of(found, tmp_path) == first
    monkeypatch.setattr(sample_reader, "decode_image", None)
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "hold_lock", None)  # as from a folder that is only read
        assert size_of(found, tmp_path) == first
    index, _ = load(found, tmp_path, image_size=None, enlarge=False)
    settings: dict[str, Any] = {"folder": tmp_path / "native", "roi": "auto", "margin": 0.05}
    assert find_native_size(index, **settings) == first
    turned, fewer = (replace(index, samples=index.samples[start]) for start in ROWS)
    assert find_native_size(turned, **settings) == first
    for other, changed in ((index, {"margin": 0.1}), (index, {"roi": "none"}), (fewer, {})):
        assert find_native_size(other, **{**settings, **changed}) is None


def test_a_size_that_is_too_small_is_refused_before_it_is_cached(tmp_path: Path) -> None:
    def refuse(size: tuple[int, int]) -> None:
        raise ConfigurationError(f"{size} is too small")

    found = write_images(tmp_path, SMALL)
    config = DatasetConfig(tmp_path, "auto", 0.05, None, enlarge=False)
    with pytest.raises(ConfigurationError, match=r"\(64, 128\) is too small"):
        load_dataset(found, config, check_size=refuse)
    assert not list((tmp_path / "decoded").glob("*.npy"))


@pytest.mark.parametrize("roi", ["auto", "none"])
def test_crops_of_the_native_size_have_the_images_own_pixels_and_masks(
    tmp_path: Path, roi: str
) -> None:
    found = write_images(tmp_path, SMALL, WIDE, part((30, 15), size=(60, 90)))
    settings: dict[str, Any] = {"folder": tmp_path / "cache", "roi": roi}
    index, cache = load(found, image_size=None, enlarge=False, **settings)
    size = cache.images.shape[1:3]
    for row, sample in enumerate(index.samples):
        x0, y0, _, _ = cache.boxes[row].astype(int)
        left, top, right, bottom = cache.content_boxes[row]
        shown = cache.images[row][top:bottom, left:right]
        source = read_image(index.path_of(sample.path)).pixels
        assert np.array_equal(shown, source[y0 + top : y0 + bottom, x0 + left : x0 + right]), row
        assert shown.size > 0
    assert (
        cache.content_boxes[2].tolist() != cache.content_boxes[0].tolist()
    )  # it is smaller than a crop
    x0, y0, _, _ = cache.boxes[1].astype(int)
    assert np.count_nonzero(cache.masks[1]) == 9
    assert cache.masks[1, 100 - y0, 160 - x0 : 169 - x0].tolist() == [1] * 9
    assert not cache.masks[0].any()
    if roi == "auto":  # a small part is enlarged unless it may not be
        enlarged = load(found, image_size=size, **settings)[1]
        assert enlarged.path != cache.path
        kept, larger = (int(np.count_nonzero(of.foregrounds[0])) for of in (cache, enlarged))
        assert kept == pytest.approx(np.pi * 50 * 20, rel=0.06)
        assert larger > 2 * kept
        assert np.allclose(np.diff(cache.boxes[:, [0, 2]]), size[1])
