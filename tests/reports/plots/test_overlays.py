"""Heat, masks and outlines drawn over an image; other pixels stay unchanged."""

from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from capsule_inspection.reports.plots.overlays import (
    CLEAR_BELOW,
    COLOURS,
    FULL,
    FULL_FROM,
    OPACITY,
    colours_of,
    compose,
    crop_around,
    encode_png,
    heat_legend,
)
from capsule_inspection.types import IGNORE_INDEX

GREY = np.full((40, 60, 3), 100, np.uint8)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 120, 3), np.uint8)


def overlay(image: np.ndarray, **layers: Any) -> np.ndarray:
    """At the size of the image."""
    return compose(image, width_px=image.shape[1], **layers)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Predicted: class 1 in rows 10 to 19; target: class 2 in rows 20 to 29."""
    predicted, target = np.zeros((2, 40, 60), np.uint8)
    predicted[10:20, 10:30] = 1
    target[20:30, 10:30] = 2
    return predicted, target


def test_class_has_its_colour_however_many_classes_there_are():
    assert np.array_equal(colours_of(3), colours_of(16)[:3])
    assert colours_of(2)[0].tolist() == [0, 0, 0]
    three_rounds = colours_of(1 + 3 * len(COLOURS))[1:].tolist()
    assert len({tuple(colour) for colour in three_rounds}) == 3 * len(COLOURS)


def test_filled_pixels_are_transparent_and_others_unchanged():
    image, (predicted, _) = GREY.copy(), masks()

    drawn = overlay(image, mask=predicted)

    expected = np.round((1 - OPACITY) * 100 + OPACITY * colours_of(2)[1])
    assert drawn[15, 20].tolist() == expected.tolist()
    assert np.array_equal(drawn[predicted == 0], GREY[predicted == 0])
    assert drawn.dtype == np.uint8
    assert np.array_equal(image, GREY)


def test_outline_lies_outside_of_the_region_over_masks_and_has_a_dark_rim():
    predicted, target = masks()

    drawn = overlay(GREY, outlines=(target,))

    assert np.array_equal(drawn[target > 0], GREY[target > 0])
    assert drawn[30, 20].tolist() == colours_of(3)[2].tolist()
    assert drawn[31, 20].tolist() == [30, 30, 30]
    assert drawn[32, 20].tolist() == [100, 100, 100]

    target[10:20, 10:30] = 1  # touches the other class
    drawn = overlay(GREY, mask=predicted, outlines=(target,))
    assert drawn[20, 20].tolist() == colours_of(2)[1].tolist()
    assert drawn[19, 20].tolist() == colours_of(3)[2].tolist()


def test_ignored_pixels_are_hatched_in_grey_and_neither_filled_nor_outlined():
    _, target = masks()
    plain = overlay(GREY, outlines=(target,))
    target[:, 40:] = IGNORE_INDEX
    drawn = overlay(GREY, outlines=(target,))
    assert np.array_equal(drawn[:, :40], plain[:, :40])
    colours, counts = np.unique(drawn[:, 40:].reshape(-1, 3), axis=0, return_counts=True)
    assert colours.tolist() == [[100] * 3, [150] * 3]
    assert counts[1] / counts.sum() == pytest.approx(1 / 4, abs=0.02)


def test_nothing_to_draw_gives_a_copy_of_the_image():
    empty, everything = np.zeros((2, 40, 120), np.uint8)
    everything[:] = 1
    for layers in (
        {},
        {"heat": np.full((40, 120), CLEAR_BELOW)},
        {"mask": empty, "outlines": (empty,)},
        {"outlines": (everything,)},  # no edge
    ):
        drawn = overlay(IMAGE, **layers)
        assert np.array_equal(drawn, IMAGE)
        assert not np.shares_memory(drawn, IMAGE)


def test_high_heat_has_the_colour_of_anomaly_maps_and_lets_the_part_through():
    for heat in (FULL_FROM, 0.8, 1.0):
        drawn = overlay(IMAGE, heat=np.full((40, 120), heat)).astype(float)

        colour = 255 * np.array(colormaps["inferno"](round(255 * heat))[:3])
        expected = (1 - OPACITY) * IMAGE + OPACITY * colour
        assert np.abs(drawn - expected).max() <= 1.5


def test_heat_covers_more_where_it_is_higher_and_so_does_its_scale():
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (10, 1))

    added = overlay(np.zeros((10, 256, 3), np.uint8), heat=heat).astype(int).sum(axis=2)

    assert (np.diff(added[0]) >= -2).all()
    assert added[0, 0] == 0 < added[0, -1]
    scale = heat_legend(60, 8)
    assert scale.shape == (8, 60, 3)
    assert len(np.unique(scale[:, 0], axis=0)) == 2
    assert scale[0, -1].sum() > scale[0, 30].sum()


def test_single_pixel_of_a_predicted_mask_is_visible():
    single = np.zeros((40, 60), np.uint8)
    single[20, 30] = 1
    changed = (overlay(GREY, mask=single, outlines=(single,)) != GREY).any(axis=2)
    assert changed.sum() >= 25


# --- enlarged pictures


def test_layers_of_other_sizes_lie_on_the_same_part_of_an_enlarged_image():
    image = np.full((20, 40, 3), 90, np.uint8)
    mask = np.zeros((40, 80), np.uint8)
    mask[20:, 40:] = 2

    drawn = compose(image, mask=mask)
    height, width = drawn.shape[:2]
    assert width == 2 * height > 2 * 80
    filled = np.round((1 - OPACITY) * 90 + OPACITY * colours_of(3)[2]).tolist()
    assert drawn[-1, -1].tolist() == filled
    assert drawn[0, 0].tolist() == drawn[0, -1].tolist() == [90, 90, 90]

    crop = compose(image, mask=mask, crop=(0.5, 0.5, 1.0, 1.0))
    assert crop.shape == drawn.shape
    assert np.unique(crop.reshape(-1, 3), axis=0).tolist() == [filled]


def test_without_an_image_heat_is_opaque_and_masks_lie_on_grey():
    heat = np.tile(np.linspace(0, 1, 60, dtype=np.float16), (20, 1))
    drawn = compose(None, heat=heat)
    for column, heat_there in ((0, 0.0), (-1, 1.0)):
        colour = 255 * np.array(colormaps["inferno"](heat_there)[:3])
        assert np.abs(drawn[5, column] - colour).max() <= 1

    _, target = masks()
    grey = compose(None, outlines=(target,))
    red, green, blue = grey[0, 0].tolist()
    assert red == green == blue
    assert (grey.reshape(-1, 3) == colours_of(3)[2]).all(axis=1).any()


def test_crop_lies_around_the_region_within_the_image_and_is_not_too_small():
    assert crop_around(np.zeros((20, 60), bool)) == FULL
    assert crop_around(np.ones((20, 60), bool)) == FULL

    corner = np.zeros((20, 60), bool)
    corner[0, 59] = True
    x0, y0, x1, y1 = crop_around(corner)
    assert (y0, x1) == (0.0, pytest.approx(1.0))
    assert x1 - x0 == pytest.approx(y1 - y0) == pytest.approx(0.2)

    region = np.zeros((20, 60), bool)
    region[6:10, 20:30] = True
    x0, y0, x1, y1 = crop_around(region)
    assert 0 < x0 < 20 / 60
    assert 30 / 60 < x1 < 1
    assert 0 < y0 < 6 / 20
    assert 10 / 20 < y1 < 1


def test_encoded_image_is_decoded_unchanged():
    read = cv2.imdecode(np.frombuffer(encode_png(IMAGE), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read[..., ::-1], IMAGE)
