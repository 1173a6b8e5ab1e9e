from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.localisation import localisation_figures
from capsule_inspection.metrics.pixel_counts import count_pixels


def drawn(seed: int):
    """Maps of noise and masks of a few pixels; every other image is good."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((6, 12, 15), dtype=np.uint8)
    masks[::2] = 255 * (generator.random((3, 12, 15)) < 0.1)
    maps = generator.normal(size=masks.shape) + (masks > 0)
    return maps.astype(np.float16), masks


def test_counts_by_hand() -> None:
    maps = np.array([[[2.0, 1.0, -1.0, 1.0]], [[1.0, 2.0, 2.0, 3.0]]])
    masks = np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]]])

    counts = count_pixels(maps, masks)

    assert counts.good.tolist() == [1, 3, 2, 0]  # of scores 3, 2, 1, -1
    assert counts.defect.tolist() == [0, 0, 1, 1]
    assert counts.overlap.tolist() == [0, 0, 0.5, 0.5]
    assert counts.good_by_image.sum(axis=1).tolist() == [2, 4]
    assert counts.has_defect.tolist() == [True, False]
    assert len(counts) == 2


def test_both_zeros_are_the_same_score() -> None:
    maps, masks = np.array([[[0.0, -0.0]]]), np.array([[[0, 1]]])

    assert localisation_figures(count_pixels(maps, masks))["pixel_auroc"].value == 0.5


def test_float32_maps_are_rounded_to_what_a_run_folder_stores() -> None:
    maps, masks = drawn(1)
    wide = maps.astype(np.float32) * np.float32(1.00001)

    rounded, stored = (localisation_figures(count_pixels(m, masks)) for m in (wide, maps))

    assert rounded == stored


def test_regions_that_touch_at_a_corner_are_one() -> None:
    maps = np.array([[[9, 0, 0], [0, 1, 0], [0, 0, 5]]])
    corner, apart = np.zeros((2, 1, 3, 3), dtype=int)
    corner[0, [0, 1], [0, 1]] = 1
    apart[0, [0, 2], [0, 2]] = 1

    counts = [count_pixels(maps, masks) for masks in (corner, apart)]

    assert [c.overlap.sum() for c in counts] == [1, 2]


def test_padding_is_left_out_of_everything() -> None:
    maps, masks = drawn(5)
    padded_maps = np.pad(maps, ((0, 0), (2, 2), (3, 3)), constant_values=99)
    padded_masks = np.pad(masks, ((0, 0), (2, 2), (3, 3)), constant_values=1)
    valid = np.pad(np.ones(masks.shape, dtype=bool), ((0, 0), (2, 2), (3, 3)))

    bare = localisation_figures(count_pixels(maps, masks))
    for kept in (valid, valid.astype(np.uint8) * 255):
        assert localisation_figures(count_pixels(padded_maps, padded_masks, kept)) == bare


def test_maps_may_come_one_by_one() -> None:
    maps, masks = drawn(6)

    one_by_one = count_pixels(iter(maps), (mask for mask in masks))

    assert localisation_figures(one_by_one) == localisation_figures(count_pixels(maps, masks))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e5])
def test_scores_beyond_float16_are_refused(bad: float) -> None:
    maps, masks = np.zeros((1, 2, 2), dtype=np.float32), np.zeros((1, 2, 2))
    maps[0, 1, 1] = bad

    with pytest.raises(ValueError, match="at most 65504"):
        count_pixels(maps, masks)


def test_maps_and_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        count_pixels(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match="longer"):
        count_pixels(np.zeros((1, 2, 2)), np.zeros((2, 2, 2)))
