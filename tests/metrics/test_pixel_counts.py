from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.localization import localization_metrics
from capsule_inspection.metrics.pixel_counts import count_pixels, rows_with_known_mask
from capsule_inspection.types import IGNORE_INDEX


def draw(seed: int):
    """Maps of noise and masks of a few pixels; every other image is good."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((6, 12, 15), dtype=np.uint8)
    masks[::2] = generator.random((3, 12, 15)) < 0.1
    maps = generator.normal(size=masks.shape) + (masks > 0)
    return maps.astype(np.float16), masks


def metrics_of(*images):
    return localization_metrics(count_pixels(*images))


def test_counts_by_hand() -> None:
    maps = np.array([[[2.0, 1.0, -1.0, 1.0]], [[1.0, 2.0, 2.0, 3.0]]])
    counts = count_pixels(maps, np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]]]))
    assert counts.good.tolist() == [1, 3, 2, 0]  # of scores 3, 2, 1, -1
    assert counts.defect.tolist() == [0, 0, 1, 1]
    assert counts.overlap.tolist() == [0, 0, 0.5, 0.5]
    assert counts.good_by_image.sum(axis=1).tolist() == [2, 4]
    assert counts.has_defect.tolist() == [True, False]
    assert len(counts) == 2


def test_both_zeros_are_the_same_score() -> None:
    found = metrics_of(np.array([[[0.0, -0.0]]]), np.array([[[0, 1]]]))
    assert found["pixel_auroc"].value == 0.5


def test_maps_are_rounded_to_what_a_run_folder_stores_and_may_come_one_by_one() -> None:
    maps, masks = draw(1)
    wide = maps.astype(np.float32) * np.float32(1.00001)
    stored = metrics_of(maps, masks)
    assert metrics_of(wide, masks) == metrics_of(iter(maps), iter(masks)) == stored


def test_regions_that_touch_at_a_corner_are_one() -> None:
    maps, corner, apart = np.eye(3)[None], np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
    corner[0, [0, 1], [0, 1]] = apart[0, [0, 2], [0, 2]] = 1
    assert [count_pixels(maps, masks).overlap.sum() for masks in (corner, apart)] == [1, 2]


def test_padding_is_left_out_of_everything() -> None:
    maps, masks = draw(5)
    frame = ((0, 0), (2, 2), (3, 3))
    padded = np.pad(maps, frame, constant_values=99), np.pad(masks, frame, constant_values=1)
    valid = np.pad(np.ones(masks.shape, dtype=bool), frame)
    bare = metrics_of(maps, masks)
    for kept in (valid, valid.astype(np.uint8) * 255):
        assert metrics_of(*padded, kept) == bare


def test_ignored_pixels_are_left_out_and_do_not_join_regions() -> None:
    maps = np.array([[[4.0, 3.0, 2.0, 1.0, 0.0]]])
    counts = count_pixels(maps, np.array([[[1, IGNORE_INDEX, 2, 0, IGNORE_INDEX]]]))
    # Scores 4, 2 and 1 count: two regions of one pixel each, and one good pixel.
    assert counts.defect.tolist() == [1, 1, 0]
    assert counts.overlap.tolist() == [1, 1, 0]
    assert counts.good.tolist() == [0, 0, 1]


def test_a_region_within_an_ignored_rim_is_one_region_of_its_own_pixels() -> None:
    mask = np.full((5, 5), IGNORE_INDEX)
    mask[1:4, 1:4] = 1
    maps = np.zeros((5, 5))
    maps[1:4, 1:3] = 1  # of 9 pixels 6, and the good ones are elsewhere
    counts = count_pixels([np.pad(maps, 2)], [np.pad(mask, 2)])
    assert counts.overlap.tolist() == pytest.approx([6 / 9, 3 / 9])
    assert counts.good.tolist() == [0, 81 - 25]


def test_scores_of_ignored_pixels_change_no_metric() -> None:
    maps, masks = draw(3)
    ignored = np.random.default_rng(0).random(masks.shape) < 0.2
    masks = np.where(ignored, IGNORE_INDEX, masks)
    other = np.where(ignored, 9, maps).astype(np.float16)
    assert metrics_of(maps, masks) == metrics_of(other, masks) != metrics_of(maps, masks * ~ignored)


def test_defects_without_a_mask_do_not_tell() -> None:
    masks = [np.zeros((1, 2)), np.ones((1, 2)), np.zeros((1, 2)), np.full((1, 2), IGNORE_INDEX)]
    assert rows_with_known_mask([False, True, True, True], masks) == [0, 1]


def test_scores_beyond_float16_and_what_does_not_fit_are_refused() -> None:
    image = np.zeros((1, 2, 2), dtype=np.float32)
    for bad in (np.nan, np.inf, 1e5):
        with pytest.raises(ValueError, match="at most 65504"):
            count_pixels(np.where(np.arange(2) == 1, bad, image), image)
    with pytest.raises(ValueError, match="longer"):
        count_pixels(image, np.zeros((2, 2, 2)))
