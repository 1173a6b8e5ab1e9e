"""Masks, outlines and heat drawn over an image; other pixels stay unchanged."""

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from capsule_inspection.reports.plots.overlays import COLOURS, OPACITY, colours_of, fill, overlay
from capsule_inspection.reports.plots.prediction_overlay import (
    CLEAR_BELOW,
    FULL_FROM,
    draw_prediction,
    heat_legend,
    write_png,
)

GREY = np.full((40, 60, 3), 100, np.uint8)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 120, 3), np.uint8)


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

    drawn = overlay(image, predicted)

    expected = np.round((1 - OPACITY) * 100 + OPACITY * colours_of(2)[1])
    assert drawn[15, 20].tolist() == expected.tolist()
    assert np.array_equal(drawn[predicted == 0], GREY[predicted == 0])
    assert drawn.dtype == np.uint8
    assert np.array_equal(image, GREY)
    assert fill(GREY, predicted, opacity=1.0)[15, 20].tolist() == colours_of(2)[1].tolist()


def test_outline_lies_outside_of_the_true_defect_over_masks_and_has_a_dark_rim():
    predicted, target = masks()

    drawn = overlay(GREY, np.zeros_like(predicted), target=target)

    assert np.array_equal(drawn[target > 0], GREY[target > 0])
    assert drawn[30, 20].tolist() == colours_of(3)[2].tolist()
    assert drawn[31, 20].tolist() == [30, 30, 30]
    assert drawn[32, 20].tolist() == [100, 100, 100]

    target[10:20, 10:30] = 1  # touches the other class
    drawn = overlay(GREY, predicted, target=target)
    assert drawn[20, 20].tolist() == colours_of(2)[1].tolist()
    assert drawn[19, 20].tolist() == colours_of(3)[2].tolist()


def test_masks_without_an_edge_have_no_outline():
    empty, everything = np.zeros((2, 40, 60), np.uint8)
    everything[:] = 1

    for target in (empty, everything):
        assert np.array_equal(overlay(GREY, empty, target=target), GREY)


def test_other_sizes_are_refused():
    predicted, target = masks()

    with pytest.raises(ValueError, match=r"one size, found .*\(40, 60\).*\(40, 59\)"):
        overlay(GREY, predicted, target=target[:, :-1])
    with pytest.raises(ValueError, match="one size"):
        overlay(GREY, predicted[:-1])
    with pytest.raises(ValueError, match=r"\(40, 120\), its heat \(40, 119\)"):
        draw_prediction(IMAGE, heat=np.zeros((40, 119)))
    with pytest.raises(ValueError, match="one size"):
        draw_prediction(IMAGE, mask=np.zeros((39, 120), np.uint8))


def test_low_heat_an_empty_mask_and_no_prediction_give_a_copy_of_the_image():
    nothing = ({}, {"heat": np.full((40, 120), CLEAR_BELOW)}, {"mask": np.zeros((40, 120), "u1")})
    for prediction in nothing:
        drawn = draw_prediction(IMAGE, **prediction)
        assert np.array_equal(drawn, IMAGE)
        assert not np.shares_memory(drawn, IMAGE)


def test_high_heat_has_the_colour_of_anomaly_maps_and_lets_the_part_through():
    for heat in (FULL_FROM, 0.8, 1.0):
        drawn = draw_prediction(IMAGE, heat=np.full((40, 120), heat)).astype(float)

        colour = 255 * np.array(colormaps["inferno"](round(255 * heat))[:3])
        expected = (1 - OPACITY) * IMAGE + OPACITY * colour
        assert np.abs(drawn - expected).max() <= 1.5


def test_heat_covers_more_where_it_is_higher_and_so_does_its_scale():
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (10, 1))

    added = draw_prediction(np.zeros((10, 256, 3), np.uint8), heat=heat).astype(int).sum(axis=2)

    assert (np.diff(added[0]) >= -2).all()
    assert added[0, 0] == 0 < added[0, -1]
    scale = heat_legend(60, 8)
    assert scale.shape == (8, 60, 3)
    assert len(np.unique(scale[:, 0], axis=0)) == 2
    assert scale[0, -1].sum() > scale[0, 30].sum()


def test_mask_of_a_prediction_is_filled_in_the_colours_of_its_classes_and_outlined():
    image = np.full((40, 120, 3), 100, np.uint8)
    mask = np.zeros((40, 120), np.uint8)
    mask[10:20, 10:20], mask[10:20, 60:70] = 1, 2

    drawn = draw_prediction(image, mask=mask)

    assert np.array_equal(drawn[mask > 0], fill(image, mask)[mask > 0])
    assert drawn[15, 20].tolist() == colours_of(3)[1].tolist()
    assert drawn[15, 70].tolist() == colours_of(3)[2].tolist()
    assert np.array_equal(drawn[30:], image[30:])

    single = np.zeros((40, 120), np.uint8)
    single[20, 60] = 1
    changed = (draw_prediction(image, mask=single) != image).any(axis=2)
    assert changed.sum() >= 25


def test_written_image_is_read_back_unchanged(tmp_path):
    path = tmp_path / "overlays" / "膠囊 #1 100%?<b>.png"

    write_png(path, IMAGE)

    read = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read[..., ::-1], IMAGE)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
