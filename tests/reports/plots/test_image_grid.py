"""Grids of pictures: captions, headings and placeholders, for pictures of any shape."""

import itertools

import numpy as np
import pytest

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.image_grid import Panel, draw_grid, wrap_panels
from capsule_inspection.reports.plots.overlays import FULL, class_patches

LONG = "an exceedingly long caption of an image that says its class, its score and its threshold"


def picture(height: int = 20, width: int = 60, grey: int = 200) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def caption_of(figure, text: str):
    return next(of for of in figure.texts if of.get_text().replace("\n", " ") == text)


def test_grid_has_title_headings_captions_legend_and_note(texts_of, is_inside_figure):
    rows = [
        [Panel(picture(), "first"), Panel(picture())],
        [Panel(picture(), "second", is_wrong=True), Panel(None, placeholder="no region")],
    ]
    figure = draw_grid(rows, title="Title", headings=("image", "map"), note="how to read it",
                       legend=class_patches(["crack", "poke"]))  # fmt: skip

    text = texts_of(figure)
    for part in ("Title", "image", "map", "first", "second", "no region", "how to read it",
                 "crack", "poke"):  # fmt: skip
        assert part in text
    assert len(figure.axes) == 4
    assert caption_of(figure, "first").get_color() == style.BLACK
    assert caption_of(figure, "second").get_color() == style.WRONG
    assert is_inside_figure(figure)


def test_grid_without_pictures_says_so(texts_of):
    assert "No images" in texts_of(draw_grid([]))
    assert "No images" in texts_of(draw_grid([[], []]))
    assert texts_of(draw_grid([[Panel(None)]])).count("not kept") == 1


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 20), (5, 100)])
@pytest.mark.parametrize("columns", [1, 5])
def test_pictures_of_any_shape_and_long_texts_stay_within_the_figure(
    height, width, columns, is_inside_figure
):
    names = [f"an exceedingly long name of a defect, number {i}" for i in range(14)]
    row = [Panel(picture(height, width), LONG) for _ in range(columns)]
    alone = [row[0], *(Panel(None) for _ in row[1:])]
    figure = draw_grid([row, alone], title="T", headings=["h"] * columns, note=LONG * 3,
                       legend=class_patches(names))  # fmt: skip
    assert is_inside_figure(figure)
    assert figure.get_figwidth() <= style.FULL_WIDTH + 1e-9


def test_captions_of_neighbours_do_not_overlap_and_a_single_one_has_the_whole_row():
    several = draw_grid([[Panel(picture(), LONG)] * 4])
    style.figure_to_array(several)
    captions = [text for text in several.texts if "exceedingly" in text.get_text()]
    boxes = sorted((text.get_window_extent() for text in captions), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))

    single = draw_grid([[Panel(picture(), LONG), *[Panel(picture())] * 3]])
    assert any(text.get_text() == LONG for text in single.texts)


def test_frame_and_cross_lie_where_they_are_said_to_be():
    framed = Panel(picture(20, 60), frame=(0.5, 0.25, 1.0, 0.75), cross=(0.5, 0.5))
    plain, whole = Panel(picture(20, 60)), Panel(picture(20, 60), frame=FULL)

    first, second, third = draw_grid([[framed, plain, whole]]).axes

    (frame,) = first.patches
    assert frame.get_xy() == (30, 5)
    assert (frame.get_width(), frame.get_height()) == (30, 10)
    assert first.lines[0].get_xydata().tolist() == [[30, 10]]
    assert not [*second.patches, *third.patches, *second.lines]


def test_wide_pictures_stand_in_fewer_columns_than_tall_ones():
    for shape, columns in (((20, 60), 4), ((30, 30), 6), ((90, 30), 6)):
        rows = wrap_panels([Panel(picture(*shape))] * 13)
        assert [len(row) for row in rows][:-1] == [columns] * (13 // columns)
        assert sum(map(len, rows)) == 13
