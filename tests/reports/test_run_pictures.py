import json

import pytest
from PIL import Image

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.run_pictures import worst_mistakes_of, write_run_pictures

ALL = {
    "curves.png",
    "confusion_matrix.png",
    "confusion_matrix_val.png",
    "precision_recall.png",
    "recall_by_class.png",
    "worst_mistakes.png",
}


def without_probabilities(folder):
    (folder / "predictions.csv").write_text(
        "index,split,label,prediction,score\n0,test,good,defect,0.5\n"
    )


def test_every_picture_is_written_and_equal_to_the_byte_when_drawn_again(run_folder):
    first = {path.name: path.read_bytes() for path in write_run_pictures(run_folder)}

    written = write_run_pictures(run_folder)

    assert {path.name: path.read_bytes() for path in written} == first
    assert {path.name for path in (run_folder / "figures").iterdir()} == ALL == set(first)
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 100


def test_evaluation_without_epochs_and_val_gets_its_test_pictures(run_folder):
    (run_folder / "metrics.csv").unlink()
    path = run_folder / "predictions.csv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if ",val," not in line), "utf-8")

    names = {path.name for path in write_run_pictures(run_folder)}

    assert names == ALL - {"curves.png", "confusion_matrix_val.png"}


def test_run_without_probabilities_gets_its_curves_only(run_folder):
    without_probabilities(run_folder)

    assert [path.name for path in write_run_pictures(run_folder)] == ["curves.png"]


def test_best_epoch_of_the_record_is_marked_where_it_is_known(run_folder):
    without_probabilities(run_folder)
    marked = write_run_pictures(run_folder)[0].read_bytes()
    (run_folder / "run.json").write_text(json.dumps({"format_version": 1}))

    assert write_run_pictures(run_folder)[0].read_bytes() != marked


def test_worst_mistakes_are_those_of_the_stage_with_a_thumbnail(run_folder):
    figure = worst_mistakes_of(read_run(run_folder), "test")

    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["is 007\ncalled good, 80%"]  # image 22 is wrong too, without a thumbnail


def test_mistakes_without_any_thumbnail_say_so(run_folder):
    for thumbnail in (run_folder / "images").iterdir():
        thumbnail.unlink()

    figure = worst_mistakes_of(read_run(run_folder), "test")

    assert [text.get_text() for text in figure.texts] == [
        "2 mistakes; the run kept no thumbnail of any of them."
    ]


def test_broken_thumbnail_is_named(run_folder):
    (run_folder / "images" / "23.jpg").write_bytes(b"no image")

    with pytest.raises(RunError, match=r"23\.jpg: not a readable thumbnail"):
        worst_mistakes_of(read_run(run_folder), "test")
