"""Example pictures: which images of a run are chosen, and what is shown of them."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sample_anomaly_runs import write_anomaly_run
from sample_explanations import write_explanations
from sample_runs import write_classification_run
from sample_segmentation_runs import change_maps, write_segmentation_run

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.examples import (
    BEST,
    MEDIAN,
    WORST,
    draw_examples,
    draw_explanations,
    draw_mistakes,
    list_examples,
    select_examples,
)
from capsule_inspection.reports.run.maps import read_thumbnail
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import IGNORE_INDEX, RunError


def examples_of_crack(*is_known: bool) -> pd.DataFrame:
    return pd.DataFrame({"label": "crack", "text": "text", "is_known": is_known})


def of_class(folder, name: str) -> pd.DataFrame:
    """In the order of the predictions."""
    return list_examples(read_run(folder)).query("label == @name").sort_index()


def captions_of(folder, which: str = WORST) -> list[str]:
    return [one["caption"] for one in select_examples(list_examples(read_run(folder)), which)]


def drawn(folder, which: str = WORST):
    return draw_examples(read_run(folder), which)


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_the_legend_names_ignored_pixels_where_there_are_any(tmp_path):
    folder = write_segmentation_run(tmp_path / "run")

    def legend() -> list[str]:
        return [text.get_text() for box in drawn(folder).legends for text in box.get_texts()]

    assert legend()
    assert "ignored" not in legend()
    change_maps(folder, "masks", rows=(slice(None), slice(0, 4)), value=IGNORE_INDEX)
    assert "ignored" in legend()


# --- which images


def test_small_classes_have_fewer_examples_and_images_of_unknown_quality_are_left_out():
    for count, expected in (
        (1, ["its only image", "", ""]),
        (2, ["worst of 2", "", "best of 2"]),
        (3, ["worst of 3", "median of 3", "best of 3"]),
        (4, ["worst of 4", "median of 4", "best of 4"]),
    ):
        examples = examples_of_crack(*[True] * count)
        for which, place in zip((WORST, MEDIAN, BEST), expected, strict=True):
            found = select_examples(examples, which)
            assert [one["caption"] for one in found] == [f"crack, {place}: text"] * bool(place)

    (chosen,) = select_examples(examples_of_crack(False, True, False), WORST)
    assert chosen["is_known"]
    assert "its only image" in chosen["caption"]
    assert len(select_examples(examples_of_crack(False, False), BEST)) == 1


def test_worst_good_image_has_the_highest_score_and_worst_defect_the_lowest(anomaly_run):
    assert captions_of(anomaly_run) == [
        "good, worst of 12: score 1.2, predicted defect",
        "crack, worst of 5: score 1.3, predicted defect",
        "poke, worst of 4: score 0.7, predicted good",
    ]
    worst = select_examples(list_examples(read_run(anomaly_run)), WORST)
    assert [one["is_wrong"] for one in worst] == [True, False, True]


def test_masks_are_ranked_by_right_class_and_then_dice(tmp_path):
    folder = write_segmentation_run(tmp_path / "run", overlap_columns=True)
    assert captions_of(folder)[1:] == [
        "crack, worst of 5: Dice 0.90, predicted poke",
        "poke, worst of 4: Dice 0.00, predicted good",
    ]
    assert captions_of(folder, BEST)[1] == "crack, best of 5: Dice 1.00, predicted crack"
    assert of_class(folder, "crack")["is_wrong"].tolist() == [False, True, False, False, False]

    binary = write_segmentation_run(tmp_path / "binary", overlap_columns=True, binary=True)
    second = of_class(binary, "crack").iloc[1]
    assert second["text"] == "Dice 0.90, predicted defect"
    assert not second["is_wrong"]


def test_defects_without_dice_are_ranked_by_right_class_and_then_score(tmp_path):
    folder = write_segmentation_run(tmp_path / "run")
    assert not of_class(folder, "crack")["is_known"].any()
    assert captions_of(folder)[1:] == [
        "crack, worst of 5: score 0.9, predicted poke",
        "poke, worst of 4: score 0.12, predicted good",
    ]


def test_right_class_by_a_region_elsewhere_is_a_mistake(tmp_path):
    folder = write_segmentation_run(tmp_path / "run", overlap_columns=True)
    path = folder / "predictions.csv"
    lines = path.read_text("utf-8").splitlines()
    row = next(n for n, line in enumerate(lines) if ",crack,crack,0.9" in line)
    lines[row] = ",".join([*lines[row].split(",")[:-2], "0.0", "0.0"])
    path.write_text("\n".join(lines), "utf-8")

    first = of_class(folder, "crack").iloc[0]

    assert first["text"] == "Dice 0.00, predicted crack by a region elsewhere"
    assert first["is_wrong"]


# --- what is shown of them


def test_row_of_an_anomaly_run_has_every_picture_and_one_scale(anomaly_run, texts_of):
    figure = drawn(anomaly_run)

    text = texts_of(figure)
    assert len(figure.axes) == 3 * 5
    headings = ("reconstruction", "anomaly map", "overlay", "the frame, enlarged")
    for part in ("The worst image of each class", "true defect", "above all but 0.5%", *headings):
        assert part in text
    assert "not kept" not in text


def test_row_of_a_segmentation_run_shows_masks_in_the_colours_of_their_classes(
    segmentation_run, texts_of
):
    figure = drawn(segmentation_run)

    text = texts_of(figure)
    assert len(figure.axes) == 3 * 4
    for part in ("probability of any defect", "filled: predicted, outlined: true"):
        assert part in text
    assert [label.get_text() for label in figure.legends[0].texts] == ["crack", "poke"]
    assert "reconstruction" not in text


@pytest.mark.parametrize(
    ("write", "changed", "columns", "placeholders"),
    [
        (write_anomaly_run, {"reconstructions": False}, 4, 0),
        (write_anomaly_run, {"maps": False, "reconstructions": False}, 1, 0),
        (write_anomaly_run, {"masks": False}, 5, 0),
        (write_segmentation_run, {"maps": False}, 1, 0),
        (write_segmentation_run, {"masks": False, "predicted": False}, 3, 0),
        (write_segmentation_run, {"thumbnails": False}, 4, 3),
    ],
)
def test_columns_without_pictures_are_left_out(
    tmp_path, texts_of, write, changed, columns, placeholders
):
    figure = drawn(write(tmp_path / "run", **changed))

    assert len(figure.axes) == 3 * columns
    assert texts_of(figure).count("not kept") == placeholders


def test_image_without_thumbnail_has_its_masks_on_grey_and_a_placeholder(
    segmentation_run, texts_of
):
    (segmentation_run / "images" / "0.jpg").unlink()  # the first good image
    path = segmentation_run / "predictions.csv"  # has the highest score, so it is the worst
    path.write_text(path.read_text("utf-8").replace(",good,poke,0.9", ",good,poke,0.95"), "utf-8")
    figure = drawn(segmentation_run)

    assert texts_of(figure).count("not kept") == 1
    overlay = np.asarray(figure.axes[2].images[0].get_array())
    assert overlay[0, 0].tolist() == [200, 200, 200]


def test_mistakes_are_the_most_confident_ones_with_a_thumbnail(run_folder):
    figure = draw_mistakes(read_run(run_folder))
    assert "true: 007\npredicted: good, 80%" in texts(figure)  # 22 is wrong too, but not kept
    assert len(figure.axes) == 1
    assert "The 1 most confident of 2 mistakes, among 6 images" in texts(figure)

    shutil.rmtree(run_folder / "images")
    assert "2 mistakes; the run kept no thumbnail of any of them." in texts(
        draw_mistakes(read_run(run_folder))
    )


def test_run_without_mistakes_says_so(tmp_path):
    folder = write_classification_run(tmp_path / "run", wrong=[])
    (text,) = texts(draw_mistakes(read_run(folder)))
    assert text.startswith("No mistakes: all")


def test_misses_come_first_by_decreasing_distance_and_then_hits(tmp_path, texts_of):
    folder = write_classification_run(tmp_path / "run", wrong=[45, 47])

    def explained():
        run = read_run(folder)
        figure = draw_explanations(run, run.explanations)
        captions = [text for text in texts(figure) if text.endswith((": hit", ": miss"))]
        return figure, texts(figure)[0], captions

    write_explanations(folder, [44, 45, 46, 47], hits=[44, 45])
    figure, title, captions = explained()
    assert title == "Peak on the defect in 2 of 4 images; misses first"
    assert captions == [
        "poke, predicted good: miss",
        "crack, predicted crack: miss",
        "crack, predicted crack: hit",
        "poke, predicted good: hit",
    ]
    colours = [text.get_color() for text in figure.texts if text.get_text() in captions]
    assert colours[:2] == [style.WRONG] * 2
    assert colours[2:] == [style.BLACK] * 2
    assert texts_of(figure).count("not kept") == 2  # only mistakes have a thumbnail here
    (peak,) = figure.axes[1].lines[0].get_xydata().tolist()
    height, width = figure.axes[1].images[0].get_array().shape[:2]
    assert peak == pytest.approx([width * (33 - 5 + 0.5) / 55, height * 12.5 / 25])

    write_explanations(folder, [44, 45, 46], flat=[45])  # without a peak: a miss, before all
    _, title, captions = explained()
    assert "in 0 of 3" in title
    assert captions[0].startswith("poke")

    write_explanations(folder, list(range(44, 66)), hits=range(44, 62))
    figure, title, captions = explained()
    assert "18 of 22" in title
    assert len(figure.axes) == 2 * 8
    assert sum("miss" in caption for caption in captions) == 4


@pytest.mark.parametrize("linked", ["image", "images"])
def test_links_to_images_outside_of_the_run_are_not_shown(tmp_path, linked):
    private = tmp_path / "private"
    private.mkdir()
    Image.new("RGB", (4, 4)).save(private / "0.jpg")
    assert read_thumbnail(private / "0.jpg") is not None
    if linked == "images":
        (tmp_path / "images").symlink_to(private)
    else:
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "0.jpg").symlink_to(private / "0.jpg")
    assert (tmp_path / "images" / "0.jpg").is_file()
    assert read_thumbnail(tmp_path / "images" / "0.jpg") is None


@pytest.mark.parametrize("suffix", ["png", "tiff", "large"])
def test_a_thumbnail_that_the_run_cannot_have_made_is_not_read(tmp_path, suffix):
    size, kind = ((5000, 1), "jpeg") if suffix == "large" else ((4, 4), suffix)
    Image.new("RGB", size).save(tmp_path / "0.jpg", format=kind)
    with pytest.raises(RunError, match="not a readable thumbnail"):
        read_thumbnail(tmp_path / "0.jpg")
