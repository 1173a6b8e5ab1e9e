"""Rows of images and of where a classifier looked in them."""

import numpy as np
import pytest
from matplotlib.image import AxesImage

from capsule_inspection.reports import style
from capsule_inspection.reports.explanations import Explained, explained_rows

LONG = "is an_exceedingly_long_n…ame, called another_long…ame; looked elsewhere: a miss"


def explained(height=20, width=60, caption="is crack, called poke", **changed) -> Explained:
    mask = np.zeros((10, 30), bool)
    mask[3:6, 10:20] = True
    heat = np.zeros((10, 30), np.float32)
    heat[4, 15] = 1
    parts = {
        "is_hit": True,
        "image": np.full((height, width, 3), 200, np.uint8),
        "heat": heat,
        "mask": mask,
        "peak": (4, 15),
    }
    return Explained(caption, **{**parts, **changed})


def test_row_has_the_image_and_the_map_over_it(words, inside):
    figure = explained_rows([explained(), explained()], title="Title", note="what to see")

    text = words(figure)
    assert len(figure.axes) == 2 * 2 + 1
    for part in ("Title", "what the camera saw", "where the network looked", "is crack",
                 "true defect", "highest point", "what to see"):  # fmt: skip
        assert part in text
    assert inside(figure)


def test_misses_are_told_in_red():
    figure = explained_rows([explained(), explained(is_hit=False)])

    assert figure.axes[0]._left_title.get_color() == style.BLACK
    assert figure.axes[2]._left_title.get_color() == style.VERMILION


def test_the_map_is_clear_where_nothing_speaks_for_the_class():
    heat = figure_heat(explained_rows([explained()]))

    opacity = heat.get_alpha()
    assert opacity[0, 0] == 0
    assert opacity[4, 15] == opacity.max() > 0.5


def figure_heat(figure) -> AxesImage:
    return figure.axes[1].images[-1]


def test_the_highest_point_is_marked_where_there_is_one():
    figure = explained_rows([explained(), explained(peak=None, heat=np.zeros((10, 30)))])

    first, second = figure.axes[1], figure.axes[3]
    assert [line.get_xydata().tolist() for line in first.lines] == [[[15, 4]]]
    assert list(second.lines) == []


def test_an_image_that_was_not_kept_is_said_and_its_map_is_drawn(words):
    assert "not kept" in words(explained_rows([explained(image=None)]))


@pytest.mark.parametrize("covers", [False, True])
def test_masks_without_an_edge_have_no_outline(words, covers):
    words(explained_rows([explained(mask=np.full((10, 30), covers))]))


@pytest.mark.parametrize(("height", "width"), [(20, 60), (60, 60), (60, 20), (5, 100)])
def test_images_of_any_shape_and_long_captions_stay_on_the_page(height, width, inside):
    shapes = {"heat": np.zeros((height, width)), "mask": np.zeros((height, width), bool)}
    rows = [explained(height, width, caption=LONG, peak=None, **shapes)] * 2
    assert inside(explained_rows(rows, title="T", note="two lines\nof a note"))


def test_nothing_to_show_is_said(words):
    assert "No images" in words(explained_rows([]))
