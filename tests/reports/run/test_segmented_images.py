"""Segmentation quality of images, and which of them are the examples of a class."""

import numpy as np
import pytest
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.segmented_images import (
    SegmentedImage,
    read_masks,
    read_segmented_images,
    select_examples,
)


def image(
    dice: float | None = None,
    binary_dice: float | None = None,
    *,
    predicted_fraction: float | None = None,
    score: float = 0.5,
    is_good: bool = False,
) -> SegmentedImage:
    name = "good" if is_good else "crack"
    return SegmentedImage(
        0, name, is_good, "poke", True, score, dice, binary_dice, predicted_fraction
    )


def of_class(folder, name: str) -> list[SegmentedImage]:
    return [one for one in read_segmented_images(read_run(folder)) if one.class_name == name]


def test_dice_is_of_the_pixels_of_the_class_and_good_images_have_their_predicted_fraction(
    segmentation_run,
):
    first, second, third, *_ = of_class(segmentation_run, "crack")

    assert (first.dice, first.binary_dice) == (1.0, 1.0)
    assert (second.dice, second.binary_dice) == (0.0, pytest.approx(0.9))  # predicted as poke
    assert third.dice == pytest.approx(0.8)  # 10 pixels across, 2 beside them
    assert second.is_wrong
    assert not first.is_wrong

    first, second, *_ = of_class(segmentation_run, "good")
    assert first.describe() == "3.3% of pixels predicted"  # 10 of 300 pixels without padding
    assert first.is_wrong
    assert second.describe() == "empty mask"


def test_masks_and_dice_of_a_binary_run_are_those_of_any_defect(tmp_path):
    folder = write_segmentation_run(tmp_path / "run", binary=True)
    second = of_class(folder, "crack")[1]

    assert second.dice == second.binary_dice == pytest.approx(0.9)
    assert second.predicted_label == "defect"
    assert not second.is_wrong
    target, predicted = read_masks(read_run(folder), 18)  # a poke
    assert target.max() == predicted.max() == 1


def test_without_maps_the_dice_of_the_predictions_is_used_and_without_it_the_score(tmp_path):
    def cracks(name: str, **changed) -> list[SegmentedImage]:
        return of_class(write_segmentation_run(tmp_path / name, **changed), "crack")

    images = cracks("columns", maps=False, overlap_columns=True)
    assert images[1].describe() == "Dice 0.90 of any class"
    assert [one.binary_dice for one in images] == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6])

    first, *_ = cracks("neither", maps=False)
    assert not first.is_known
    assert first.describe() == "score 0.9"

    first, *_ = cracks("no masks", masks=False)
    assert not first.is_known
    assert first.predicted_fraction > 0


def test_dice_of_any_class_is_shown_only_where_it_differs():
    assert image(0.12, 0.12).describe() == "Dice 0.12"
    assert image(0.12, 0.123).describe() == "Dice 0.12"
    assert image(0.0, 0.71).describe() == "Dice 0.00 (0.71 of any class)"
    elsewhere = image(0.0, 0.0, predicted_fraction=0.1)
    missed = image(0.0, 0.0, predicted_fraction=0.0)
    assert select_examples([elsewhere])[0].caption.endswith(
        "Dice 0.00, predicted poke by a region elsewhere"
    )
    assert select_examples([missed])[0].caption.endswith("Dice 0.00, predicted poke")


def test_worst_defect_is_the_one_that_is_missed_as_any_class():
    misclassified, missed, low_score = image(0.0, 0.7), image(0.0, 0.0), image(0.0, 0.0, score=0.1)

    chosen = select_examples([image(0.5, 0.5), misclassified, missed, low_score])

    assert [selected.image for selected in chosen] == [low_score, missed, image(0.5, 0.5)]
    assert chosen[0].caption == "crack, worst of 4: Dice 0.00, predicted poke"


def test_worst_good_image_has_most_predicted_pixels_or_else_the_highest_score():
    good = [image(predicted_fraction=fraction, is_good=True) for fraction in (0.0, 0.3, 0.1)]

    assert [selected.image.predicted_fraction for selected in select_examples(good)] == [
        0.3,
        0.1,
        0.0,
    ]
    assert select_examples(good)[2].caption == "good, best of 3: empty mask, predicted poke"

    good = [image(predicted_fraction=0.0, is_good=True, score=score) for score in (0.1, 0.4, 0.2)]
    assert [selected.image.score for selected in select_examples(good)] == [0.4, 0.2, 0.1]


def test_small_classes_have_fewer_examples_and_images_of_unknown_quality_are_left_out():
    for count, which in (
        (1, ["its only image"]),
        (2, ["worst of 2", "best of 2"]),
        (3, ["worst of 3", "median of 3", "best of 3"]),
        (4, ["worst of 4", "median of 4", "best of 4"]),
    ):
        chosen = select_examples(
            [image(dice, dice) for dice in np.linspace(0.1, 0.9, count).tolist()]
        )
        assert [selected.caption.split(":")[0] for selected in chosen] == [
            f"crack, {what}" for what in which
        ]

    chosen = select_examples([image(), image(0.5, 0.5), image(score=0.9)])
    assert [selected.caption for selected in chosen] == [
        "crack, its only image: Dice 0.50, predicted poke"
    ]
    assert len(select_examples([image(), image(score=0.9)])) == 2
