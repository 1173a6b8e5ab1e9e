"""What the report says of thresholds and of good images that are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_anomaly_runs import draw_folds, draw_one_class_run, one_class_images
from drawn_runs import draw_run

from capsule_inspection.reports.comparison import thresholds
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.writing import compare
from capsule_inspection.reports.run_folder import read_run

F1 = {"rule": "f1", "defect_images": 7, "false_alarm_rate": None, "needed": None}
SIGMA = {"rule": "sigma", "false_alarm_rate": None, "needed": None}


def one(folder: Path, **changed) -> Measured:
    (contestant,) = gather(draw_folds(folder, folds=2, **changed))
    return measure(contestant)


def row_of(measured: Measured) -> list[str]:
    table = thresholds.threshold_table([measured])
    assert table is not None
    return [cell.text for cell in table.rows[0]]


def test_the_table_has_rule_and_asked_rate_against_what_is_rejected(tmp_path: Path) -> None:
    measured = one(tmp_path)
    row = row_of(measured)
    value = measured.figures["good_rejected"].value

    assert row[:3] == ["autoencoder (2 runs)", "conformal", "at most .100"]
    assert row[3].startswith(f"{value:.3f}".lstrip("0"))
    assert row[4:] == ["20", "yes"]


def test_classifiers_have_no_thresholds(tmp_path: Path) -> None:
    (contestant,) = gather([read_run(draw_run(tmp_path / "a"))])
    assert thresholds.threshold_table([measure(contestant)]) is None


@pytest.mark.parametrize("threshold", [SIGMA, F1], ids=["sigma", "f1"])
def test_rules_that_promise_nothing_are_not_held_against_a_rate(
    tmp_path: Path, threshold: dict[str, object]
) -> None:
    measured = one(tmp_path, threshold=threshold)
    assert row_of(measured)[2] == "no promise"
    assert row_of(measured)[5] == "–"
    assert thresholds.sentences([measured]) == []


def test_the_answer_says_how_many_good_ones_are_rejected(tmp_path: Path) -> None:
    said = compare(draw_folds(tmp_path)).answer.best
    assert any(
        line.startswith("Good ones rejected against what was asked for: autoencoder .")
        for line in said
    )
    assert any(line.endswith("asked .100.") for line in said)


def test_a_threshold_that_defects_chose_is_called_so(tmp_path: Path) -> None:
    (told,) = [
        line for line in thresholds.caveats([one(tmp_path, threshold=F1)]) if "rule f1" in line
    ]
    assert told.startswith("autoencoder: the threshold was chosen with labelled defects")


def test_too_few_good_images_for_the_asked_rate_are_told(tmp_path: Path) -> None:
    few = {"good_images": 5, "enough": False}
    measured = one(tmp_path, threshold=few)

    assert row_of(measured)[5] == "no in 2 of 2 runs: 9 are needed"
    (told,) = [line for line in thresholds.caveats([measured]) if "takes 9" in line]
    assert "5 good images set the threshold" in told
    assert "expect up to .167" in told


def test_more_rejected_than_asked_beyond_chance_is_told(tmp_path: Path) -> None:
    images = one_class_images(0, good=400)
    run = draw_one_class_run(
        tmp_path / "a",
        threshold={"false_alarm_rate": 0.001, "good_images": 2000},
        images=images,
        maps=False,
    )
    (contestant,) = gather([run])
    told = thresholds.caveats([measure(contestant)])
    assert any(line.endswith("differ from those that set the threshold.") for line in told)
    assert not any("beyond chance" in line for line in thresholds.caveats([one(tmp_path)]))


def test_a_rate_that_could_not_be_promised_is_not_called_broken(tmp_path: Path) -> None:
    few = {"false_alarm_rate": 0.001, "good_images": 20, "enough": False, "needed": 999}
    images = one_class_images(0, good=400)
    run = draw_one_class_run(tmp_path / "a", threshold=few, images=images, maps=False)
    (contestant,) = gather([run])
    told = thresholds.caveats([measure(contestant)])
    assert not any("beyond chance" in line for line in told)
    assert any("takes 999" in line for line in told)


@pytest.mark.parametrize(("good", "is_told"), [(49, True), (50, False)])
def test_below_50_good_images_a_training_the_share_is_uncertain(
    tmp_path: Path, good: int, is_told: bool
) -> None:
    run = draw_one_class_run(tmp_path / "a", images=one_class_images(0, good=good))
    (contestant,) = gather([run])
    told = [line for line in thresholds.caveats([measure(contestant)]) if "uncertain" in line]
    assert bool(told) == is_told


def test_scores_without_order_are_called_guesses(tmp_path: Path) -> None:
    said = compare(draw_folds(tmp_path, skill=0.0)).answer.caveats
    assert "Not shown to be better than guessing, by AUROC: autoencoder." in said
