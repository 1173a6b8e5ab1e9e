"""Pictures of runs: each that there is data for, whatever is missing."""

import json
import shutil

import pytest
from drawn_anomaly_runs import draw_anomaly_run
from drawn_explanations import draw_explanations
from drawn_runs import draw_run
from drawn_segmentation_runs import change_maps, draw_marking_run
from PIL import Image

from capsule_inspection.reports import style
from capsule_inspection.reports.run_anomaly import anomaly_drawings, examples_file_names
from capsule_inspection.reports.run_explanations import EXPLANATIONS, explanation_drawings
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.run_pictures import worst_mistakes_of, write_run_pictures
from capsule_inspection.reports.run_segmentation import segmentation_drawings
from capsule_inspection.types import RunError

OF_CLASSES = {"curves.png", "confusion_matrix.png", "confusion_matrix_val.png",
              "precision_recall.png", "recall_by_class.png", "worst_mistakes.png"}  # fmt: skip
EXAMPLES = {"examples.png", "examples_good.png", "examples_crack.png", "examples_poke.png"}
OF_SCORES = {"curves.png", "scores.png", "scores_by_class.png", "recall_by_class.png", "roc.png"}
OF_ANOMALY = OF_SCORES | EXAMPLES | {"pro.png"}
OF_PIXELS = {"pro.png", "overlap_by_class.png"}
OF_NAMES = {"confusion_matrix.png"}  # not of val, whose images chose the decision
OF_MARKS = OF_SCORES | EXAMPLES | OF_PIXELS | OF_NAMES
ODD = ("good", "../<b>a/b</b>", "膠囊 $x$")


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize(
    ("kind", "drawings", "expected"),
    [
        ("run_folder", explanation_drawings, OF_CLASSES | {EXPLANATIONS}),
        ("anomaly_run", anomaly_drawings, OF_ANOMALY),
        ("marking_run", segmentation_drawings, OF_MARKS),
    ],
)
def test_every_picture_is_written_and_equal_to_the_byte_when_drawn_again(
    request, tmp_path, kind, drawings, expected
):
    folder = request.getfixturevalue(kind)
    if kind == "run_folder":
        draw_explanations(folder, [23])
    written = write_run_pictures(folder)

    assert {path.name for path in written} == expected
    assert set(written) == set((folder / "figures").iterdir())
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    again = dict(drawings(read_run(folder)))
    for name in {EXPLANATIONS, "examples.png", "scores.png", "roc.png"} & set(again):
        style.save(again[name](), tmp_path / name)
        assert (tmp_path / name).read_bytes() == (folder / "figures" / name).read_bytes()


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"masks": False}, {"pro.png"}),
        ({"maps": False, "reconstructions": False}, {"pro.png"}),
        ({"thumbnails": False, "calibration": 0}, set()),
        ({"maps": False, "thumbnails": False}, {"pro.png", *EXAMPLES}),
        ({"images": (12,)}, {"pro.png", "roc.png", "examples_crack.png", "examples_poke.png"}),
        ({"images": (0, 1, 1)}, {"pro.png", "roc.png", "examples_good.png"}),
    ],
)
@pytest.mark.usefixtures("unrendered")
def test_what_a_one_class_run_has_no_data_for_is_not_drawn(tmp_path, changed, absent):
    written = write_run_pictures(draw_anomaly_run(tmp_path / "run", **changed))
    assert {path.name for path in written} == OF_ANOMALY - absent


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"binary": True}, OF_NAMES),
        ({"masks": False}, OF_PIXELS),
        ({"maps": False, "overlap_columns": True}, {"pro.png"}),
        ({"marked": False, "thumbnails": False}, set()),
        ({"maps": False, "thumbnails": False}, {"pro.png", *EXAMPLES}),
        ({"images": (12,)}, {"roc.png", "examples_crack.png", "examples_poke.png", *OF_PIXELS}),
        ({"images": (0, 3)}, {"roc.png", "pro.png", "examples_good.png", "examples_poke.png"}),
        ({"images": (0, 0, 1)}, {"roc.png", "pro.png", "examples_good.png", "examples_crack.png"}),
    ],
)
@pytest.mark.usefixtures("unrendered")
def test_what_a_run_that_marks_pixels_has_no_data_for_is_not_drawn(tmp_path, changed, absent):
    written = write_run_pictures(draw_marking_run(tmp_path / "run", **changed))
    assert {path.name for path in written} == OF_MARKS - absent


def test_odd_class_names_give_files_that_any_disk_takes_and_that_differ(tmp_path):
    for draw, drawings in (
        (draw_anomaly_run, anomaly_drawings),
        (draw_marking_run, segmentation_drawings),
    ):
        run = read_run(draw(tmp_path / draw.__name__, classes=ODD))
        files = {name for name, _ in drawings(run)}
        assert {"examples_1_b_a_b_b.png", "examples_2_x.png"} <= files

    names = ["good", "GOOD", "膠囊", "a b", "a_b", "x" * 99]
    files = list(examples_file_names(names).values())
    assert len({file.lower() for file in files}) == len(names)
    assert all(len(file) < 70 for file in files)


@pytest.mark.usefixtures("unrendered")
def test_damaged_files_are_named(run_folder, anomaly_run, marking_run):
    for folder, thumbnail in ((anomaly_run, None), (marking_run, "0.jpg")):
        broken = shutil.copytree(folder, folder.with_name(f"{folder.name} broken"))
        (broken / "maps.npz").write_bytes(b"no archive")
        with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
            write_run_pictures(broken)
        for path in (folder / "images").iterdir():
            if thumbnail in (None, path.name):
                path.write_bytes(b"no image")
        with pytest.raises(RunError, match=f"{thumbnail or ''}: not a readable thumbnail"):
            write_run_pictures(folder)

    (run_folder / "explanations.npz").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"explanations\.npz: cannot be read"):
        write_run_pictures(run_folder)
    (run_folder / "images" / "23.jpg").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"23\.jpg: not a readable thumbnail"):
        worst_mistakes_of(read_run(run_folder), "test")


# --- classification


@pytest.mark.usefixtures("unrendered")
def test_evaluation_without_epochs_and_val_gets_its_test_pictures(run_folder):
    (run_folder / "metrics.csv").unlink()
    path = run_folder / "predictions.csv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if ",val," not in line), "utf-8")

    names = {path.name for path in write_run_pictures(run_folder)}

    assert names == OF_CLASSES - {"curves.png", "confusion_matrix_val.png"}


def test_run_without_probabilities_gets_its_curves_only_with_the_best_epoch(run_folder):
    (run_folder / "predictions.csv").write_text(
        "index,split,label,prediction,score\n0,test,good,defect,0.5\n"
    )

    (curves,) = write_run_pictures(run_folder)
    assert curves.name == "curves.png"
    marked = curves.read_bytes()
    (run_folder / "run.json").write_text(json.dumps({"format_version": 1}))
    assert write_run_pictures(run_folder)[0].read_bytes() != marked


def test_worst_mistakes_are_those_of_the_stage_with_a_thumbnail(run_folder):
    figure = worst_mistakes_of(read_run(run_folder), "test")
    assert titles(figure) == ["is 007\ncalled good, 80%"]  # 22 is wrong too, without a thumbnail

    shutil.rmtree(run_folder / "images")
    figure = worst_mistakes_of(read_run(run_folder), "test")
    assert [text.get_text() for text in figure.texts] == [
        "2 mistakes; the run kept no thumbnail of any of them."
    ]


# --- marks


def test_image_without_thumbnail_leaves_its_place_empty_and_the_others_as_they_are(
    marking_run, words
):
    (marking_run / "images" / "0.jpg").unlink()  # the worst good image

    draw = dict(segmentation_drawings(read_run(marking_run)))

    assert words(draw["examples.png"]()).count("not kept") == 1
    assert "not kept" not in words(draw["examples_crack.png"]())


def test_right_name_by_marks_elsewhere_is_an_orange_caption(tmp_path):
    folder = draw_marking_run(tmp_path / "run", images=(1, 1))
    elsewhere = [[0] * 31] * 8 + [[0] * 10 + [1] * 10 + [0] * 11] + [[0] * 31]
    change_maps(folder, "marked", rows=1, value=elsewhere)

    figure = dict(segmentation_drawings(read_run(folder)))["examples_crack.png"]()

    caption = figure.axes[0]._left_title
    assert caption.get_text().endswith("by marks elsewhere")
    assert caption.get_color() == style.VERMILION


# --- explanations


def explained(folder) -> list[str]:
    ((name, draw),) = explanation_drawings(read_run(folder))
    assert name == EXPLANATIONS
    figure = draw()
    return [figure._suptitle.get_text(), *titles(figure)[::2]]


def test_misses_come_first_the_farthest_before_all_and_then_hits(tmp_path, words):
    folder = draw_run(tmp_path / "run", wrong=[45, 47])
    assert list(explanation_drawings(read_run(folder))) == []
    draw_explanations(folder, [])
    assert list(explanation_drawings(read_run(folder))) == []

    draw_explanations(folder, [44, 45, 46, 47, 9999], hits=[44, 45])  # the last is unknown
    title, *captions = explained(folder)
    assert title == "Looked at the defect in 2 of 4 images; misses first"
    assert captions[:4] == [
        "is poke, called good; looked elsewhere: a miss",
        "is crack, called crack; looked elsewhere: a miss",
        "is crack, called crack; looked at the defect: a hit",
        "is poke, called good; looked at the defect: a hit",
    ]
    ((_, draw),) = explanation_drawings(read_run(folder))
    assert words(draw()).count("not kept") == 2  # only mistakes have a thumbnail here

    draw_explanations(folder, [44, 45, 46], flat=[45])  # no highest point: a miss, before all
    title, first, *_ = explained(folder)
    assert "in 0 of 3" in title
    assert first.startswith("is poke")

    draw_explanations(folder, list(range(44, 66)), hits=range(44, 62))
    title, *captions = explained(folder)
    assert "18 of 22" in title
    shown = [caption for caption in captions if caption]
    assert len(shown) == 8
    assert sum("a miss" in caption for caption in shown) == 4
