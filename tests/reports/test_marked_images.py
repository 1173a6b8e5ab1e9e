"""Which images stand for their class, and what is told of them."""

import numpy as np
import pytest
from drawn_segmentation_runs import draw_marking_run

from capsule_inspection.reports.marked_images import (
    MarkedImage,
    choose,
    marked_images,
    truth_and_marked,
)
from capsule_inspection.reports.run_folder import read_run


def image(
    dice: float | None = None,
    any_dice: float | None = None,
    *,
    marked_share: float | None = None,
    score: float = 0.5,
    is_good: bool = False,
) -> MarkedImage:
    name = "good" if is_good else "crack"
    return MarkedImage(0, name, is_good, "poke", True, score, dice, any_dice, marked_share)


def of_class(folder, name: str) -> list[MarkedImage]:
    return [of for of in marked_images(read_run(folder)) if of.class_name == name]


def test_dice_is_that_of_the_pixels_marked_as_the_class_and_good_images_tell_their_share(
    marking_run,
):
    first, second, third, *_ = of_class(marking_run, "crack")

    assert (first.dice, first.any_dice) == (1.0, 1.0)
    assert (second.dice, second.any_dice) == (0.0, pytest.approx(0.9))  # called poke
    assert third.dice == pytest.approx(0.8)  # 10 pixels across, 2 beside them
    assert second.is_wrong
    assert not first.is_wrong

    first, second, *_ = of_class(marking_run, "good")
    assert first.told() == "3.3% of it marked"  # 10 of 300 pixels that are no padding
    assert first.is_wrong
    assert second.told() == "nothing marked"


def test_masks_and_dice_of_a_binary_run_are_those_of_any_defect(tmp_path):
    folder = draw_marking_run(tmp_path / "run", binary=True)
    second = of_class(folder, "crack")[1]

    assert second.dice == second.any_dice == pytest.approx(0.9)
    assert second.called == "defect"
    assert not second.is_wrong
    truth, marked = truth_and_marked(read_run(folder), 18)  # a poke
    assert truth.max() == marked.max() == 1


def test_without_maps_the_dice_of_the_predictions_serves_and_without_it_the_score(tmp_path):
    def cracks(name: str, **changed) -> list[MarkedImage]:
        return of_class(draw_marking_run(tmp_path / name, **changed), "crack")

    images = cracks("columns", maps=False, overlap_columns=True)
    assert images[1].told() == "Dice 0.90 whatever the name"
    assert [of.any_dice for of in images] == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6])

    first, *_ = cracks("neither", maps=False)
    assert not first.is_known
    assert first.told() == "score 0.9"

    first, *_ = cracks("no masks", masks=False)
    assert not first.is_known
    assert first.marked_share > 0


def test_name_is_told_apart_only_where_it_matters():
    assert image(0.12, 0.12).told() == "Dice 0.12"
    assert image(0.12, 0.123).told() == "Dice 0.12"
    assert image(0.0, 0.71).told() == "Dice 0.00 (0.71 whatever the name)"
    elsewhere, missed = image(0.0, 0.0, marked_share=0.1), image(0.0, 0.0, marked_share=0.0)
    assert choose([elsewhere])[0].caption.endswith("Dice 0.00, called poke by marks elsewhere")
    assert choose([missed])[0].caption.endswith("Dice 0.00, called poke")


def test_worst_defect_is_the_one_that_was_missed_by_any_name():
    misnamed, missed, unseen = image(0.0, 0.7), image(0.0, 0.0), image(0.0, 0.0, score=0.1)

    chosen = choose([image(0.5, 0.5), misnamed, missed, unseen])

    assert [of.image for of in chosen] == [unseen, missed, image(0.5, 0.5)]
    assert chosen[0].caption == "crack, worst of 4: Dice 0.00, called poke"


def test_worst_good_image_has_most_marked_pixels_or_else_is_the_most_suspicious():
    good = [image(marked_share=share, is_good=True) for share in (0.0, 0.3, 0.1)]

    assert [of.image.marked_share for of in choose(good)] == [0.3, 0.1, 0.0]
    assert choose(good)[2].caption == "good, best of 3: nothing marked, called poke"

    good = [image(marked_share=0.0, is_good=True, score=score) for score in (0.1, 0.4, 0.2)]
    assert [of.image.score for of in choose(good)] == [0.4, 0.2, 0.1]


def test_small_classes_have_fewer_examples_and_images_that_tell_nothing_are_left_out():
    for count, which in (
        (1, ["its only image"]),
        (2, ["worst of 2", "best of 2"]),
        (3, ["worst of 3", "median of 3", "best of 3"]),
        (4, ["worst of 4", "median of 4", "best of 4"]),
    ):
        chosen = choose([image(share, share) for share in np.linspace(0.1, 0.9, count).tolist()])
        assert [of.caption.split(":")[0] for of in chosen] == [f"crack, {what}" for what in which]

    chosen = choose([image(), image(0.5, 0.5), image(score=0.9)])
    assert [of.caption for of in chosen] == ["crack, its only image: Dice 0.50, called poke"]
    assert len(choose([image(), image(score=0.9)])) == 2
