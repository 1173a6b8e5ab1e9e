"""Caveats of a comparison: trivial models, thresholds, missing data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparisons import measure_runs, mentions
from sample_anomaly_runs import one_class_images, write_one_class_folds, write_one_class_run
from sample_runs import labels_of, write_classification_run
from sample_segmentation_runs import write_offset_segmentation_folds, write_offset_segmentation_run

from capsule_inspection.reports.comparison.caveats import find_caveats
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import Costs, Estimate


def test_good_models_have_no_caveats(tmp_path) -> None:
    run = read_run(write_classification_run(tmp_path / "a", wrong=(0,)))
    assert find_caveats(measure_runs([run])) == []


def test_models_no_better_than_a_constant_or_a_random_prediction_are_named(tmp_path) -> None:
    label = labels_of(66)
    wrong = [row for row, of_image in enumerate(label) if of_image]
    folder = write_classification_run(tmp_path / "a", wrong=(*wrong, 0))
    found = find_caveats(measure_runs([read_run(folder)]))
    assert mentions(found, "Predicting good for every image would have accuracy .667: "
                           "custom_resnet has .652.")  # fmt: skip
    assert mentions(
        found, "better than guessing, by balanced accuracy: custom_resnet (.293 to .460)."
    )

    random = write_one_class_folds(tmp_path, folds=2, skill=0.0)
    found = find_caveats(measure_runs(random))
    assert mentions(found, "Not shown to be better than guessing, by AUROC: autoencoder (.")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.07, 0.46, "Worse than guessing, by AUROC: autoencoder (.070 to .460)."),
        (0.07, 0.5, "Not shown to be better than guessing, by AUROC: autoencoder (.070 to .500)."),
        (0.5, 0.9, "Not shown to be better than guessing, by AUROC: autoencoder (.500 to .900)."),
        (0.501, 0.9, None),
        (None, None, None),
    ],
)
def test_an_auroc_below_one_half_is_worse_than_guessing(tmp_path, low, high, expected) -> None:
    (result,) = measure_runs(write_one_class_folds(tmp_path, folds=2))
    auroc = {"auroc": Estimate(0.5 if low is None else low, low, high, 30)}
    found = find_caveats([replace(result, metrics={**result.metrics, **auroc})])
    guessing = [text for text in found if "guessing" in text]
    assert guessing == ([] if expected is None else [expected])


def test_good_images_only_say_nothing_of_a_model_that_calls_all_good(tmp_path) -> None:
    run = write_classification_run(tmp_path / "a", label=np.zeros(30, int))
    assert not mentions(find_caveats(measure_runs([read_run(run)])), "Predicting good for every")


def test_models_that_cost_as_much_as_none_are_named(tmp_path) -> None:
    label = labels_of(66)
    wrong = [row for row, of_image in enumerate(label) if of_image][:11]
    runs = [read_run(write_classification_run(tmp_path / "a", wrong=wrong))]
    rare = Costs(false_negative=1.0, false_positive=1.0, defect_rate=0.01)
    (caveat,) = find_caveats(measure_runs(runs, rare), rare)
    assert caveat.startswith("Accepting every part would cost 0.01 a part. Not shown to cost less:")
    frequent = Costs(false_negative=1.0, false_positive=1.0, defect_rate=0.3)
    assert find_caveats(measure_runs(runs, frequent), frequent) == []


def test_optimistic_and_unfinished_runs_and_dropped_images_are_named(tmp_path) -> None:
    runs = [
        read_run(write_classification_run(
            tmp_path / f"{seed}{fold}", seed=seed, fold=fold, images=30, first_image=99 * fold,
            record={"optimistic": True, "status": "interrupted"} if seed else {},
        ))
        for seed, fold in ((0, 0), (0, 1), (1, 0))
    ]  # fmt: skip
    found = find_caveats(measure_runs(runs))
    assert mentions(found, "Optimistic: custom_resnet. Some of the images")
    assert (
        "custom_resnet: 30 images are left out, since not every seed was tested on them." in found
    )
    assert "Not trained to the end: 10 (interrupted)." in found


def test_missing_masks_are_a_caveat(tmp_path) -> None:
    runs = write_offset_segmentation_folds(tmp_path)
    (runs[1].path / "maps.npz").unlink()
    expected = "unet: 1 of 3 runs kept no predicted masks (unet1), so its segmentation metrics are "
    assert mentions(find_caveats(measure_runs(runs)), f"{expected}left out")

    # A single run has its stored metrics, and is not compared in them.
    single = write_offset_segmentation_run(tmp_path / "a", model="a", maps=False)
    expected = "a: 1 of 1 run kept no predicted masks (a), so it is not compared in segmentation"
    assert mentions(find_caveats(measure_runs([single])), expected)


# --- thresholds


def test_a_threshold_that_was_fitted_with_defects_is_a_caveat(tmp_path) -> None:
    for rule, defects in (("sigma", 0), ("f1", 7)):
        threshold = {"rule": rule, "defect_images": defects, "target_fpr": None,
                     "required_images": None}  # fmt: skip
        runs = write_one_class_folds(tmp_path / rule, folds=2, threshold=threshold)
        found = find_caveats(measure_runs(runs))
        start = "autoencoder: the threshold was fitted with labelled defects (rule f1)"
        assert any(line.startswith(start) for line in found) == (rule == "f1")


def test_too_few_good_images_for_the_target_rate_are_a_caveat(tmp_path) -> None:
    threshold = {"good_images": 5, "enough": False}
    results = measure_runs(write_one_class_folds(tmp_path, folds=2, threshold=threshold))
    (caveat,) = [line for line in find_caveats(results) if "takes 9" in line]
    assert "5 good images set the threshold, where the target false positive rate of 10%" in caveat
    assert "expect up to 17% of good images" in caveat


def test_an_operating_point_that_no_images_chose_is_a_caveat(tmp_path) -> None:
    for enough in (True, False):
        threshold = {"value": 0.4, "rule": "operating_point", "enough": enough}
        folder = write_classification_run(tmp_path / f"{enough}", record={"threshold": threshold})
        found = find_caveats(measure_runs([read_run(folder)]))
        assert mentions(found, "a threshold that was not chosen on images decides") != enough


def test_rate_above_the_target_beyond_chance_is_a_caveat_where_there_were_enough_images(
    tmp_path,
) -> None:
    enough = {"target_fpr": 0.001, "good_images": 2000}
    few = {"target_fpr": 0.001, "good_images": 20, "enough": False, "required_images": 999}
    kept, broken = (
        find_caveats(
            measure_runs([write_one_class_run(tmp_path / name, threshold=threshold,
                                              images=one_class_images(0, good=400))])
        )
        for name, threshold in (("few", few), ("enough", enough))
    )  # fmt: skip
    assert any(line.endswith("differ from those that set the threshold.") for line in broken)
    assert not mentions(kept, "beyond chance")
    assert mentions(kept, "takes 999")


@pytest.mark.parametrize(("good", "is_few"), [(49, True), (50, False)])
def test_below_50_good_images_a_training_the_rate_is_uncertain(tmp_path, good, is_few) -> None:
    run = write_one_class_run(tmp_path / "a", images=one_class_images(0, good=good))
    found = find_caveats(measure_runs([run]))
    assert mentions(found, f"down to {good} a training. There one image more or less is") == is_few
