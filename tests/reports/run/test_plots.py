"""Plots of runs: each that there is data for, whatever is missing."""

import json
import shutil

import pytest
from PIL import Image
from sample_anomaly_runs import write_anomaly_run
from sample_explanations import write_explanations
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.plots import page_plots, run_plots, write_run_plots
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import RunError

CURVES = {"scores.png", "recall_by_class.png", "roc.png", "training_curves.png"}
CONFUSION = {"confusion_matrix.png"}  # not of val, which fits the post-processing
CLASSIFICATION = CURVES | CONFUSION | {"confusion_matrix_val.png", "precision_recall.png",
                                       "misclassified_images.png"}  # fmt: skip
EXAMPLES = {"examples.png", "examples_median.png", "examples_best.png"}
ANOMALY = CURVES | EXAMPLES
OVERLAP = {"overlap_by_class.png"}
SEGMENTATION = CURVES | EXAMPLES | OVERLAP | CONFUSION


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [
        ("run_folder", CLASSIFICATION | {"explanations.png"}),
        ("anomaly_run", ANOMALY),
        ("segmentation_run", SEGMENTATION),
    ],
)
def test_every_plot_is_written_and_equal_to_the_byte_when_drawn_again(
    request, tmp_path, fixture, expected
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
    for plot in run_plots(read_run(folder)):
        if plot.file in {"explanations.png", "examples.png", "scores.png", "roc.png"}:
            style.save(plot.draw(), tmp_path / plot.file)
            again = (tmp_path / plot.file).read_bytes()
            assert again == (folder / "figures" / plot.file).read_bytes()


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"maps": False, "reconstructions": False}, set()),
        ({"thumbnails": False, "calibration": 0}, set()),
        ({"maps": False, "thumbnails": False}, EXAMPLES),
        ({"images": (12,)}, {"roc.png"}),
        ({"images": (2, 1, 1)}, {"examples_median.png"}),
        ({"images": (0, 1, 1)}, {"roc.png", "examples_median.png", "examples_best.png"}),
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
        ({"masks": False}, OVERLAP),
        ({"maps": False, "overlap_columns": True}, set()),
        ({"predicted": False, "thumbnails": False}, set()),
        ({"maps": False, "thumbnails": False}, EXAMPLES),
        ({"images": (12,)}, {"roc.png", *OVERLAP}),
        ({"images": (0, 3)}, {"roc.png"}),
    ],
)
@pytest.mark.usefixtures("unrendered")
def test_plots_without_data_are_left_out_of_a_segmentation_run(tmp_path, changed, absent):
    written = write_run_plots(write_segmentation_run(tmp_path / "run", **changed))
    assert {path.name for path in written} == SEGMENTATION - absent


def curves_of(folder):
    return next(plot for plot in run_plots(read_run(folder)) if plot.file == "roc.png").draw()


def test_curves_of_pixels_need_masks(tmp_path):
    assert len(curves_of(write_anomaly_run(tmp_path / "masks")).axes) == 3
    assert len(curves_of(write_anomaly_run(tmp_path / "none", masks=False)).axes) == 1
    assert len(curves_of(write_segmentation_run(tmp_path / "segmentation")).axes) == 3
    folder = write_classification_run(tmp_path / "classifier", wrong=[45])
    assert len(curves_of(folder).axes) == 1


def test_images_that_set_the_threshold_are_shown_unless_labelled_defects_did(anomaly_run, texts_of):
    def scores() -> str:
        plots = {plot.file: plot for plot in run_plots(read_run(anomaly_run))}
        return texts_of(plots["scores.png"].draw())

    assert "good, calibration" in scores()
    record = json.loads((anomaly_run / "run.json").read_text())
    record["threshold"]["rule"] = "f1"
    (anomaly_run / "run.json").write_text(json.dumps(record))
    assert "calibration" not in scores()


@pytest.mark.usefixtures("unrendered")
def test_damaged_files_are_named(run_folder, anomaly_run, segmentation_run):
    for folder in (anomaly_run, segmentation_run):
        broken = shutil.copytree(folder, folder.with_name(f"{folder.name} broken"))
        (broken / "maps.npz").write_bytes(b"no archive")
        with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
            write_run_plots(broken)
        for path in (folder / "images").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(RunError, match="not a readable thumbnail"):
            write_run_plots(folder)

    (run_folder / "explanations.npz").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"explanations\.npz: cannot be read"):
        write_run_plots(run_folder)
    (run_folder / "explanations.npz").unlink()
    (run_folder / "images" / "23.jpg").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"23\.jpg: not a readable thumbnail"):
        write_run_plots(run_folder)


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


def test_empty_explanations_are_no_plot(run_folder):
    write_explanations(run_folder, [])
    assert "explanations.png" not in {plot.file for plot in run_plots(read_run(run_folder))}


# --- the page


def test_page_gets_the_plots_of_the_folder_with_title_caption_and_section(anomaly_run):
    write_run_plots(anomaly_run)
    (anomaly_run / "figures" / "recall_by_class.png").unlink()

    images = {image.file: image for image in page_plots(read_run(anomaly_run))}

    assert set(images) == {f"figures/{name}" for name in ANOMALY - {"recall_by_class.png"}}
    scores = images["figures/scores.png"]
    assert (scores.title, scores.section) == ("Scores of the images", "results")
    assert "Blue and orange should not overlap." in scores.caption
    assert "The green images set the threshold" in scores.caption
    assert "\n" not in scores.caption
    assert images["figures/examples.png"].section == "examples"
    assert images["figures/examples_best.png"].section == "more_examples"
    assert images["figures/training_curves.png"].section == "training"
    assert all(image.title and image.caption for image in images.values())
    assert images["figures/examples.png"].is_wide
    assert not scores.is_wide  # one of two columns


def test_captions_are_those_of_the_task(run_folder, segmentation_run):
    def captions(folder) -> dict[str, str]:
        return {plot.file: plot.title + plot.caption for plot in run_plots(read_run(folder))}

    classifier, segmentation = captions(run_folder), captions(segmentation_run)
    assert "Probability of any defect" in classifier["scores.png"]
    assert "the most probable class decides" in classifier["scores.png"]
    assert "left of the dashed line is missed" in segmentation["scores.png"]
    assert "localization" not in classifier["roc.png"]
    assert "localization" in segmentation["roc.png"]
    assert "Filled is the predicted mask" in segmentation["examples.png"]
    assert "without post-processing" in segmentation["training_curves.png"]
    assert "post-processing" not in classifier["training_curves.png"]
