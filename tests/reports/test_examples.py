"""Rows of pictures: every column that there is something for, whatever else is missing."""

import numpy as np
import pytest

from capsule_inspection.reports.examples import Example, MapScale, example_rows, map_scale

SCALE = MapScale(0.0, 2.0, 1.0)
LONG = "an exceedingly long caption of an image that says its class, its score and its threshold"


def example(height=20, width=60, caption="crack", **changed) -> Example:
    mask = np.zeros((10, 30), bool)
    mask[3:6, 10:20] = True
    parts = {
        "image": np.full((height, width, 3), 200, np.uint8),
        "reconstruction": np.full((height, width, 3), 100, np.uint8),
        "anomaly_map": 2.0 * mask,
        "mask": mask,
    }
    return Example(caption, True, **{**parts, **changed})


def panels(figure):
    """Headings above the columns."""
    return [text.get_text() for text in figure.texts][:-1]


def test_row_has_five_columns_a_colour_bar_and_a_legend(words, inside):
    figure = example_rows([example(), example()], SCALE, title="Title")

    text = words(figure)
    assert len(figure.axes) == 2 * 5 + 2
    assert all(part in text for part in ("Title", "crack", "anomaly map", "above the yellow mark"))
    assert "0.5% of good pixels" in text
    assert inside(figure)


def test_columns_that_no_row_has_are_left_out(words):
    bare = example(reconstruction=None, mask=None)
    figure = example_rows([bare], SCALE)

    text = words(figure)
    assert len(figure.axes) == 3 + 2
    assert "true defect" not in text
    assert "what the model made of it" not in text


def test_images_alone_are_shown_without_a_scale(words):
    figure = example_rows([example(reconstruction=None, anomaly_map=None, mask=None)], None)

    assert len(figure.axes) == 1
    assert "Dark" not in words(figure)


def test_missing_thumbnail_is_said_in_its_place(words):
    text = words(example_rows([example(), example(image=None, reconstruction=None)], SCALE))

    assert text.count("not kept") == 3  # input, reconstruction and what is marked on the input


def test_unknown_mask_beside_a_known_one_is_said(words):
    assert "not known" in words(example_rows([example(), example(mask=None)], SCALE))


@pytest.mark.parametrize("value", [0.0, 1.0, 5.0])
def test_flat_map_and_empty_mask_are_drawn_without_an_outline(value, words):
    flat = np.full((10, 30), value, np.float32)

    words(example_rows([example(anomaly_map=flat, mask=np.zeros((10, 30), bool))], SCALE))


@pytest.mark.parametrize(("height", "width"), [(20, 60), (60, 60), (60, 20), (5, 100)])
def test_images_of_any_shape_and_long_captions_stay_on_the_page(height, width, inside):
    assert inside(example_rows([example(height, width, caption=LONG)] * 2, SCALE, title="T"))


def test_nothing_to_show_is_said(words):
    assert "No images" in words(example_rows([], SCALE))


def test_scale_is_outlined_where_hardly_any_good_pixel_reaches():
    good = np.linspace(0, 1, 1001)
    scale = map_scale(good, np.concatenate([good, np.full(100, 9.0)]))

    assert scale.level == pytest.approx(0.995)
    assert scale.high == pytest.approx(9.0)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_scale_of_a_flat_map_still_has_a_width(value):
    scale = map_scale(np.zeros(0), np.full(10, value))

    assert scale.low < scale.high
