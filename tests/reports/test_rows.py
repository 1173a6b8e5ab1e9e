"""Rows of pictures: every column that there is something for, whatever else is missing."""

import numpy as np
import pytest

from capsule_inspection.reports import marked_examples, style
from capsule_inspection.reports.examples import Example, MapScale, example_rows, map_scale
from capsule_inspection.reports.explanations import Explained, explained_rows
from capsule_inspection.reports.marked_examples import MarkedExample, marked_rows
from capsule_inspection.reports.overlays import colours_of

SCALE = MapScale(0.0, 2.0, 1.0)
DEFECTS = ("crack", "poke")
LONG = "an exceedingly long caption of an image that says its class, its score and its threshold"
SHAPES = pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 20), (5, 100)])


def picture(height: int, width: int, grey: int = 200) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def example(height=20, width=60, caption="crack", **changed) -> Example:
    mask = np.zeros((10, 30), bool)
    mask[3:6, 10:20] = True
    parts = {
        "image": picture(height, width),
        "reconstruction": picture(height, width, 100),
        "anomaly_map": 2.0 * mask,
        "mask": mask,
    }
    return Example(caption, True, **{**parts, **changed})


def explained(height=20, width=60, caption="is crack, called poke", **changed) -> Explained:
    mask = np.zeros((10, 30), bool)
    mask[3:6, 10:20] = True
    heat = np.zeros((10, 30), np.float32)
    heat[4, 15] = 1
    shown = {"image": picture(height, width), "heat": heat, "mask": mask, "peak": (4, 15)}
    return Explained(caption, **{"is_hit": True, **shown, **changed})


def marks(height=20, width=60, caption="crack", **changed) -> MarkedExample:
    truth, marked = np.zeros((2, 20, 60), np.uint8)
    truth[6:10, 20:30] = 1
    marked[6:10, 22:32] = 2
    parts = {
        "image": picture(height, width),
        "truth": truth,
        "marked": marked,
        "probability": 0.9 * (marked > 0),
    }
    return MarkedExample(caption, True, **{**parts, **changed})


def shown_in(figure, place: int) -> np.ndarray:
    """The picture of one panel."""
    return np.asarray(figure.axes[place].images[0].get_array())


def test_nothing_to_show_is_told(words):
    for figure in (example_rows([], SCALE), explained_rows([]), marked_rows([], DEFECTS)):
        assert "No images" in words(figure)


@SHAPES
def test_images_of_any_shape_long_captions_and_many_classes_stay_on_the_page(height, width, inside):
    nowhere, flat = np.zeros((10, 30), bool), np.full((10, 30), 5.0, np.float32)
    rows = [example(height, width, caption=LONG),
            example(height, width, caption=LONG, anomaly_map=flat, mask=nowhere)]  # fmt: skip
    assert inside(example_rows(rows, SCALE, title="T"))
    flat = {"heat": np.zeros((height, width)), "mask": np.zeros((height, width), bool)}
    rows = [explained(height, width, caption=LONG, peak=None, **flat)] * 2
    assert inside(explained_rows(rows, title="T", note="two lines\nof a note"))
    masks = dict.fromkeys(("truth", "marked", "probability"), np.ones((height, width), np.uint8))
    names = [f"an exceedingly long name of a defect, number {i}" for i in range(14)]
    assert inside(marked_rows([marks(height, width, caption=LONG, **masks)] * 2, names, title="T"))


# --- anomaly maps


def test_row_of_a_map_has_five_columns_a_colour_bar_and_a_legend(words, inside):
    figure = example_rows([example(), example()], SCALE, title="Title")

    text = words(figure)
    assert len(figure.axes) == 2 * 5 + 2
    for told in ("Title", "crack", "anomaly map", "above the yellow mark", "0.5% of good pixels"):
        assert told in text
    assert inside(figure)


def test_columns_that_no_row_has_are_left_out_and_what_one_row_lacks_is_told(words):
    bare = example_rows([example(reconstruction=None, mask=None)], SCALE)
    assert len(bare.axes) == 3 + 2
    assert "true defect" not in words(bare)
    image = example_rows([example(reconstruction=None, anomaly_map=None, mask=None)], None)
    assert len(image.axes) == 1
    assert "Dark" not in words(image)
    lacking = [example(), example(image=None, reconstruction=None), example(mask=None)]
    text = words(example_rows(lacking, SCALE))
    assert text.count("not kept") == 3  # input, reconstruction and what is marked on the input
    assert "not known" in text


def test_scale_is_outlined_where_hardly_any_good_pixel_reaches_and_has_a_width():
    good = np.linspace(0, 1, 1001)
    scale = map_scale(good, np.concatenate([good, np.full(100, 9.0)]))

    assert scale.level == pytest.approx(0.995)
    assert scale.high == pytest.approx(9.0)
    for value in (0.0, 3.0):
        flat = map_scale(np.zeros(0), np.full(10, value))
        assert flat.low < flat.high


# --- explanations


def test_row_of_an_explanation_has_the_image_and_the_map_over_it(words, inside):
    rows = [explained(), explained(is_hit=False, peak=None, heat=np.zeros((10, 30)))]
    figure = explained_rows(rows, title="Title", note="what to see")

    text = words(figure)
    assert len(figure.axes) == 2 * 2 + 1
    for part in ("Title", "what the camera saw", "where the network looked", "is crack",
                 "true defect", "highest point", "what to see"):  # fmt: skip
        assert part in text
    assert inside(figure)
    image, heat, missed, flat, *_ = figure.axes
    assert image._left_title.get_color() == style.BLACK
    assert missed._left_title.get_color() == style.VERMILION
    opacity = heat.images[-1].get_alpha()
    assert opacity[0, 0] == 0  # nothing speaks for the class here
    assert opacity[4, 15] == opacity.max() > 0.5
    assert [line.get_xydata().tolist() for line in heat.lines] == [[[15, 4]]]
    assert list(flat.lines) == []


def test_explanation_without_its_image_or_an_edge_of_its_mask_is_drawn(words):
    everywhere, nowhere = (explained(mask=np.full((10, 30), covers)) for covers in (True, False))
    text = words(explained_rows([explained(image=None), everywhere, nowhere]))
    assert text.count("not kept") == 1


# --- marks


def test_row_of_marks_has_five_columns_in_the_colours_of_its_classes_and_one_legend(words, inside):
    figure = marked_rows([marks(), marks(probability=np.full((20, 60), 0.5))], DEFECTS, title="T")

    text = words(figure)
    assert len(figure.axes) == 2 * 5 + 1
    assert all(part in text for part in ("T", "true defect", "filled: marked", "enlarged"))
    assert [label.get_text() for label in figure.axes[-1].get_legend().texts] == list(DEFECTS)
    assert inside(figure)
    assert shown_in(figure, 1)[8, 25].tolist() == colours_of(3)[1].tolist()
    assert shown_in(figure, 2)[8, 25].tolist() == colours_of(3)[2].tolist()
    red, green, blue = shown_in(figure, 7)[0, 0].tolist()  # suspicion that was not marked
    assert 0 < red == green == blue < 128


def test_frame_lies_around_the_true_defect_or_the_largest_mark_of_a_good_image():
    (frame,) = marked_rows([marks()], DEFECTS).axes[3].patches
    (x0, y0), nothing = frame.get_xy(), np.zeros((20, 60), np.uint8)
    assert 0 <= x0 < 20
    assert x0 + frame.get_width() >= 30
    assert 0 <= y0 <= 6
    assert y0 + frame.get_height() >= 10

    marked = nothing.copy()
    marked[2:4, 2:4] = 1
    marked[10:18, 40:56] = 2
    (frame,) = marked_rows([marks(truth=nothing, marked=marked)], DEFECTS).axes[2].patches
    assert frame.get_x() > 10

    whole = np.ones((20, 60), np.uint8)
    assert not marked_rows([marks(truth=whole, marked=whole)], DEFECTS).axes[3].patches


def test_columns_of_marks_that_no_row_has_are_left_out_and_gaps_are_told(words):
    nothing = np.zeros((20, 60), np.uint8)
    without_truth = marked_rows([marks(truth=None), marks(truth=None, marked=nothing)], DEFECTS)
    text = words(without_truth)
    assert len(without_truth.axes) == 2 * 4 + 1
    assert "true" not in text
    assert "nothing is marked" in text

    bare = marks(truth=None, marked=None, probability=None)
    assert len(marked_rows([bare], DEFECTS).axes) == 1
    text = words(marked_rows([marks(), bare, marks(truth=None)], DEFECTS))
    assert text.count("not kept") == 3  # marks, both, enlarged
    assert text.count("not known") == 2

    unseen = marked_rows([marks(image=None)], DEFECTS)
    assert words(unseen).count("not kept") == 1  # the image itself
    assert shown_in(unseen, 3)[0, 0].tolist() == [marked_examples._NO_IMAGE] * 3
