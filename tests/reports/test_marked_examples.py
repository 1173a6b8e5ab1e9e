"""Rows of marks: every column that there is something for, whatever else is missing."""

import numpy as np
import pytest

from capsule_inspection.reports import marked_examples
from capsule_inspection.reports.marked_examples import MarkedExample, marked_rows
from capsule_inspection.reports.overlays import colours_of

DEFECTS = ("crack", "poke")
LONG = "an exceedingly long caption of an image that says its class, its Dice and how it was called"


def example(height=20, width=60, caption="crack", **changed) -> MarkedExample:
    truth, marked = np.zeros((2, 20, 60), np.uint8)
    truth[6:10, 20:30] = 1
    marked[6:10, 22:32] = 2
    parts = {
        "image": np.full((height, width, 3), 200, np.uint8),
        "truth": truth,
        "marked": marked,
        "probability": 0.9 * (marked > 0),
    }
    return MarkedExample(caption, True, **{**parts, **changed})


def shown_in(figure, place: int) -> np.ndarray:
    """The picture of one panel."""
    return np.asarray(figure.axes[place].images[0].get_array())


def test_row_has_five_columns_and_one_legend(words, inside):
    figure = marked_rows([example(), example()], DEFECTS, title="Title")

    text = words(figure)
    assert len(figure.axes) == 2 * 5 + 1
    assert all(part in text for part in ("Title", "true defect", "filled: marked", "enlarged"))
    assert [label.get_text() for label in figure.axes[-1].get_legend().texts] == list(DEFECTS)
    assert inside(figure)


def test_truth_and_marks_have_the_colours_of_their_classes():
    figure = marked_rows([example()], DEFECTS)

    assert shown_in(figure, 1)[8, 25].tolist() == colours_of(3)[1].tolist()
    assert shown_in(figure, 2)[8, 25].tolist() == colours_of(3)[2].tolist()


def test_suspicion_that_was_not_marked_is_grey():
    probability = np.full((20, 60), 0.5)
    figure = marked_rows([example(probability=probability)], DEFECTS)

    red, green, blue = shown_in(figure, 2)[0, 0].tolist()
    assert 0 < red == green == blue < 128


def test_frame_lies_around_the_true_defect_and_within_the_image():
    figure = marked_rows([example()], DEFECTS)

    (frame,) = figure.axes[3].patches
    x0, y0 = frame.get_xy()
    assert 0 <= x0 < 20
    assert x0 + frame.get_width() >= 30
    assert 0 <= y0 <= 6
    assert y0 + frame.get_height() >= 10


def test_frame_of_a_good_image_lies_around_its_largest_mark():
    marked = np.zeros((20, 60), np.uint8)
    marked[2:4, 2:4] = 1
    marked[10:18, 40:56] = 2
    figure = marked_rows([example(truth=np.zeros((20, 60), np.uint8), marked=marked)], DEFECTS)

    (frame,) = figure.axes[2].patches
    assert frame.get_x() > 10


def test_defect_as_large_as_the_image_needs_no_frame(words):
    whole = np.ones((20, 60), np.uint8)
    figure = marked_rows([example(truth=whole, marked=whole)], DEFECTS)

    words(figure)
    assert not figure.axes[3].patches


def test_columns_that_no_row_has_are_left_out(words):
    figure = marked_rows([example(truth=None)], DEFECTS)

    text = words(figure)
    assert len(figure.axes) == 4 + 1
    assert "true" not in text
    assert "marked on the image" in text


def test_image_alone_needs_no_legend(words):
    figure = marked_rows([example(truth=None, marked=None, probability=None)], DEFECTS)

    assert len(figure.axes) == 1
    assert "poke" not in words(figure)


def test_marks_without_their_image_are_drawn_on_grey(words):
    figure = marked_rows([example(image=None)], DEFECTS)

    assert words(figure).count("not kept") == 1  # the image itself
    assert shown_in(figure, 3)[0, 0].tolist() == [marked_examples._NO_IMAGE] * 3


def test_what_is_missing_beside_a_whole_row_is_said(words):
    bare = example(truth=None, marked=None, probability=None)

    text = words(marked_rows([example(), bare, example(truth=None)], DEFECTS))

    assert text.count("not kept") == 3  # marks, both, enlarged
    assert text.count("not known") == 2


def test_image_without_any_mark_says_so(words):
    nothing = np.zeros((20, 60), np.uint8)

    assert "nothing is marked" in words(marked_rows([example(truth=None, marked=nothing)], DEFECTS))


@pytest.mark.parametrize(("height", "width"), [(20, 60), (60, 60), (60, 20), (5, 100)])
def test_images_of_any_shape_long_captions_and_many_classes_stay_on_the_page(height, width, inside):
    masks = {
        name: np.ones((height, width), np.uint8) for name in ("truth", "marked", "probability")
    }
    names = [f"an exceedingly long name of a defect, number {i}" for i in range(14)]
    rows = [example(height, width, caption=LONG, **masks)] * 2

    assert inside(marked_rows(rows, names, title="T"))


def test_nothing_to_show_is_said(words):
    assert "No images" in words(marked_rows([], DEFECTS))
