import numpy as np
import pytest

from capsule_inspection.reports.overlays import COLOURS, OPACITY, colours_of, fill, overlay

GREY = np.full((40, 60, 3), 100, np.uint8)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Marked: class 1 in rows 10 to 19; true: class 2 in rows 20 to 29."""
    marked, truth = np.zeros((2, 40, 60), np.uint8)
    marked[10:20, 10:30] = 1
    truth[20:30, 10:30] = 2
    return marked, truth


def test_class_has_its_colour_however_many_classes_there_are():
    assert np.array_equal(colours_of(3), colours_of(16)[:3])
    assert colours_of(2)[0].tolist() == [0, 0, 0]


def test_three_rounds_of_classes_differ_in_colour():
    colours = colours_of(1 + 3 * len(COLOURS))[1:]

    assert len({tuple(colour) for colour in colours.tolist()}) == 3 * len(COLOURS)


def test_marked_pixels_are_half_transparent_and_others_as_they_were():
    marked, _ = masks()

    drawn = overlay(GREY, marked)

    expected = np.round((1 - OPACITY) * 100 + OPACITY * colours_of(2)[1])
    assert drawn[15, 20].tolist() == expected.tolist()
    assert np.array_equal(drawn[marked == 0], GREY[marked == 0])
    assert drawn.dtype == np.uint8


def test_outline_lies_outside_of_the_true_defect_and_has_a_dark_rim():
    marked, truth = masks()

    drawn = overlay(GREY, np.zeros_like(marked), truth=truth)

    assert np.array_equal(drawn[truth > 0], GREY[truth > 0])
    assert drawn[30, 20].tolist() == colours_of(3)[2].tolist()
    assert drawn[31, 20].tolist() == [30, 30, 30]
    assert drawn[32, 20].tolist() == [100, 100, 100]


def test_outline_lies_over_marks_and_touching_classes_keep_their_own():
    marked, truth = masks()
    truth[10:20, 10:30] = 1

    drawn = overlay(GREY, marked, truth=truth)

    assert drawn[20, 20].tolist() == colours_of(2)[1].tolist()
    assert drawn[19, 20].tolist() == colours_of(3)[2].tolist()


def test_defect_at_the_edge_and_empty_masks_are_drawn():
    empty, everything = np.zeros((2, 40, 60), np.uint8)
    everything[:] = 1

    assert np.array_equal(overlay(GREY, empty, truth=empty), GREY)
    assert np.array_equal(overlay(GREY, empty, truth=everything), GREY)


def test_image_is_left_as_it_was():
    image, (marked, truth) = GREY.copy(), masks()

    overlay(image, marked, truth=truth)

    assert np.array_equal(image, GREY)


def test_opaque_fill_hides_what_is_below():
    marked, _ = masks()

    assert fill(GREY, marked, opacity=1.0)[15, 20].tolist() == colours_of(2)[1].tolist()


def test_other_sizes_are_refused():
    marked, truth = masks()

    with pytest.raises(ValueError, match=r"one size, found .*\(40, 60\).*\(40, 59\)"):
        overlay(GREY, marked, truth=truth[:, :-1])
    with pytest.raises(ValueError, match="one size"):
        overlay(GREY, marked[:-1])
