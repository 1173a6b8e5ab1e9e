"""Pictures of runs that mark pixels: each that there is data for, whatever is missing."""

import numpy as np
import pytest
from drawn_marking_runs import draw_marking_run
from PIL import Image

from capsule_inspection.contracts import RunError
from capsule_inspection.reports import style
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.run_pictures import write_run_pictures
from capsule_inspection.reports.run_segmentation import segmentation_drawings

OF_NAMES = {"confusion_matrix.png"}  # not of val, whose images chose the decision
EXAMPLES = {"examples.png", "examples_good.png", "examples_crack.png", "examples_poke.png"}
OF_PIXELS = {"pro.png", "overlap_by_class.png"}
ALL = EXAMPLES | OF_NAMES | OF_PIXELS
ALL |= {"curves.png", "scores.png", "scores_by_class.png", "recall_by_class.png", "roc.png"}


def drawn(folder) -> set[str]:
    return {path.name for path in write_run_pictures(folder)}


def test_every_picture_is_written_and_equal_to_the_byte_when_drawn_again(marking_run):
    first = {path.name: path.read_bytes() for path in write_run_pictures(marking_run)}

    written = write_run_pictures(marking_run)

    assert {path.name: path.read_bytes() for path in written} == first
    assert set(first) == ALL
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"binary": True}, OF_NAMES),
        ({"masks": False}, OF_PIXELS),
        ({"maps": False}, {"pro.png"}),
        ({"maps": False, "overlap_columns": True}, {"pro.png"}),
        ({"marked": False}, set()),
        ({"thumbnails": False}, set()),
        ({"maps": False, "thumbnails": False}, {"pro.png", *EXAMPLES}),
        ({"images": (12,)}, {"roc.png", "examples_crack.png", "examples_poke.png", *OF_PIXELS}),
        ({"images": (0, 3)}, {"roc.png", "pro.png", "examples_good.png", "examples_poke.png"}),
        ({"images": (0, 0, 1)}, {"roc.png", "pro.png", "examples_good.png", "examples_crack.png"}),
    ],
)
def test_what_there_is_no_data_for_is_not_drawn(tmp_path, changed, absent):
    assert drawn(draw_marking_run(tmp_path / "run", **changed)) == ALL - absent


def test_image_without_thumbnail_leaves_its_place_empty_and_the_others_as_they_are(
    marking_run, words
):
    (marking_run / "images" / "0.jpg").unlink()  # the worst good image

    draw = dict(segmentation_drawings(read_run(marking_run)))

    assert words(draw["examples.png"]()).count("not kept") == 1
    assert "not kept" not in words(draw["examples_crack.png"]())


def test_odd_class_names_give_files_that_any_disk_takes(tmp_path):
    names = ("good", "../<b>a/b</b>", "膠囊 $x$")
    run = read_run(draw_marking_run(tmp_path / "run", classes=names))

    files = {name for name, _ in segmentation_drawings(run)}

    assert {"examples_1_b_a_b_b.png", "examples_2_x.png"} <= files


def test_right_name_by_marks_elsewhere_is_an_orange_caption(tmp_path):
    folder = draw_marking_run(tmp_path / "run", images=(1, 1))
    with np.load(folder / "maps.npz") as stored:
        arrays = dict(stored)
    arrays["marked"][1] = np.roll(arrays["masks"][1], 5, axis=0)
    np.savez(folder / "maps.npz", **arrays)

    figure = dict(segmentation_drawings(read_run(folder)))["examples_crack.png"]()

    caption = figure.axes[0]._left_title
    assert caption.get_text().endswith("by marks elsewhere")
    assert caption.get_color() == style.VERMILION


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_maps_are_named(marking_run, damage):
    path = marking_run / "maps.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)

    with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
        write_run_pictures(marking_run)


def test_broken_thumbnail_is_named(marking_run):
    (marking_run / "images" / "0.jpg").write_bytes(b"no image")

    with pytest.raises(RunError, match=r"0\.jpg: not a readable thumbnail"):
        write_run_pictures(marking_run)
