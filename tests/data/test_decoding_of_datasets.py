"""Bit depth, EXIF orientation and notes of the images of a whole data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import draw_part, load, save_pixels
from PIL import Image

from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples
from capsule_inspection.types import DataError

CLASSES = ("good", "crack")
ALL: dict[str, Any] = {"near_duplicates": "report", "workers": 2, "roi": "none"}


def write_deep(root: Path, count: int, *, bits: int, brightest: int = 0) -> list[np.ndarray]:
    """Images of 8 bits, written with values of some bits; all but one are dark."""
    images = []
    for number in range(count):
        pixels = draw_part(number, defect=number % 2 == 1)[0][:, :, 0].copy()
        if number != brightest:
            pixels //= 5
        values = np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16)
        save_pixels(root / f"{number:02d}.png", values)
        images.append(np.rint(values / (2**bits - 1) * 255).astype(np.uint8))
    return images


def deep_samples(root: Path, count: int) -> FoundSamples:
    samples = [FoundSample(f"{number:02d}.png", CLASSES[number % 2]) for number in range(count)]
    return FoundSamples(root, CLASSES, tuple(samples))


@pytest.mark.parametrize("brightest", [0, 17])
def test_the_bit_depth_is_that_of_all_images_also_of_one_that_was_not_sampled(
    tmp_path: Path, calls: Counter[str], brightest: int
) -> None:
    images = write_deep(tmp_path / "deep", 30, bits=12, brightest=brightest)
    for number, pixels in enumerate(images):
        save_pixels(tmp_path / f"flat/{number:02d}.png", pixels)
    _, flat = load(deep_samples(tmp_path / "flat", 30), tmp_path, **ALL)
    calls.clear()
    index, cache = load(deep_samples(tmp_path / "deep", 30), tmp_path, **ALL)
    assert index.bit_depth == 12
    assert "No value in 30 16-bit files is above 4095" in index.warnings[0]
    np.testing.assert_array_equal(cache.images, flat.images)
    assert calls["sha256"] == 30
    assert (calls["decode_image"] > 30) == (brightest == 17)  # the sample has every third image
    calls.clear()
    warm, again = load(deep_samples(tmp_path / "deep", 30), tmp_path, **ALL)
    assert not calls
    assert (warm, again.path) == (index, cache.path)


def test_a_setting_of_the_bit_depth_holds_and_is_checked(tmp_path: Path) -> None:
    write_deep(tmp_path / "deep", 4, bits=12, brightest=1)
    found = deep_samples(tmp_path / "deep", 4)
    index, cache = load(found, tmp_path, bit_depth=16, **ALL)
    assert index.bit_depth == 16
    assert cache.images[:].max() == 16  # 4095 of 65535
    assert not any("16-bit" in text for text in index.warnings)
    for _ in range(2):  # at a cold and at a warm start
        with pytest.raises(
            DataError, match=r"01\.png: has values of at least 4095, but images of 10"
        ):
            load(found, tmp_path / "other", bit_depth=10, **ALL)
    auto, other = load(found, tmp_path, **ALL)
    assert auto.bit_depth == 12
    assert other.path != cache.path


def test_files_of_8_bits_have_no_bit_depth_and_mixed_ones_are_warned_of(tmp_path: Path) -> None:
    images = write_deep(tmp_path / "deep", 4, bits=12)
    for number in (1, 3):
        save_pixels(tmp_path / f"deep/{number:02d}.png", images[number])
    index, _ = load(deep_samples(tmp_path / "deep", 4), tmp_path, **ALL)
    assert index.bit_depth == 12
    assert "2 of 4 images have more than 8 bits" in index.warnings[1]
    assert "(crack: 0 of 2, good: 2 of 2)" in index.warnings[1]
    assert "The depth goes with the class" in index.warnings[1]
    for number in (0, 2):
        save_pixels(tmp_path / f"deep/{number:02d}.png", images[number])
    index, _ = load(deep_samples(tmp_path / "deep", 4), tmp_path, **ALL)
    assert (index.bit_depth, index.warnings) == (None, ())


def test_what_was_unusual_is_said_at_a_warm_start_too(tmp_path: Path) -> None:
    write_deep(tmp_path / "a", 4, bits=8)
    for number in (1, 2):
        pixels = np.dstack([draw_part(number)[0], np.zeros((32, 48), np.uint8)])
        save_pixels(tmp_path / f"a/{number:02d}.png", pixels)
    for _ in range(2):
        index, _ = load(deep_samples(tmp_path / "a", 4), tmp_path, **ALL)
        sentence = (
            "2 of 4 images have an alpha channel of zeros everywhere, which is ignored "
            "(the first is 01.png)."
        )
        assert sentence in index.warnings


def test_exif_orientation_decides_sizes_and_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(2):
        image = Image.fromarray(draw_part(number)[0])
        (tmp_path / "a").mkdir(exist_ok=True)
        image.save(tmp_path / f"a/{number:02d}.png", exif=exif)
    found = deep_samples(tmp_path / "a", 2)
    turned, cache = load(found, tmp_path, **ALL)
    kept, other = load(found, tmp_path, exif_orientation=False, **ALL)
    again, _ = load(found, tmp_path, **ALL)
    assert [(sample.width, sample.height) for sample in turned.samples] == [(32, 48)] * 2
    assert [(sample.width, sample.height) for sample in kept.samples] == [(48, 32)] * 2
    assert again == turned
    assert cache.path != other.path
    assert "2 of 2 images have an EXIF orientation, which data.exif_orientation=false" in str(
        kept.warnings
    )
