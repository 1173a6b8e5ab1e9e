"""Models that mark pixels against each other and against others, on marks made to order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn_anomaly_runs import draw_one_class_run
from drawn_runs import draw_run
from drawn_segmentation_runs import (
    draw_segmentation_folds,
    draw_segmentation_run,
    images_of_fold,
)

from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.reports.comparison.writing import compare
from capsule_inspection.reports.run_folder import RunFolder, read_run

DICE, IOU = "foreground_dice_of_pixels", "mean_iou_of_pixels"


def verdict_of(runs: Sequence[RunFolder]) -> Verdict:
    (verdict,) = compare(runs).verdicts
    return verdict


def test_the_model_that_marks_closer_to_the_defects_is_better(tmp_path: Path) -> None:
    near = draw_segmentation_run(tmp_path / "a", model="near", beside=0)
    far = draw_segmentation_run(tmp_path / "b", model="far", beside=5)
    comparison = compare([near, far])
    (verdict,) = comparison.verdicts

    for metric in (DICE, IOU):
        difference = near.figures[f"test/{metric}"].value - far.figures[f"test/{metric}"].value
        assert verdict.differences[metric].value == pytest.approx(difference)
        assert verdict.differs(metric)
    assert verdict.marks is not None
    assert (verdict.marks.images, verdict.marks.defects) == (20, 12)
    assert verdict.marks.dice[0] == pytest.approx(near.figures[f"test/{DICE}"].value)
    assert "near is better in foreground Dice of pixels and mean IoU of pixels" in words.headline(
        verdict
    )
    assert "near marks defects better than far." in comparison.answer.best
    assert comparison.answer.recommendation.startswith("near is recommended")


def test_equal_models_are_not_told_apart_by_what_they_mark(tmp_path: Path) -> None:
    runs = [draw_segmentation_run(tmp_path / name, model=name) for name in "ab"]
    comparison = compare(runs)
    (verdict,) = comparison.verdicts

    assert (verdict.differences[DICE].value, verdict.differences[DICE].p_value) == (0, 1.0)
    assert verdict.marks is not None
    assert verdict.marks.needed is None
    assert "not distinguishable on these 20 images" in words.headline(verdict)
    assert "Not to be told apart in how they mark defects: a and b." in comparison.answer.best


def test_a_small_difference_says_how_many_images_it_would_take(tmp_path: Path) -> None:
    """The one lies beside the defects by as much as the other, but in other photographs."""
    runs = [
        draw_segmentation_run(tmp_path / name, model=name, seed=seed, beside=2)
        for seed, name in enumerate("ab")
    ]
    verdict = verdict_of(runs)

    assert not verdict.differs(DICE)
    assert verdict.marks is not None
    assert verdict.marks.needed is not None
    told = [line for line in words.details(verdict) if "would be needed" in line]
    assert any(f"about {verdict.marks.needed:,} test images" in line for line in told)


def test_folds_and_seeds_are_compared_photograph_by_photograph(tmp_path: Path) -> None:
    near = [
        run
        for seed in range(2)
        for run in draw_segmentation_folds(
            tmp_path / f"{seed}", model="near", seed=seed, record={"seed": seed}
        )
    ]
    far = draw_segmentation_folds(tmp_path, model="far", beside=4)
    verdict = verdict_of([*near, *far])

    assert verdict.differences[DICE].n == 60
    assert verdict.differs(DICE)
    assert verdict.retrained is not None
    assert verdict.retrained[DICE].trainings == 3
    assert any(
        line.startswith("Trained anew on other images of the kind, foreground Dice of pixels: it")
        for line in words.details(verdict)
    )


def test_p_values_of_marks_are_corrected_for_the_number_of_pairs(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(tmp_path / name, model=name, beside=beside)
        for name, beside in (("a", 0), ("b", 0), ("c", 5))
    ]
    comparison = compare(runs)
    of_pair = {(v.first, v.second): v for v in comparison.verdicts}

    alone = of_pair["a", "c"].differences[DICE].p_value
    assert alone is not None
    assert of_pair["a", "c"].corrected[DICE] == pytest.approx(3 * alone)
    assert of_pair["a", "b"].corrected[DICE] == 1.0
    assert {"a marks defects better than c.", "b marks defects better than c.",
            "Not to be told apart in how they mark defects: a and b."} <= set(
        comparison.answer.best)  # fmt: skip


def test_many_pairs_that_cannot_be_told_apart_are_counted(tmp_path: Path) -> None:
    runs = [draw_segmentation_run(tmp_path / name, model=name) for name in "abcd"]
    assert "Not to be told apart in how they mark defects: 6 pairs." in compare(runs).answer.best


def test_a_model_without_names_is_compared_by_any_defect_only(tmp_path: Path) -> None:
    runs = [
        draw_segmentation_run(tmp_path / "a", model="named", beside=0),
        draw_segmentation_run(tmp_path / "b", model="binary", beside=5, binary=True),
    ]
    verdict = verdict_of(runs)
    assert DICE in verdict.differences
    assert IOU not in verdict.differences


def test_classifiers_and_maps_are_not_compared_by_marks(tmp_path: Path) -> None:
    number, label = images_of_fold(0)
    runs = [
        draw_segmentation_run(tmp_path / "a"),
        read_run(draw_run(tmp_path / "b", wrong=(9, 11), label=label)),
        draw_one_class_run(tmp_path / "c", fold=None, images=(number, label), skill=1.0),
    ]
    of_pair = {(v.first, v.second): v for v in compare(runs).verdicts}

    assert set(of_pair["unet", "custom_resnet"].differences) == {
        "accuracy", "balanced_accuracy", "defects_missed", "good_rejected", "auroc",
    }  # fmt: skip
    assert set(of_pair["unet", "autoencoder"].differences) == {
        "defects_missed", "good_rejected", "auroc",
    }  # fmt: skip
    assert all(v.marks is None and v.no_marks is None for v in of_pair.values())


def test_a_pair_is_corrected_for_the_pairs_that_were_tested_by_the_same_figure(
    tmp_path: Path,
) -> None:
    number, label = images_of_fold(0)
    runs = [
        draw_segmentation_run(tmp_path / "a", model="a", beside=0),
        draw_segmentation_run(tmp_path / "b", model="b", beside=5),
        draw_one_class_run(tmp_path / "c", fold=None, images=(number, label), skill=1.0),
    ]
    verdict = compare(runs).verdicts[0]

    assert (verdict.pairs("auroc"), verdict.pairs("accuracy"), verdict.pairs(DICE)) == (3, 1, 1)
    assert verdict.corrected[DICE] == verdict.differences[DICE].p_value
    told = words.details(verdict)
    assert any("foreground Dice" in line and "corrected" not in line for line in told)


def test_the_score_and_not_the_probability_of_good_is_compared(tmp_path: Path) -> None:
    """The probabilities of the U-Net are the same for every image; its scores part them."""
    _, label = images_of_fold(0)
    unet = draw_segmentation_run(tmp_path / "a")
    named = read_run(draw_run(tmp_path / "b", label=label))
    verdict = verdict_of([unet, named])

    areas = [run.figures["test/auroc"].value for run in (unet, named)]
    assert areas[0] > 0.8
    assert verdict.differences["auroc"].value == pytest.approx(areas[0] - areas[1])
    assert verdict.right == (16, 20)


def test_models_that_share_some_photographs_are_compared_on_those(tmp_path: Path) -> None:
    number, label = images_of_fold(0)
    runs = [
        draw_segmentation_run(tmp_path / "a", model="a", images=(number[:16], label[:16])),
        draw_segmentation_run(tmp_path / "b", model="b", images=(number[4:], label[4:]), beside=5),
    ]
    verdict = verdict_of(runs)
    assert verdict.marks is not None
    assert (verdict.marks.images, verdict.marks.defects) == (12, 8)


def test_without_a_shared_defect_marks_are_left_out_in_words(tmp_path: Path) -> None:
    number, label = images_of_fold(0)
    parts = np.r_[0:8, 8:14], np.r_[0:8, 14:20]
    runs = [
        draw_segmentation_run(tmp_path / name, model=name, images=(number[rows], label[rows]))
        for name, rows in zip("ab", parts, strict=True)
    ]
    verdict = verdict_of(runs)
    assert DICE not in verdict.differences
    assert any("share no marked photograph of a defect" in line for line in words.details(verdict))


def test_too_few_photographs_that_differ_are_not_tested_in_words(tmp_path: Path) -> None:
    number, label = images_of_fold(0, good=8, defects=4)
    runs = [
        draw_segmentation_run(tmp_path / name, model=name, images=(number, label), beside=beside)
        for name, beside in (("a", 0), ("b", 6))
    ]
    comparison = compare(runs)
    (verdict,) = comparison.verdicts
    assert not verdict.differs(DICE)
    assert any(
        "not tested, fewer than 6 photographs are marked differently" in line
        for line in words.details(verdict)
    )
