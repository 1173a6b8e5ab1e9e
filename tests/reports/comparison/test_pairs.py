"""Pairs of models: which images and metrics are compared, and what a pair shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import compare_pair, segmentation, with_groups, write
from sample_anomaly_runs import one_class_images, write_one_class_folds, write_one_class_run
from sample_runs import CLASSES, labels_of, write_classification_run
from sample_segmentation_runs import (
    images_of_fold,
    write_offset_segmentation_folds,
)

from capsule_inspection.metrics.paired_tests import corrected_resampled_t_test
from capsule_inspection.reports.comparison.pairs import Verdict
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.run.run_folder import RunFolder, read_run

DICE, IOU = "binary_dice_global", "mean_iou_global"
ERROR_RATES = {"false_negative_rate", "false_positive_rate"}
KFOLD = labels_of(30)
NUMBER, LABEL = images_of_fold(0)
NESTED = {"sixty": range(6), "fifty_nine": range(7), "forty_seven": range(19)}
DISJOINT = {"sixty": range(6), "fifty_nine": range(6, 13), "forty_seven": range(13, 32)}


def stored(runs: Sequence[RunFolder], metric: str = "auroc") -> np.ndarray:
    return np.array([run.metrics[f"test/{metric}"].value for run in runs])


def seeds_of_folds(folder: Path, **changed) -> list[RunFolder]:
    folds = (
        write_one_class_folds(folder / f"{seed}", seed=seed, folds=3, **changed)
        for seed in range(2)
    )
    return [run for of_seed in folds for run in of_seed]


# --- classifiers


@pytest.mark.parametrize("errors", [NESTED, DISJOINT], ids=["nested", "disjoint"])
def test_one_image_of_66_is_no_difference_but_thirteen_are(tmp_path, errors) -> None:
    runs = [write(tmp_path, name, wrong=wrong) for name, wrong in errors.items()]
    pairs = {(pair.first, pair.second): pair for pair in compare(runs).pairs}

    small = pairs["sixty", "fifty_nine"]
    assert small.num_correct == (60, 59)
    assert not small.is_significant("accuracy")
    assert small.better is None
    assert small.required_images is not None
    large = pairs["sixty", "forty_seven"]
    assert large.num_correct == (60, 47)
    assert large.winner("accuracy") == "sixty"
    nested = errors is NESTED
    assert (large.num_only_first, large.num_only_second) == ((13, 0) if nested else (19, 6))
    assert large.corrected_p_values["accuracy"] > large.differences["accuracy"].p_value


def test_models_that_are_better_in_different_error_rates_are_a_trade_off(tmp_path) -> None:
    label = labels_of(200)
    good, defects = np.flatnonzero(label == 0).tolist(), np.flatnonzero(label).tolist()
    pair = compare_pair(
        [
            write(tmp_path, name, wrong=wrong, images=200)
            for name, wrong in (("a", good[:40]), ("b", defects[:40]))
        ]
    )
    assert pair.verdict is Verdict.TRADE_OFF
    assert (pair.winner("false_negative_rate"), pair.winner("false_positive_rate")) == ("a", "b")
    assert pair.equal_rate is not None


def test_models_on_different_images_are_not_compared(tmp_path) -> None:
    pair = compare_pair([write(tmp_path, "a"), write(tmp_path, "c", first_image=500)])
    assert pair.verdict is Verdict.REFUSED
    assert "share none" in str(pair.not_comparable)
    assert pair.differences == {}


def test_runs_are_compared_on_the_images_and_labels_that_they_share(tmp_path) -> None:
    label = labels_of(40)
    whole = write(tmp_path, "a", label=label)
    pair = compare_pair([whole, write(tmp_path, "b", label=label[5:], first_image=5)])
    assert (pair.num_images, pair.num_first_images, pair.num_second_images) == (35, 40, 35)

    changed = label.copy()
    changed[:2] = 1
    pair = compare_pair([whole, write(tmp_path, "c", label=changed)])
    assert "2 of the 40 images" in str(pair.not_comparable)


def test_the_good_class_may_have_another_name_in_each_run(tmp_path) -> None:
    label = labels_of(40)
    other = ("OK_Teile", *CLASSES[1:])
    pair = compare_pair(
        [write(tmp_path, "a", label=label), write(tmp_path, "b", label=label, classes=other)]
    )
    assert pair.not_comparable is None
    assert pair.num_images == 40


def folds(folder: Path, errors: Mapping[str, Sequence[int]], seeds: int) -> list[RunFolder]:
    """Models with so many errors in each fold, the same with every seed."""
    return [
        write(folder / f"{seed} {fold}", model, seed=seed, fold=fold, images=30,
              first_image=100 * fold, wrong=range(count))
        for model, counts in errors.items()
        for seed in range(seeds)
        for fold, count in enumerate(counts)
    ]  # fmt: skip


def test_folds_are_tested_as_overlapping_trainings_and_seeds_are_no_further_evidence(
    tmp_path,
) -> None:
    once, twice = (
        compare_pair(folds(tmp_path / f"{seeds}", {"a": range(1, 4), "b": [0] * 3}, seeds))
        for seeds in (1, 2)
    )
    assert once.num_images == twice.num_images == 90
    assert once.retraining_tests is not None
    assert twice.retraining_tests is not None
    first, second = once.retraining_tests["accuracy"], twice.retraining_tests["accuracy"]
    assert (first.num_trainings, second.num_trainings) == (3, 6)
    assert second.difference.p_value == pytest.approx(first.difference.p_value)
    for metric in ("accuracy", "balanced_accuracy", "false_positive_rate"):
        one, two = once.differences[metric], twice.differences[metric]
        assert two.p_value == pytest.approx(one.p_value), metric


def test_images_of_one_group_are_one_observation(tmp_path) -> None:
    label = np.repeat([0, 0, 0, 1, 2], 12)
    wrong = {"a": range(16), "b": ()}
    alone, grouped = (
        compare_pair(
            [
                with_groups(
                    write_classification_run(tmp_path / f"{name}{size}", model=name, label=label,
                                             wrong=errors),
                    lambda index, size=size: f"part {index // size}",
                )
                for name, errors in wrong.items()
            ]
        )
        for size in (1, 4)
    )  # fmt: skip
    assert (alone.num_images, alone.num_groups) == (60, 60)
    assert (grouped.num_images, grouped.num_groups) == (60, 15)
    for metric in ("accuracy", "balanced_accuracy", "false_positive_rate"):
        one, four = alone.differences[metric], grouped.differences[metric]
        assert four.value == pytest.approx(one.value), metric
        assert four.p_value > 5 * one.p_value, metric
        assert four.ci_high - four.ci_low > 1.3 * (one.ci_high - one.ci_low), metric


# --- one-class models


def test_two_one_class_models_are_compared_within_folds_and_over_trainings(tmp_path) -> None:
    better = write_one_class_folds(tmp_path, model="better", skill=2.5)
    worse = write_one_class_folds(tmp_path, model="worse", skill=0.5)
    pair = compare_pair([*better, *worse])

    difference = stored(better) - stored(worse)
    assert set(pair.differences) == {"auroc", *ERROR_RATES}
    assert pair.differences["auroc"].value == pytest.approx(difference.mean())
    assert pair.num_images == pair.differences["auroc"].n == 5 * 12 + 14
    assert pair.differences["false_negative_rate"].n == 14
    assert pair.winner("auroc") == "better"
    assert pair.winner("false_negative_rate") == "better"
    assert pair.retraining_tests is not None
    found = pair.retraining_tests["auroc"]
    # Of 26 test images 14 defects are in every fold: 12 change with the fold.
    expected = corrected_resampled_t_test(difference, test_images=12, train_images=40)
    assert (found.num_trainings, found.num_always_tested) == (5, 14)
    assert found.difference.ci_low == pytest.approx(expected.ci_low)


def test_equal_models_are_not_distinguishable_and_a_defect_of_five_folds_is_one_image(
    tmp_path,
) -> None:
    runs = write_one_class_folds(tmp_path, model="a", skill=9)
    runs += write_one_class_folds(tmp_path, model="b", skill=9, offset=7.0)
    pair = compare_pair(runs)
    assert pair.better is None
    assert pair.differences["auroc"].value == 0

    for run in runs[5:]:  # one defect more is missed by all five runs, but it is one image
        path = run.path / "predictions.csv"
        lines = path.read_text().splitlines()
        lines[-1] = lines[-1].replace(",defect,", ",good,")
        path.write_text("\n".join(lines) + "\n")
    pair = compare_pair([read_run(run.path) for run in runs])

    missed = pair.differences["false_negative_rate"]
    assert missed.value == pytest.approx(-1 / 14)
    assert missed.n == missed.n_groups == 14
    assert missed.p_value > 0.2


def test_scores_of_folds_are_not_pooled_against_a_classifier(tmp_path) -> None:
    """Both on the folds of the classifier; the offset of the scores grows from fold to fold."""
    named = [
        write(tmp_path / f"classifier{fold}", "resnet", fold=fold, label=KFOLD,
              first_image=100 * fold, wrong=(fold, 22, 25))
        for fold in range(5)
    ]  # fmt: skip
    plain, moved = (
        [
            write_one_class_run(
                tmp_path / f"{offset} {fold}", fold=fold, offset=offset * fold, skill=1.5,
                images=(100 * fold + np.arange(30), KFOLD),
                settings={"split": {"name": "kfold", "fold": fold, "folds": 5}},
            )
            for fold in range(5)
        ]
        for offset in (0.0, 50.0)
    )  # fmt: skip
    pair = compare_pair([*named, *plain])

    assert pair.num_images == 150
    assert set(pair.differences) == {"auroc", *ERROR_RATES}
    expected = np.mean(stored(named) - stored(plain))
    assert pair.differences["auroc"].value == pytest.approx(expected)
    assert pair.retraining_tests is not None
    assert pair.retraining_tests["auroc"].num_always_tested == 0
    assert compare_pair([*named, *moved]).differences == pair.differences


def test_seeds_are_averaged_within_folds_and_other_seeds_compared_on_what_they_share(
    tmp_path,
) -> None:
    two = seeds_of_folds(tmp_path, model="a", skill=2.0)
    one = write_one_class_folds(tmp_path, model="b", skill=1.0, folds=3)
    expected = np.mean(stored(two).reshape(2, 3).mean(axis=0) - stored(one))
    assert compare_pair([*two, *one]).differences["auroc"].value == pytest.approx(expected)

    images = (np.arange(30), KFOLD)
    runs = [
        write_one_class_run(tmp_path / model, model=model, seed=seed, fold=None, images=images)
        for seed, model in enumerate("ab")
    ]
    expected = stored(runs)[0] - stored(runs)[1]
    assert compare_pair(runs).differences["auroc"].value == pytest.approx(expected)


def test_one_class_models_that_share_only_defects_are_not_compared(tmp_path) -> None:
    runs = [
        write_one_class_run(tmp_path / model, model=model, fold=fold)
        for fold, model in enumerate("ab")
    ]
    pair = compare_pair(runs)
    assert pair.differences == {}
    assert "share no good images" in str(pair.not_comparable)
    assert "split.fold" in str(pair.not_comparable)


def test_one_class_folds_are_compared_on_the_images_that_a_fold_shares(tmp_path) -> None:
    """The second tests half of each fold's good images and other ones."""
    label = np.array([0] * 12 + [1] * 14)
    second = [
        write_one_class_run(
            tmp_path / f"b{fold}", model="b", fold=fold,
            images=(np.append(12 * fold + np.r_[:6, 500:506], 1000 + np.arange(14)), label),
        )
        for fold in range(2)
    ]  # fmt: skip
    pair = compare_pair([*write_one_class_folds(tmp_path, model="a", folds=2), *second])
    assert pair.differences["auroc"].n == 2 * 6 + 14
    assert pair.retraining_tests is None


def test_models_tested_on_good_images_only_have_one_error_rate(tmp_path) -> None:
    runs = [
        write_one_class_run(tmp_path / model, model=model, images=one_class_images(0, defects=0))
        for model in "ab"
    ]
    assert set(compare_pair(runs).differences) == {"false_positive_rate"}


# --- segmentation


def test_a_segmentation_model_and_a_classifier_are_compared_by_classes_and_scores(tmp_path) -> None:
    unet = segmentation(tmp_path, "unet")
    named = write(tmp_path, "named", label=LABEL)
    pair = compare_pair([unet, named])
    areas = stored([unet, named])
    assert areas[0] > 0.8
    assert pair.differences["auroc"].value == pytest.approx(areas[0] - areas[1])
    assert pair.num_correct == (16, 20)
    assert set(pair.differences) == {"accuracy", "balanced_accuracy", "auroc", *ERROR_RATES}
    assert pair.missing_masks is None


def test_the_model_with_masks_closer_to_the_defects_is_better(tmp_path) -> None:
    near, far = segmentation(tmp_path, "near", offset=0), segmentation(tmp_path, "far", offset=5)
    pair = compare_pair([near, far])
    for metric in (DICE, IOU):
        difference = near.metrics[f"test/{metric}"].value - far.metrics[f"test/{metric}"].value
        assert pair.differences[metric].value == pytest.approx(difference)
        assert pair.winner(metric) == "near"


def test_equal_masks_are_not_distinguishable_and_binary_ones_have_no_classes(tmp_path) -> None:
    same = compare_pair([segmentation(tmp_path, name) for name in "ab"])
    assert same.differences[DICE].value == 0
    assert not same.is_significant(DICE)
    binary = segmentation(tmp_path, "c", offset=4, binary=True)
    pair = compare_pair([segmentation(tmp_path, "d"), binary])
    assert DICE in pair.differences
    assert IOU not in pair.differences


def test_missing_masks_are_said(tmp_path) -> None:
    runs = [segmentation(tmp_path, "a", maps=False), segmentation(tmp_path, "b")]
    pair = compare_pair(runs)
    assert DICE not in pair.differences
    assert "a kept no predicted masks" in str(pair.missing_masks)


def test_folds_and_seeds_of_masks_are_compared_image_by_image(tmp_path) -> None:
    near = [
        run
        for seed in range(2)
        for run in write_offset_segmentation_folds(tmp_path / f"{seed}", model="near", seed=seed)
    ]
    far = write_offset_segmentation_folds(tmp_path, model="far", offset=4)
    pair = compare_pair([*near, *far])
    assert pair.differences[DICE].n == 60
    assert pair.is_significant(DICE)
    assert pair.retraining_tests is not None
    assert pair.retraining_tests[DICE].num_trainings == 3


def test_p_values_are_corrected_for_the_pairs_that_were_tested_by_the_same_metric(tmp_path) -> None:
    a, c = segmentation(tmp_path, "a", offset=0), segmentation(tmp_path, "c", offset=5)
    map_only = write_one_class_run(tmp_path / "map", fold=None, images=(NUMBER, LABEL), skill=1.0)
    pair = compare([a, c, map_only]).pairs[0]
    assert (pair.num_pairs["auroc"], pair.num_pairs["accuracy"], pair.num_pairs[DICE]) == (3, 1, 1)
    assert pair.corrected_p_values[DICE] == pair.differences[DICE].p_value

    b = segmentation(tmp_path, "b", offset=0)
    of_pair = {(pair.first, pair.second): pair for pair in compare([a, b, c]).pairs}
    alone = of_pair["a", "c"].differences[DICE].p_value
    assert of_pair["a", "c"].corrected_p_values[DICE] == pytest.approx(min(1.0, 3 * alone))


def test_masks_are_compared_on_the_images_that_both_models_share(tmp_path) -> None:
    def compare_on(name: str, first: Any, second: Any, offset: int):
        return compare_pair([
            segmentation(tmp_path / name, "a", images=(NUMBER[first], LABEL[first]), offset=0),
            segmentation(tmp_path / name, "b", images=(NUMBER[second], LABEL[second]),
                         offset=offset),
        ])  # fmt: skip

    some = compare_on("some", np.r_[:16], np.r_[4:20], 5)
    assert some.differences[DICE].n == 12
    none = compare_on("none", np.r_[0:8, 8:14], np.r_[0:8, 14:20], 1)
    assert DICE not in none.differences
    assert "share no image of a defect" in str(none.missing_masks)
