"""Plots of runs: each that there is data for, whatever is missing."""

import json
import shutil

import pytest
from PIL import Image
from sample_anomaly_runs import write_anomaly_run
from sample_explanations import write_explanations
from sample_runs import write_classification_run
from sample_segmentation_runs import change_maps, write_segmentation_run

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.anomaly_plots import anomaly_plots, examples_file_names
from capsule_inspection.reports.run.explanation_plots import EXPLANATIONS, explanation_plots
from capsule_inspection.reports.run.plots import misclassified_plot, write_run_plots
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.segmentation_plots import segmentation_plots
from capsule_inspection.types import RunError

CLASSIFICATION = {"training_curves.png", "confusion_matrix.png", "confusion_matrix_val.png",
                  "precision_recall.png", "recall_by_class.png",
                  "misclassified_images.png"}  # fmt: skip
EXAMPLES = {"examples.png", "examples_good.png", "examples_crack.png", "examples_poke.png"}
SCORES = {
    "training_curves.png",
    "scores.png",
    "scores_by_class.png",
    "recall_by_class.png",
    "roc.png",
}
ANOMALY = SCORES | EXAMPLES | {"pro.png"}
PIXELS = {"pro.png", "overlap_by_class.png"}
CONFUSION = {"confusion_matrix.png"}  # not of val, which fits the post-processing
SEGMENTATION = SCORES | EXAMPLES | PIXELS | CONFUSION
ODD = ("good", "../<b>a/b</b>", "膠囊 $x$")


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize(
    ("fixture", "list_plots", "expected"),
    [
        ("run_folder", explanation_plots, CLASSIFICATION | {EXPLANATIONS}),
        ("anomaly_run", anomaly_plots, ANOMALY),
        ("segmentation_run", segmentation_plots, SEGMENTATION),
    ],
)
def test_every_plot_is_written_and_equal_to_the_byte_when_drawn_again(
    request, tmp_path, fixture, list_plots, expected
):
    folder = request.getfixturevalue(fixture)
    if fixture == "run_folder":
        write_explanations(folder, [23])
    written = write_run_plots(folder)

    assert {path.name for path in written} == expected
    assert set(written) == set((folder / "figures").iterdir())
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 100
    again = dict(list_plots(read_run(folder)))
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
def test_plots_without_data_are_left_out_of_a_one_class_run(tmp_path, changed, absent):
    written = write_run_plots(write_anomaly_run(tmp_path / "run", **changed))
    assert {path.name for path in written} == ANOMALY - absent


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"binary": True}, CONFUSION),
        ({"masks": False}, PIXELS),
        ({"maps": False, "overlap_columns": True}, {"pro.png"}),
        ({"predicted": False, "thumbnails": False}, set()),
        ({"maps": False, "thumbnails": False}, {"pro.png", *EXAMPLES}),
        ({"images": (12,)}, {"roc.png", "examples_crack.png", "examples_poke.png", *PIXELS}),
        ({"images": (0, 3)}, {"roc.png", "pro.png", "examples_good.png", "examples_poke.png"}),
        ({"images": (0, 0, 1)}, {"roc.png", "pro.png", "examples_good.png", "examples_crack.png"}),
    ],
)
@pytest.mark.usefixtures("unrendered")
def test_plots_without_data_are_left_out_of_a_segmentation_run(tmp_path, changed, absent):
    written = write_run_plots(write_segmentation_run(tmp_path / "run", **changed))
    assert {path.name for path in written} == SEGMENTATION - absent


def test_odd_class_names_give_files_that_any_disk_takes_and_that_differ(tmp_path):
    for write, list_plots in (
        (write_anomaly_run, anomaly_plots),
        (write_segmentation_run, segmentation_plots),
    ):
        run = read_run(write(tmp_path / write.__name__, classes=ODD))
        files = {name for name, _ in list_plots(run)}
        assert {"examples_1_b_a_b_b.png", "examples_2_x.png"} <= files

    names = ["good", "GOOD", "膠囊", "a b", "a_b", "x" * 99]
    files = list(examples_file_names(names).values())
    assert len({file.lower() for file in files}) == len(names)
    assert all(len(file) < 70 for file in files)


@pytest.mark.usefixtures("unrendered")
def test_damaged_files_are_named(run_folder, anomaly_run, segmentation_run):
    for folder, thumbnail in ((anomaly_run, None), (segmentation_run, "0.jpg")):
        broken = shutil.copytree(folder, folder.with_name(f"{folder.name} broken"))
        (broken / "maps.npz").write_bytes(b"no archive")
        with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
            write_run_plots(broken)
        for path in (folder / "images").iterdir():
            if thumbnail in (None, path.name):
                path.write_bytes(b"no image")
        with pytest.raises(RunError, match=f"{thumbnail or ''}: not a readable thumbnail"):
            write_run_plots(folder)

    (run_folder / "explanations.npz").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"explanations\.npz: cannot be read"):
        write_run_plots(run_folder)
    (run_folder / "images" / "23.jpg").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"23\.jpg: not a readable thumbnail"):
        misclassified_plot(read_run(run_folder), "test")


# --- classification


@pytest.mark.usefixtures("unrendered")
def test_evaluation_without_epochs_and_val_gets_its_test_plots(run_folder):
    (run_folder / "metrics.csv").unlink()
    path = run_folder / "predictions.csv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if ",val," not in line), "utf-8")

    names = {path.name for path in write_run_plots(run_folder)}

    assert names == CLASSIFICATION - {"training_curves.png", "confusion_matrix_val.png"}


def test_run_without_probabilities_gets_its_curves_only_with_the_best_epoch(run_folder):
    (run_folder / "predictions.csv").write_text(
        "index,split,label,predicted_label,score\n0,test,good,defect,0.5\n"
    )

    (curves,) = write_run_plots(run_folder)
    assert curves.name == "training_curves.png"
    with_best_epoch = curves.read_bytes()
    (run_folder / "run.json").write_text(json.dumps({"format_version": 1}))
    assert write_run_plots(run_folder)[0].read_bytes() != with_best_epoch


def test_misclassified_images_are_those_of_the_stage_with_a_thumbnail(run_folder):
    figure = misclassified_plot(read_run(run_folder), "test")
    assert titles(figure) == ["true: 007\npred: good, 80%"]  # 22 is wrong too, without a thumbnail

    shutil.rmtree(run_folder / "images")
    figure = misclassified_plot(read_run(run_folder), "test")
    assert [text.get_text() for text in figure.texts] == [
        "2 mistakes; the run kept no thumbnail of any of them."
    ]


# --- segmentation


def test_image_without_thumbnail_has_a_placeholder(segmentation_run, texts_of):
    (segmentation_run / "images" / "0.jpg").unlink()  # the worst good image

    draw = dict(segmentation_plots(read_run(segmentation_run)))

    assert texts_of(draw["examples.png"]()).count("not kept") == 1
    assert "not kept" not in texts_of(draw["examples_crack.png"]())


def test_right_class_by_a_region_elsewhere_has_an_orange_caption(tmp_path):
    folder = write_segmentation_run(tmp_path / "run", images=(1, 1))
    elsewhere = [[0] * 31] * 8 + [[0] * 10 + [1] * 10 + [0] * 11] + [[0] * 31]
    change_maps(folder, "predicted_mask", rows=1, value=elsewhere)

    figure = dict(segmentation_plots(read_run(folder)))["examples_crack.png"]()

    caption = figure.axes[0]._left_title
    assert caption.get_text().endswith("by a region elsewhere")
    assert caption.get_color() == style.VERMILION


# --- explanations


def captions_of(folder) -> list[str]:
    ((name, draw),) = explanation_plots(read_run(folder))
    assert name == EXPLANATIONS
    figure = draw()
    return [figure._suptitle.get_text(), *titles(figure)[::2]]


def test_misses_come_first_by_decreasing_distance_and_then_hits(tmp_path, texts_of):
    folder = write_classification_run(tmp_path / "run", wrong=[45, 47])
    assert list(explanation_plots(read_run(folder))) == []
    write_explanations(folder, [])
    assert list(explanation_plots(read_run(folder))) == []

    write_explanations(folder, [44, 45, 46, 47, 9999], hits=[44, 45])  # the last is unknown
    title, *captions = captions_of(folder)
    assert title == "Peak on the defect in 2 of 4 images; misses first"
    assert captions[:4] == [
        "true: poke, predicted: good; peak elsewhere: a miss",
        "true: crack, predicted: crack; peak elsewhere: a miss",
        "true: crack, predicted: crack; peak on the defect: a hit",
        "true: poke, predicted: good; peak on the defect: a hit",
    ]
    ((_, draw),) = explanation_plots(read_run(folder))
    assert texts_of(draw()).count("not kept") == 2  # only mistakes have a thumbnail here

    write_explanations(folder, [44, 45, 46], flat=[45])  # without a peak: a miss, before all
    title, first, *_ = captions_of(folder)
    assert "in 0 of 3" in title
    assert first.startswith("true: poke")

    write_explanations(folder, list(range(44, 66)), hits=range(44, 62))
    title, *captions = captions_of(folder)
    assert "18 of 22" in title
    shown = [caption for caption in captions if caption]
    assert len(shown) == 8
    assert sum("a miss" in caption for caption in shown) == 4
