"""The summary of the page: its facts, and its sentences, from the metrics of sample runs."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sample_anomaly_runs import write_anomaly_run
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.registry import METRICS
from capsule_inspection.metrics.thresholds import OperatingPoint
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.run.page import list_metrics
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.summary import FEW_IMAGES, summarize
from capsule_inspection.reports.run.usability import (
    PRESORT,
    WELL,
    WELL_AT_WORST,
    Usability,
    rate_usability,
    verdict_of,
)
from capsule_inspection.types import Estimate, RunError

TEXT = environment(autoescape=False).get_template("run_text.j2").module


def render(folder, stage="test") -> str:
    """All sentences of the summary."""
    run = read_run(folder)
    summary = summarize(run, stage)
    of_both = [part(run, summary) for part in (TEXT.findings, TEXT.warnings, TEXT.decision)]
    return "\n".join([TEXT.verdict(summary), TEXT.groups(summary), *of_both])


def all_in(text: str, *expected: str) -> None:
    for part in expected:
        assert part in text


# --- one class


def test_summary_has_missed_classes_and_the_uncertainty_of_few_images(anomaly_run):
    possible = intervals.proportion(0, 12).ci_high
    all_in(
        render(anomaly_run),
        "Most often missed: poke, 25% (1 of 4). Never: crack.",
        "set on 20 good images",
        "at most 10% of the good parts",
        "at least 9 of them, so there were enough",
        "Tested only on 9 defective images and 12 good images.",
        f"{math.floor(100 * possible + 0.5)}% of the good parts could be classified wrongly",
    )
    assert "beyond chance" not in render(anomaly_run)


NO_RATE = {"target_fpr": None, "required_images": None}
FEW = {"good_images": 9, "enough": False, "required_images": 19, "target_fpr": 0.05}
ONE_CLASS = [
    ({"threshold": FEW},
     ["Too few good images set the threshold: 9", "rate of 5% takes at least 19",
      "about 10% of the good parts must be expected to be rejected"], []),
    ({"threshold": {"rule": "f1", "defect_images": 6, **NO_RATE}},
     ["fitted with 6 defect images", "not the metrics of one-class training"],
     ["used for nothing else"]),
    ({"threshold": {"rule": "sigma", **NO_RATE}}, ["without a guaranteed false-positive rate"], []),
    ({"threshold": {"value": 0.3, "target_fpr": 0.1}},
     ["beyond chance", "With threshold=1.25 it would miss 11% (1 of 9) of the defects and",
      "not usable as it is: more than 20% of the good parts are rejected."], []),
    ({"images": (80, 40, 40)},
     ["Verdict: it separates good from defective parts well."], ["Tested only"]),
    ({"images": (12,)},
     ["Verdict: open: no defective part was tested", "of missed defects is unknown."], []),
    ({"images": (0, 3, 3)}, ["Verdict: open: no good part was tested"], ["beyond chance"]),
    ({"record": {"threshold": None}}, [], ["threshold was"]),
    ({"threshold": {"rule": "given", **NO_RATE}}, ["given on the command line"], []),
]  # fmt: skip
SEGMENTATION = [
    ({"binary": True},
     ["Most often missed: poke, 25% (1 of 4). Never: crack.",
      "a perfect match: the Dice is .77"], ["class,"]),
    ({"images": (12,)}, ["The predicted masks of all 12 good images are empty."], []),
    ({"images": (0, 3)}, [], ["good images are empty"]),
    ({"masks": False}, [], ["touches the defect", "perfect match"]),
    ({"post_processing": {"defect_images": 0}}, ["fitted without any defective image"], []),
    ({"post_processing": {"good_images": 0}}, ["fitted without any good image"], []),
    ({"post_processing": {"low_threshold": 0.25}},
     ["A region extends over connected pixels with a probability of 0.25 or more."], []),
    ({"post_processing": {"low_threshold": 0.5}}, [], ["A region extends"]),
    ({"record": {"mask_postprocessing": None}}, [], ["A pixel counts"]),
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

    all_in(text, "as good or as their type of defect: 95% (57 of 60 images), 95% interval 86% to",
           "Most often misclassified: crack, 20% (2 of 10); poke, 10% (1 of 10).")  # fmt: skip
    for absent in ("threshold", "mask", "pixel"):
        assert absent not in text
    assert "Optimistic: the epoch was chosen on the very images" in text
    assert "There are no test images" in render(folder, "val")


OPERATING_POINT = {
    "value": 0.4, "rule": "operating_point", "good_images": 35, "defect_images": 17,
    "criterion": "balanced_error", "criterion_value": 0.1, "best": 0.08, "standard_error": 0.03,
    "default": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ["exceeds 0.4; its class is then the most probable defect", "35 good and 17 defective",
              "by balanced error", "the nearest to 0.5"]),
        ({"criterion": "expected_cost", "defect_rate": 0.02},
         ["the expected cost of a part, with 2% defects"]),
        ({"enough": False, "good_images": 0},
         ["could not be chosen: the validation split has 0 good images and 17 with a defect"]),
        ({"value": None, "rule": "argmax"}, ["The most probable of all classes decides."]),
    ],
)  # fmt: skip
def test_classification_has_how_its_threshold_was_chosen(tmp_path, changed, expected):
    record = {"threshold": OPERATING_POINT | changed}

    all_in(render(write_classification_run(tmp_path / "run", record=record)), *expected)


def test_a_threshold_chosen_on_the_measured_images_is_named_as_optimistic(tmp_path):
    record = {"threshold": OPERATING_POINT, "optimistic": True}
    text = render(write_classification_run(tmp_path / "run", record=record))
    assert "epoch and post-processing were chosen on the very images" in text


def test_operating_points_have_the_chosen_one_first_and_argmax_beside_it(tmp_path):
    run = read_run(write_classification_run(tmp_path / "run", wrong=[3, 50]))
    points = summarize(run, "test").operating_points

    assert [(point.threshold, point.is_chosen) for point in points[:2]] == [
        (None, True),
        (0.5, False),
    ]
    missed, rejected = points[0].missed, points[0].rejected
    assert (missed.value, rejected.value) == (
        run.metrics["test/false_negative_rate"].value,
        run.metrics["test/false_positive_rate"].value,
    )

    one_class = read_run(write_anomaly_run(tmp_path / "one class"))
    points = summarize(one_class, "test").operating_points
    assert points[0].threshold == 1.0
    assert all(point.threshold is not None for point in points)


def test_images_of_one_part_count_as_one_observation(tmp_path):
    folder = write_classification_run(tmp_path / "run", wrong=[40], images=60)
    assert "count as one observation" not in render(folder)

    path = folder / "predictions.csv"
    table = pd.read_csv(path, dtype=str)
    table["group"] = [f"part {int(index) // 4}" for index in table["index"]]
    table.to_csv(path, index=False)
    text = render(folder)

    assert "Images of one part count as one observation: 60 images, 15 parts." in text
    assert (
        "98% of the images, 95% interval" in text
    )  # numbers of observations are those of the metrics


def test_a_conformal_threshold_counts_parts_where_images_have_groups(tmp_path):
    folder = write_anomaly_run(tmp_path / "run")
    assert "set on 20 good images" in render(folder)
    path = folder / "predictions.csv"
    table = pd.read_csv(path, dtype=str)
    table["group"] = [f"part {int(index) // 4}" for index in table["index"]]
    table.to_csv(path, index=False)
    assert "set on 20 good parts" in render(folder)


def test_few_is_where_a_perfect_result_leaves_more_than_six_of_a_per_hundred():
    assert intervals.proportion(0, FEW_IMAGES).ci_high == pytest.approx(0.06, abs=0.001)


# --- segmentation


def test_summary_of_segmentation_has_accuracy_overlap_and_post_processing(
    segmentation_run,
):
    all_in(
        render(segmentation_run),
        "as good or as their type of defect: 86% (18 of 21 images)",
        "Most often misclassified: poke, 25% (1 of 4); crack, 20% (1 of 5).",
        "The predicted mask touches the defect on 89% (8 of 9 defect images).",
        "the mean IoU of the defect classes is .",
        "the Dice of any defect, whatever its class, is .77",
        "On good images 0.27% of the pixels are predicted as a defect, on average.",
        "A pixel counts from a probability of 0.5 on, a region from 5 pixels on",
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


def test_every_segmentation_metric_is_shown_with_its_meaning(tmp_path):
    for binary in (False, True):
        run = read_run(write_segmentation_run(tmp_path / f"{binary}", binary=binary))
        whole = [key for key in names.metrics_of_stage(run.metrics, "test") if "/" not in key]

        shown = list_metrics(run, summarize(run, "test"))

        repeated = {key for key in whole if binary and key.startswith("mean_")}
        assert sorted(shown) == sorted({*whole} - repeated)
        assert all(METRICS[name].description for name in shown)


def test_missing_metrics_are_explained(tmp_path):
    maps, masks = {"maps": False}, {"masks": False}
    cases = [
        (write_segmentation_run, {"images": (12,)}, "defects", "defects missed"),
        (write_segmentation_run, {"images": (0, 3)}, "good", "good parts rejected"),
        (write_segmentation_run, masks, "masks", "defect hit rate"),
        (write_segmentation_run, maps | masks, "maps", "defect hit rate"),
        (write_anomaly_run, {"images": (12,)}, "defects", "AUROC"),
        (write_anomaly_run, {"images": (0, 3, 3)}, "good", "AUROC"),
        (write_anomaly_run, masks, "masks", "AUPRO"),
        (write_anomaly_run, maps, "maps", "AUPRO"),
    ]
    reasons = {
        "defects": "Not measured, since there are no defect images in the test split",
        "good": "Not measured, since there are no good images in the test split",
        "masks": "Not measured, since there are no target masks",
        "maps": "Not measured, since the run kept no maps",
    }
    for number, (write, changed, lacking, label) in enumerate(cases):
        run = read_run(write(tmp_path / f"{number}", **changed))
        assert label in summarize(run, "test").missing[lacking]
        assert TEXT.missing(lacking, "test").strip() == reasons[lacking]


# --- pointing game


def pointing(folder, hits: int, images: int, chance: float) -> str:
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test/pointing_game"] = intervals.proportion(hits, images).as_dict()
    metrics["test/pointing_game_chance"] = Estimate(chance, None, None, images).as_dict()
    path.write_text(json.dumps(metrics))
    run = read_run(folder)
    return TEXT.pointing(run, summarize(run, "test")).strip()


def test_hits_stand_beside_what_chance_would_have(tmp_path, anomaly_run, segmentation_run):
    folder = write_classification_run(tmp_path / "run")
    assert "on the defect" not in render(folder)  # without masks
    assert pointing(folder, 12, 18, 0.1) == (
        "The peak of the explanation map lay on the defect in 67% (12 of 18 images); at random "
        "it would be 10%: more often than by chance."
    )
    assert "at random it would be 1%" in pointing(folder, 12, 18, 0.01)
    for hits, rating in (
        (3, "not distinguishable from chance"),
        (8, "more often than by chance, but mostly it was elsewhere"),
    ):
        all_in(pointing(folder, hits, 18, 0.15), rating,
               "a classifier that relies on other regions should not be trusted")  # fmt: skip
    assert "less often than by chance" in pointing(folder, 1, 60, 0.5)
    for other, start, consequence in (
        (anomaly_run, "The peak of the anomaly map", "a score that comes from elsewhere"),
        (segmentation_run, "The pixel with the highest probability", "predicted regions elsewhere"),
    ):
        assert pointing(other, 9, 9, 0.1).startswith(start)
        assert consequence in pointing(other, 1, 9, 0.1)


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
        (estimates(0.0, 0.0, auroc=0.601), Usability.WELL),
        (estimates(0.0, 0.0, auroc=0.6), Usability.GUESSING),
        (estimates(0.0, 0.0, auroc=0.4), Usability.GUESSING),
        (estimates(0.0, 0.0) | {"auroc": Estimate(0.2, 0.07, 0.46, 30)}, Usability.REVERSED),
        (estimates(0.0, 0.0) | {"auroc": Estimate(0.2, 0.07, 0.5, 30)}, Usability.GUESSING),
        (estimates(0.0, 0.0) | {"auroc": Estimate(0.2, None, None, 30)}, Usability.WELL),
        (estimates(rejected=0.21), Usability.NOT_USABLE),
        (estimates(missed=1.0), Usability.NOT_USABLE),
        (estimates(rejected=0.0), Usability.NO_DEFECTS),
        (estimates(missed=0.0), Usability.NO_GOOD),
        ({}, Usability.NOTHING),
        # Without an interval a rate is never enough for WELL.
        (dict.fromkeys(("false_positive_rate", "false_negative_rate"),
                       Estimate(0.0, None, None, 3)),
         Usability.PROMISING),
    ):  # fmt: skip
        assert rate_usability(measured) is expected
    assert (WELL, WELL_AT_WORST, PRESORT) == (0.05, 0.15, 0.2)
    all_in(TEXT.rule(), "5%", "15% or below", "at most 20%", "0.5")


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (estimates(0.21, 0.3), "the good parts are rejected and of the defective parts are missed"),
        (estimates(0.2, 0.3), "more than 20% of the defective parts are missed"),
        (estimates(0.21), "more than 20% of the good parts are rejected"),
        (estimates(0.0, 0.0) | {"auroc": Estimate(0.2, 0.07, 0.46, 30)}, "worse than guessing"),
        (
            estimates(0.0, 0.0, auroc=0.6),
            "not shown to be usable: it is not distinguishable from guessing",
        ),
        (
            estimates(0.0, 1.0, auroc=0.48),
            "not usable: more than 20% of the defective parts are "
            "missed, and it is not distinguishable from guessing",
        ),
    ],
)
def test_verdict_names_what_is_wrong(measured, expected):
    assert verdict_of(measured).endswith(expected) or expected in verdict_of(measured)
    assert "not " in verdict_of(measured)


def point(missed, rejected, *, is_chosen=False):
    rates = (None if rate is None else Estimate(rate, 0, 1, 9) for rate in (missed, rejected))
    return OperatingPoint(0.31, *rates, is_chosen=is_chosen)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([point(0.2, 0.2)], True),
        ([point(0.21, 0.0)], False),  # not usable either
        ([point(0.3, 0.0), point(0.1, 0.1)], True),
        ([point(0.0, 0.0, is_chosen=True)], False),
        ([point(None, 0.0)], False),
        ([], False),
    ],
)
def test_another_threshold_is_suggested_only_where_it_makes_the_model_usable(
    anomaly_run, points, expected
):
    run = read_run(anomaly_run)
    summary = summarize(run, "test")
    rated = replace(
        summary, metrics=estimates(0.5, 0.0, auroc=0.95), operating_points=points,
        usability=Usability.NOT_USABLE,
    )  # fmt: skip
    text = TEXT.other_threshold(run, rated)
    assert ("take it as threshold=0.31" in text) == expected
    assert not TEXT.other_threshold(run, replace(rated, takes_threshold=False)).strip()
    assert not TEXT.other_threshold(run, replace(rated, usability=Usability.PRESORT)).strip()


def test_a_threshold_is_written_with_the_digits_that_decide(anomaly_run):
    summary = summarize(read_run(anomaly_run), "test")
    close = replace(summary, scores=np.array([0.999908, 0.999909]))
    assert close.format_threshold(0.9999085) == "0.999908"  # 0.99991 would be above both
    assert close.format_threshold(0.25) == "0.25"


def test_two_classes_have_no_types_of_defects_and_one_image_reads_as_one(tmp_path):
    classes, label = ("good", "defect"), np.array([0, 0, 0, 0, 0, 1])
    folder = write_classification_run(tmp_path / "run", label=label, thumbnails=False)
    path = folder / "predictions.csv"
    table = pd.read_csv(path, dtype=str).drop(columns="p_poke").replace("crack", classes[1])
    table = table[table["split"] == "test"].rename(columns={"p_crack": "p_defect"})
    table.to_csv(path, index=False)
    record = json.loads((folder / "run.json").read_text())
    record["data"] |= {"classes": classes, "images": {"test": 6}}
    (folder / "run.json").write_text(json.dumps(record))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test/accuracy"] |= {"low": None, "high": None}
    (folder / "metrics.json").write_text(json.dumps(metrics))

    all_in(
        render(folder),
        "Classified correctly, as good or as a defect: 100% (6 of 6 images).",
        "The only defect image was classified correctly.",
        "Tested only on 1 defective image and 5 good images.",
    )


def test_advice_follows_from_the_run(tmp_path):
    def advice(name, **record):
        run = read_run(write_classification_run(tmp_path / name, wrong=[3, 50], record=record))
        return TEXT.advice(run, summarize(run, "test"))

    text = advice("a", epochs=12, best_epoch=8)
    assert "epochs may help" not in text
    assert "It began from random weights" in text
    assert "More training images of crack may help." in text
    text = advice("b", epochs=12, best_epoch=11, weights={"source": "imagenet"})
    assert "task.epochs=24" in text
    assert "random weights" not in text
