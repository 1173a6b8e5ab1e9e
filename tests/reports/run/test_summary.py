"""The summary of the page, from the metrics of sample runs."""

import pytest
from sample_anomaly_runs import write_anomaly_run
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.registry import metric_description, metric_label
from capsule_inspection.reports.formatting import format_metric
from capsule_inspection.reports.run.localization_summary import pointing_sentences
from capsule_inspection.reports.run.metric_table import metric_rows, missing_metrics
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.summary import FEW_IMAGES, per_hundred, summarize
from capsule_inspection.reports.run.usability import (
    RULE,
    Usability,
    needs_other_threshold,
    rate_usability,
)
from capsule_inspection.types import Estimate, RunError


def render(folder) -> str:
    found = summarize(read_run(folder), "test")
    return "\n".join([found.usability, *found.sentences, *found.warnings])


def all_in(text: str, *expected: str) -> None:
    for part in expected:
        assert part in text


def test_number_of_a_hundred_is_0_or_100_only_where_it_is_exact():
    fractions = {0.0: "0", 0.001: "0.1", 0.125: "13", 0.999: "over 99", 1.0: "100"}
    assert {value: per_hundred(value) for value in fractions} == fractions


# --- one class


def test_summary_has_error_rates_missed_classes_and_the_uncertainty_of_few_images(anomaly_run):
    rejected, possible = intervals.proportion(1, 12), intervals.proportion(0, 12)
    all_in(
        render(anomaly_run),
        "Of 100 good parts about 8 would be rejected (95% interval: "
        f"{per_hundred(rejected.ci_low)} to {per_hundred(rejected.ci_high)}; "
        "measured on 12 images)",
        "Of 100 defective ones about 11 would be missed",
        "Most often missed: poke (1 of 4). Never: crack.",
        "set on 20 good images",
        "at most 10 of 100 good parts",
        "at least 9 of them, so there were enough",
        "Only 12 good images and 9 defective images were tested",
        f"up to {per_hundred(possible.ci_high)} of 100 good parts",
    )
    assert "beyond chance" not in render(anomaly_run)


NO_RATE = {"target_fpr": None, "required_images": None}
FEW = {"good_images": 9, "enough": False, "required_images": 19, "target_fpr": 0.05}
ONE_CLASS = [
    ({"threshold": FEW},
     ["Too few good images set the threshold: 9", "rate of 5% takes at least 19",
      "about 10 of 100 good parts must be expected to be rejected"], []),
    ({"threshold": {"rule": "f1", "defect_images": 6, **NO_RATE}},
     ["fitted with 6 defect images", "not the metrics of one-class training"],
     ["used for nothing else"]),
    ({"threshold": {"rule": "sigma", **NO_RATE}}, ["without a guaranteed false-positive rate"], []),
    ({"threshold": {"value": 0.3, "target_fpr": 0.1}},
     ["beyond chance", "another threshold would be better",
      "not usable as it is: more than 20 of 100 good parts are rejected."], []),
    ({"images": (80, 40, 40)}, ["Verdict: it separates good from defective parts well."], ["Only"]),
    ({"images": (12,)},
     ["Verdict: open: no defective part was tested", "of missed defects is unknown."],
     ["defective ones about"]),
    ({"images": (0, 3, 3)}, ["Verdict: open: no good part was tested"], ["beyond chance"]),
    ({"record": {"threshold": None}}, [], ["threshold was"]),
]  # fmt: skip
SEGMENTATION = [
    ({"binary": True},
     ["Most often missed: poke (1 of 4). Never: crack.",
      "a perfect match: the Dice is 0.77"], ["class,"]),
    ({"images": (12,)}, ["The predicted masks of all 12 good images are empty."], []),
    ({"images": (0, 3)}, [], ["good images are empty"]),
    ({"masks": False}, [], ["touches the defect", "perfect match"]),
    ({"post_processing": {"defect_images": 0}}, ["fitted without any defective image"], []),
    ({"post_processing": {"good_images": 0}}, ["fitted without any good image"], []),
    ({"post_processing": {"low_threshold": 0.25}},
     ["A region extends over connected pixels with a probability of 0.25 or more."], []),
    ({"post_processing": {"low_threshold": 0.5}}, [], ["A region extends"]),
    ({"record": {"mask_postprocessing": None}}, [], ["Post-processing:"]),
    ({"record": {"optimistic": True}}, ["epoch and post-processing were chosen on the very"], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("write", "changed", "expected", "absent"),
    [(write_anomaly_run, *case) for case in ONE_CLASS]
    + [(write_segmentation_run, *case) for case in SEGMENTATION],
)
def test_summary_and_warnings_follow_from_the_run(tmp_path, write, changed, expected, absent):
    text = render(write(tmp_path / "run", **changed))

    all_in(text, *expected)
    assert not [part for part in absent if part in text]


# --- classification


def test_classification_has_accuracy_and_nothing_on_masks(tmp_path):
    record = {"optimistic": True}
    folder = write_classification_run(
        tmp_path / "run", wrong=[40, 41, 42], images=60, record=record
    )
    text = render(folder)

    all_in(text, "Of 100 parts about 95 are classified correctly",
           "Most often misclassified: crack (2 of 10) and poke (1 of 10).")  # fmt: skip
    for absent in ("threshold", "mask", "Post-processing:"):
        assert absent not in text
    assert "mask" not in render(write_anomaly_run(tmp_path / "one class"))
    run = read_run(folder)
    assert "Optimistic" in summarize(run, "test").warnings[0]
    assert "no test images" in summarize(run, "val").warnings[1]


def test_few_is_where_a_perfect_result_leaves_more_than_six_of_a_per_hundred():
    assert intervals.proportion(0, FEW_IMAGES).ci_high == pytest.approx(0.06, abs=0.001)


# --- segmentation


def test_summary_of_segmentation_has_error_rates_accuracy_overlap_and_post_processing(
    segmentation_run,
):
    all_in(
        render(segmentation_run),
        "Of 100 good parts about 8 would be rejected",
        "Of 100 defective ones about 11 would be missed",
        "Of 100 parts about 86 are classified correctly",
        "Most often misclassified: poke (1 of 4) and crack (1 of 5).",
        "On 8 of 9 defect images the predicted mask touches the defect.",
        "the mean IoU of the defect classes is 0.",
        "the Dice of any defect, whatever its class, is 0.77 (95% interval: ",
        "On good images 0.27% of the pixels are predicted as a defect, on average.",
        "a pixel counts from a probability of 0.5 on, a region from 5 pixels on",
        "(1.6% of the 31 x 10 pixels of the network's input)",
        "fitted on 4 images (2 good, 2 defective) of the validation split",
    )
    (segmentation_run / "config.yaml").unlink()
    assert "from 5 pixels on; a part with no such region is classified as good" in render(
        segmentation_run
    )


def test_post_processing_that_is_not_as_expected_is_named(tmp_path):
    folder = write_segmentation_run(tmp_path / "run", record={"mask_postprocessing": {"level": 3}})

    with pytest.raises(RunError, match=r"run\.json: mask_postprocessing is not as expected"):
        render(folder)


# --- metrics


def test_every_segmentation_metric_has_a_row_with_its_meaning(tmp_path):
    for binary in (False, True):
        run = read_run(write_segmentation_run(tmp_path / f"{binary}", binary=binary))
        whole = [key for key in names.metrics_of_stage(run.metrics, "test") if "/" not in key]

        rows = metric_rows(run, "test")

        repeated = [key for key in whole if binary and key.startswith("mean_")]
        assert len(rows) == len(whole) - len(repeated)
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.meaning for row in rows)


def test_missing_metrics_are_explained(tmp_path):
    maps, masks = {"maps": False}, {"masks": False}
    cases = [
        (write_segmentation_run, {"images": (12,)},
         "no defect images in the test split: false negative rate"),
        (write_segmentation_run, {"images": (0, 3)},
         "no good images in the test split: false positive rate"),
        (write_segmentation_run, masks, "since there are no target masks"),
        (write_segmentation_run, maps | masks,
         "Not measured, since the run kept no maps: defects hit"),
        (write_anomaly_run, {"images": (12,)},
         "Not measured, since there are no defect images in the test split"),
        (write_anomaly_run, {"images": (0, 3, 3)},
         "Not measured, since there are no good images in the test split"),
        (write_anomaly_run, masks, "Not measured, since there are no target masks"),
        (write_anomaly_run, maps, "Not measured, since the run kept no maps"),
    ]  # fmt: skip
    for number, (write, changed, reason) in enumerate(cases):
        run = read_run(write(tmp_path / f"{number}", **changed))
        assert reason in " ".join(missing_metrics(run, "test"))


def test_words_say_which_way_of_averaging_and_small_shares_are_not_rounded_to_nothing():
    for key in (names.MEAN_IOU_GLOBAL, names.BINARY_DICE_GLOBAL, names.IOU_GLOBAL):
        assert "pooled over pixels" in metric_label(key)
    for key in (names.MEAN_DICE_SAMPLEWISE, names.BINARY_IOU_SAMPLEWISE, names.DICE_SAMPLEWISE):
        assert "mean over images" in metric_label(key)
    assert "counts as much as a large one" in metric_description(names.MEAN_IOU_SAMPLEWISE)
    assert format_metric(names.PIXEL_FPR, 0.00031) == "0.031%"
    assert format_metric(names.AUROC, 0.00031) == "0.000"


# --- pointing game


def pointing(run, hits: int, images: int, chance: float) -> str:
    metrics = {
        "pointing_game": intervals.proportion(hits, images),
        "pointing_game_chance": Estimate(chance, None, None, images),
    }
    (sentence,) = pointing_sentences(run, metrics)
    return sentence


def test_hits_stand_beside_what_chance_would_have(tmp_path, anomaly_run, segmentation_run):
    run = read_run(write_classification_run(tmp_path / "run"))
    assert pointing(run, 12, 18, 0.1) == (
        "The peak of the explanation map lay on the defect in 12 of 18 images; at random it would "
        "be about 2 of 18: more often than by chance."
    )
    assert "at random it would be fewer than 1 of 18" in pointing(run, 12, 18, 0.01)
    for hits, rating in (
        (3, "not distinguishable from chance"),
        (8, "more often than by chance, but mostly it was elsewhere"),
    ):
        all_in(pointing(run, hits, 18, 0.15), rating,
               "a classifier that relies on other regions should not be trusted")  # fmt: skip
    assert "less often than by chance" in pointing(run, 1, 60, 0.5)
    assert pointing_sentences(run, {}) == []  # without masks
    for other, start, consequence in (
        (anomaly_run, "The peak of the anomaly map", "a score that comes from elsewhere"),
        (segmentation_run, "The pixel with the highest probability", "predicted regions elsewhere"),
    ):
        assert pointing(read_run(other), 9, 9, 0.1).startswith(start)
        assert consequence in pointing(read_run(other), 1, 9, 0.1)


# --- usability


def estimates(rejected=None, missed=None, *, n=200, auroc=None, high=None):
    """Error rates with intervals that end at `high` or a little above the rate."""
    found = {
        name: Estimate(rate, 0.0, rate + 0.03 if high is None else high, n)
        for name, rate in (("false_positive_rate", rejected), ("false_negative_rate", missed))
        if rate is not None
    }
    return found | ({} if auroc is None else {"auroc": Estimate(auroc, auroc - 0.1, 1.0, n)})


def test_usability_follows_its_rule():
    for measured, expected in (
        (estimates(0.05, 0.05, auroc=0.99), Usability.WELL),
        (estimates(0.0, 0.0, high=0.15), Usability.WELL),
        (estimates(0.0, 0.0, high=0.16), Usability.PROMISING),
        (estimates(0.06, 0.0), Usability.PRESORT),
        (estimates(0.2, 0.2), Usability.PRESORT),
        (estimates(0.21, 0.0), Usability.NOT_USABLE),
        (estimates(0.0, 0.21), Usability.NOT_USABLE),
        (estimates(0.0, 0.0, auroc=0.6), Usability.GUESSING),
        (estimates(rejected=0.0), Usability.NO_DEFECTS),
        (estimates(missed=0.0), Usability.NO_GOOD),
        ({}, Usability.NOTHING),
        # Without an interval a rate is never enough for WELL.
        (dict.fromkeys(("false_positive_rate", "false_negative_rate"),
                       Estimate(0.0, None, None, 3)),
         Usability.PROMISING),
    ):  # fmt: skip
        assert rate_usability(measured) is expected
    for limit in ("5 of 100", "15 or below", "at most 20", "0.5"):
        assert limit in RULE


def test_other_threshold_is_suggested_where_the_scores_are_good():
    assert needs_other_threshold(estimates(0.5, 0.0, auroc=0.95))
    assert not needs_other_threshold(estimates(0.5, 0.0, auroc=0.8))
    assert not needs_other_threshold(estimates(0.0, 0.0, auroc=0.95))
