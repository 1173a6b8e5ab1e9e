"""What is said of the crops of a data set: parts not found, defects cut off or shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import found_in, load, save_pixels
from PIL import Image

from capsule_inspection.data import sample_reader
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples
from capsule_inspection.types import DataError, DataIndex

SIZE = (60, 90)
PART = (slice(20, 40), slice(30, 60))
Place = tuple[slice, slice]
ON_PART, BESIDE = (slice(26, 33), slice(40, 50)), (slice(2, 8), slice(2, 8))


def box(place: Place, value: int, *, size: tuple[int, int] = SIZE) -> np.ndarray:
    pixels = np.zeros(size, np.uint8)
    pixels[place] = value
    return pixels


def write(
    root: Path,
    masks: dict[str, Sequence[Place]],
    *,
    part: Place = PART,
    size: tuple[int, int] = SIZE,
    scale: int = 1,
) -> FoundSamples:
    """Two good images, and one of a class for each place that its mask marks.

    All show a dark part on a bright background with some noise; `scale` enlarges them.
    """
    samples = []
    classes = ("good", *masks)
    places: list[tuple[str, Place | None]] = [("good", None), ("good", None)]
    places += [(name, place) for name in masks for place in masks[name]]
    for number, (name, place) in enumerate(places):
        image = np.where(box(part, 1, size=size)[..., None] > 0, (60 + number, 40, 90), 230)
        if place is not None:
            image = np.where(box(place, 1, size=size)[..., None] > 0, 15, image)
        image = image.repeat(scale, 0).repeat(scale, 1)
        noise = np.random.default_rng(number).normal(0, 2, image.shape)
        path = f"{number}.png"
        save_pixels(root / path, (image + noise).clip(0, 255).astype(np.uint8))
        mask = None
        if place is not None:
            mask = f"{number}_mask.png"
            marked = box(place, 255, size=size)
            marked[place][number // 5, number % 5] = 0  # all masks differ
            save_pixels(root / mask, marked.repeat(scale, 0).repeat(scale, 1))
        samples.append(FoundSample(path, name, mask))
    return FoundSamples(root, classes, tuple(samples))


def index_of(found: FoundSamples, folder: Path, **settings: Any) -> DataIndex:
    return load(found, folder, **{"image_size": (48, 72), **settings})[0]


def test_ordinary_data_are_read_without_a_word(tmp_path: Path) -> None:
    found = write(tmp_path / "data", {"crack": [ON_PART] * 3})
    for roi in ("auto", "none", [10, 0, 80, 60]):
        assert index_of(found, tmp_path / "cache", roi=roi).warnings == ()


def test_a_class_whose_defects_the_crop_leaves_out_is_refused(tmp_path: Path) -> None:
    found = write(tmp_path / "data", {"crack": [ON_PART] * 4, "debris": [BESIDE] * 2 + [ON_PART]})
    for _ in range(2):  # from the images, then from what is stored
        with pytest.raises(DataError) as error:
            index_of(found, tmp_path / "cache")
        message = str(error.value)
        assert "2 of 3 images of debris (such as 6.png)" in message
        for remedy in ("data.roi=auto", "data.roi=none", "data.roi_margin"):
            assert remedy in message
        assert "crack" not in message
    with pytest.raises(DataError, match=r"data\.roi=\[20,10,80,50\].*a larger box"):
        index_of(found, tmp_path / "cache", roi=[20, 10, 80, 50])
    with pytest.raises(DataError, match="The crop is that of the run: leave these images out, or"):
        index_of(found, tmp_path / "cache", has_fixed_crop=True)
    assert index_of(found, tmp_path / "cache", roi="none").warnings == ()


def test_single_defects_that_are_cut_off_are_counted_warm_and_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partly = (slice(30, 33), slice(0, 40))  # most of it left of the crop
    places = [ON_PART, ON_PART, ON_PART, BESIDE, partly]
    found = write(tmp_path / "data", {"crack": places})
    image = np.asarray(Image.open(found.root / "0.png"))
    save_pixels(found.root / "6.png", image[::-1])  # or the stroke would be of the part
    cold = index_of(found, tmp_path / "cache", margin=0.02)
    monkeypatch.setattr(sample_reader, "decode_image", None)
    warm = index_of(found, tmp_path / "cache", margin=0.02)
    (sentence,) = cold.warnings
    assert "of 5 images with a mask" in sentence
    assert "the whole defect in 1 and more than half of it in 1 (the first is 5.png)" in sentence
    assert "data.roi=none" in sentence
    assert warm.warnings == cold.warnings


def test_masks_that_mark_nothing_of_the_part_are_counted(tmp_path: Path) -> None:
    near = (slice(44, 48), slice(40, 50))  # within the crop, below the part
    edge = (slice(40, 44), slice(40, 50))  # a chip: it touches the part
    found = write(tmp_path / "data", {"crack": [ON_PART, near, edge]})
    size = (60, 90)
    (sentence,) = index_of(found, tmp_path / "cache", margin=0.5, image_size=size).warnings
    assert "In 1 of 3 images the mask marks nothing of the part" in sentence
    assert "3.png" in sentence
    assert index_of(found, tmp_path / "cache", roi="none", image_size=size).warnings == ()


def test_images_without_a_part_are_counted(tmp_path: Path) -> None:
    found = write(tmp_path / "data", {"crack": [ON_PART]})
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    save_pixels(found.root / "1.png", noise)
    (sentence,) = index_of(found, tmp_path / "cache").warnings
    assert "in 1 of 3 images (the first is 1.png); the whole image is used" in sentence


def test_defects_that_shrink_below_three_pixels_name_a_size_that_keeps_them(
    tmp_path: Path,
) -> None:
    thin = (slice(28, 30), slice(35, 55))
    places = {"crack": [thin] * 2 + [ON_PART], "hole": [ON_PART] * 2}
    found = write(tmp_path / "data", places, scale=4)  # 240x360, the crack is 8 pixels thick
    index = index_of(found, tmp_path / "cache", roi="none")  # at a fifth of its size: 1.5
    (sentence,) = index.warnings
    assert sentence.startswith("data.image_size=[48,72]")
    assert "crack (1.5)" in sentence
    assert "hole" not in sentence
    assert "data.image_size=[96,160]" in sentence
    assert "data.tiling.size=[48,72]" in sentence
    assert index_of(found, tmp_path / "cache", roi="none", image_size=(96, 160)).warnings == ()
    # As thin in the images themselves: a larger input would not help.
    small = write(tmp_path / "small", places)
    assert index_of(small, tmp_path / "cache", roi="none", image_size=(60, 90)).warnings == ()


def test_line_scans_that_shrink_to_a_few_rows_name_a_size_of_their_proportions(
    tmp_path: Path,
) -> None:
    long = np.random.default_rng(0).integers(0, 256, (20, 1500, 3)).astype(np.uint8)
    save_pixels(tmp_path / "data" / "a.png", long)
    save_pixels(tmp_path / "data" / "b.png", long[::-1])
    found = found_in(tmp_path / "data", {"a.png": None, "b.png": None})
    (sentence,) = index_of(found, tmp_path / "cache", roi="none", image_size=(128, 192)).warnings
    assert "2 of 2 images fill little of it" in sentence
    assert "a.png: 1500x20 pixels (width x height) become 192x2" in sentence
    assert "data.image_size=[32,2400]" in sentence
    assert "data.tiling.size" in sentence
    size = (32, 2400)
    assert index_of(found, tmp_path / "cache", roi="none", image_size=size).warnings == ()


def test_an_input_that_is_mostly_padding_is_named_with_a_better_size(tmp_path: Path) -> None:
    tall = np.random.default_rng(0).integers(0, 256, (400, 100, 3)).astype(np.uint8)
    save_pixels(tmp_path / "data" / "a.png", tall)
    found = found_in(tmp_path / "data", {"a.png": None})
    (sentence,) = index_of(found, tmp_path / "cache", roi="none", image_size=(128, 256)).warnings
    assert "1 of 1 images fill little of it" in sentence
    assert "data.image_size=[352,96]" in sentence
    size = (352, 96)
    assert index_of(found, tmp_path / "cache", roi="none", image_size=size).warnings == ()
