"""Crops of images and masks, and what they do to defects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.data.crop import crop_classes, crop_mask, measure_defect, resize_crop
from capsule_inspection.data.roi import Box
from capsule_inspection.types import IGNORE_INDEX


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


CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def ring(size: int, *, thickness: int, radius: int) -> np.ndarray:
    """A disc of class 1 within an ignored ring."""
    mask = np.zeros((size, size), np.uint8)
    centre = (size // 2, size // 2)
    cv2.circle(mask, centre, radius + thickness, IGNORE_INDEX, cv2.FILLED)
    cv2.circle(mask, centre, radius, 1, cv2.FILLED)
    return mask


@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_an_ignored_ring_is_closed_and_takes_nothing_of_its_defect(shrink: int) -> None:
    mask = ring(320, thickness=5, radius=60)
    crop = {"box": Box(0, 0, 320, 320), "image_size": (320 // shrink, 320 // shrink)}
    small = crop_classes(mask, **crop)
    alone = crop_classes(np.where(mask == 1, mask, 0), **crop)
    np.testing.assert_array_equal(small == 1, alone == 1)
    outside = (small == 0).astype(np.uint8)
    labels = cv2.connectedComponents(outside, connectivity=4)[0] - 1
    assert labels == 1
    touching = cv2.dilate((small == 1).astype(np.uint8), CROSS) > 0
    assert not (touching & (small == 0)).any()
    wider = cv2.dilate((mask > 0).astype(np.uint8), np.ones((2 * shrink + 1,) * 2, np.uint8))
    assert not (small > 0)[crop_mask(1 - wider, **crop) > 0].any()


def test_an_ignored_area_takes_what_no_defect_claims_from_a_tenth_of_a_pixel_on() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:4, 0:4] = IGNORE_INDEX
    mask[0:2, 0:2] = 1  # a quarter of the first pixel: it stays a defect
    mask[0, 4:6] = IGNORE_INDEX  # 2 of 16
    mask[0, 8] = IGNORE_INDEX  # 1 of 16
    small = crop_classes(mask, **WHOLE)
    assert small[0, :3].tolist() == [1, IGNORE_INDEX, 0]
    thin = np.zeros((400, 400), np.uint8)
    thin[201] = IGNORE_INDEX
    small = crop_classes(thin, box=Box(0, 0, 400, 400), image_size=(10, 10))
    assert (small[5] == IGNORE_INDEX).all()
    assert not small[[0, 4, 6, 9]].any()


BOX = Box(0, 0, 120, 80)


def measure(mask: np.ndarray, foreground: np.ndarray | None = None, box: Box = BOX, *, at: int = 1):
    size = (int(at * (box.y1 - box.y0)), int(at * (box.x1 - box.x0)))
    return measure_defect(mask, foreground, box=box, image_size=size)


def bar(width: int, *, label: int = 1) -> np.ndarray:
    mask = np.zeros((80, 120), np.uint8)
    mask[30 : 30 + width, 10:110] = label
    return mask


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 10])
def test_thickness_is_that_of_a_bar_to_half_a_pixel_and_shrinks_with_it(width: int) -> None:
    assert measure(bar(width)).thickness == pytest.approx(width, abs=0.5)
    small = measure_defect(bar(width), None, box=BOX, image_size=(20, 30))
    assert small.thickness == pytest.approx(width / 4, abs=0.5 / 4)


def test_thickness_is_that_of_the_thickest_place_and_ends_at_ignored_pixels_and_borders() -> None:
    mask = bar(3)
    mask[50:61, 40:51] = 2
    assert measure(mask).thickness == pytest.approx(11, abs=0.5)
    mask[53:58, 43:48] = IGNORE_INDEX
    assert measure(mask).thickness == pytest.approx(3, abs=0.5)
    everything = np.ones((80, 120), np.uint8)
    assert measure(everything).thickness == pytest.approx(80, abs=0.5)


def test_fractions_are_those_of_the_defects_own_pixels() -> None:
    mask, part = bar(10), np.zeros((80, 120), np.uint8)
    part[:, 60:] = 1
    mask[:20] = IGNORE_INDEX
    found = measure(mask, part, Box(0, 0, 60, 80))
    assert found.inside == 0.5
    assert found.on_part == pytest.approx(0.51)  # with a column next to the part
    assert measure(mask, part, Box(0, 60, 120, 80)).inside == 0
    assert np.isnan(measure(mask, None).on_part)
    for nothing in (bar(0), bar(4, label=IGNORE_INDEX)):
        assert np.isnan(measure(nothing, part)).all()
