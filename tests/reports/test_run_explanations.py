"""Which images are shown of where a classifier looked, and as what."""

import numpy as np
import pytest
from drawn_explanations import draw_explanations
from drawn_runs import draw_run

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.run_explanations import EXPLANATIONS, explanation_drawings
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.run_pictures import write_run_pictures

DEFECTS = range(44, 66)
"""Of a drawn run: crack and poke in turns."""


def captions_of(folder) -> list[str]:
    ((name, draw),) = explanation_drawings(read_run(folder))
    assert name == EXPLANATIONS
    figure = draw()
    return [figure._suptitle.get_text(), *(axes.get_title(loc="left") for axes in figure.axes[::2])]


@pytest.fixture
def folder(tmp_path):
    return draw_run(tmp_path / "run", wrong=[45, 47])


def test_misses_come_first_the_farthest_before_all_and_then_hits(folder):
    draw_explanations(folder, [44, 45, 46, 47], hits=[44, 45])

    title, *captions = captions_of(folder)

    assert title == "Looked at the defect in 2 of 4 images; misses first"
    assert captions[:4] == [
        "is poke, called good; looked elsewhere: a miss",
        "is crack, called crack; looked elsewhere: a miss",
        "is crack, called crack; looked at the defect: a hit",
        "is poke, called good; looked at the defect: a hit",
    ]


def test_a_map_without_a_highest_point_is_a_miss_that_comes_before_all(folder):
    draw_explanations(folder, [44, 45, 46], flat=[45])

    title, first, *_ = captions_of(folder)

    assert "in 0 of 3" in title
    assert first.startswith("is poke")


def test_eight_images_are_shown_and_all_are_counted(folder):
    draw_explanations(folder, list(DEFECTS), hits=range(44, 62))

    title, *captions = captions_of(folder)

    assert "18 of 22" in title
    shown = [caption for caption in captions if caption]
    assert len(shown) == 8
    assert sum("a miss" in caption for caption in shown) == 4


def test_images_that_are_not_among_the_predictions_are_left_out(folder):
    draw_explanations(folder, [44, 9999])

    assert "0 of 1 images" in captions_of(folder)[0]


def test_thumbnails_are_shown_where_they_were_kept(folder, words):
    draw_explanations(folder, [44, 45])
    ((_, draw),) = explanation_drawings(read_run(folder))

    assert words(draw()).count("not kept") == 1  # only mistakes have a thumbnail here


def test_runs_that_kept_no_explanations_have_no_such_picture(folder):
    assert list(explanation_drawings(read_run(folder))) == []
    draw_explanations(folder, [])
    assert list(explanation_drawings(read_run(folder))) == []


def test_the_picture_is_written_with_the_others(folder):
    draw_explanations(folder, [44])

    assert EXPLANATIONS in {path.name for path in write_run_pictures(folder)}


def test_a_damaged_file_is_named(folder):
    (folder / "explanations.npz").write_bytes(b"no archive")

    with pytest.raises(RunError, match=r"explanations\.npz: cannot be read"):
        write_run_pictures(folder)


def test_explanations_do_not_make_a_run_one_with_maps(folder):
    draw_explanations(folder, [44])
    run = read_run(folder)

    assert run.maps is None
    assert run.explanations is not None
    assert np.array_equal(run.explanations.index, [44])
