"""A model's own test result: read from runs, at other thresholds, and from foreign metadata."""

import csv
import json
import logging

import numpy as np
import pytest
from sample_anomaly_runs import write_anomaly_run
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.metrics import intervals
from capsule_inspection.reports.run import test_result
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.summary import summarize
from capsule_inspection.reports.run.test_result import (
    NO_RESULT,
    describe_result,
    read_test_result,
    stored_result,
)
from capsule_inspection.types import ARGMAX, RunError


def classifier(folder, defects, missed, *, good=30, rejected=0, **changed):
    """A run that misses so many of its defects and rejects so many good images."""
    label = np.array([0] * good + [2] * defects)  # a wrong prediction of class 2 is good
    wrong = [*range(rejected), *range(good, good + missed)]
    return write_classification_run(folder, label=label, wrong=wrong, thumbnails=False, **changed)


@pytest.mark.parametrize(
    ("defects", "missed", "expected", "is_usable"),
    [
        (100, 24, "missed 24 of 100 defects (24%, 95% interval 17% to 33%)", False),
        (20, 0, "missed 0 of 20 defects (0%, 95% interval 0% to 16%)", True),
        (20, 1, "missed 1 of 20 defects (5%, 95% interval 0.89% to 24%)", True),
        (20, 4, "missed 4 of 20 defects (20%, 95% interval 8.1% to 42%)", True),
        (3, 3, "missed 3 of 3 defects (100%, 95% interval 44% to 100%)", False),
        (1, 0, "missed 0 of 1 defects (0%, 95% interval 0% to 79%)", False),
        (1, 1, "missed 1 of 1 defects (100%, 95% interval 21% to 100%)", False),
    ],
)
def test_sentence_has_missed_defects_with_their_interval_and_warns_of_unusable_models(
    tmp_path, defects, missed, expected, is_usable
):
    result = read_test_result(classifier(tmp_path / "run", defects, missed))

    assert result.sentence().startswith(f"In its test it {expected} and rejected 0 of 30 good ")
    assert result.is_usable is is_usable
    assert ("Verdict: not " in result.sentence()) != is_usable


def test_numbers_are_those_of_the_page(tmp_path):
    folder = write_classification_run(tmp_path / "run", wrong=[0, 40, 41, 42, 50, 60], images=66)
    result, summary = read_test_result(folder), summarize(read_run(folder), "test")

    for name, rate in result.metrics.items():
        page = summary.metrics[name]
        assert (rate.value, rate.ci_low, rate.ci_high, rate.n) == (
            page.value, page.ci_low, page.ci_high, page.n
        )  # fmt: skip
    assert result.verdict == summary.verdict
    (chosen,) = (point for point in summary.operating_points if point.is_chosen)
    assert result.at(ARGMAX).missed.value == chosen.missed.value


def test_a_side_that_was_not_tested_is_named(tmp_path):
    without_good = read_test_result(classifier(tmp_path / "a", 3, 3, good=0))
    without_defects = read_test_result(classifier(tmp_path / "b", 0, 0, good=5, rejected=1))

    assert "No good part was tested" in without_good.sentence()
    assert "rejected" not in without_good.sentence().partition(".")[0]
    assert not without_good.is_usable  # 3 of 3 are missed, whatever it would reject
    assert "No defect was tested, so how many it misses is unknown." in without_defects.sentence()
    assert without_defects.missed is None


def test_validation_images_and_optimistic_ones_are_no_test(tmp_path):
    folder = classifier(tmp_path / "run", 10, 1, record={"training_overlap": 2})
    assert "Choices were made on these images: expect worse." in read_test_result(folder).sentence()

    metrics = json.loads((folder / "metrics.json").read_text())
    renamed = {key.replace("test/", "val/"): of for key, of in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(renamed))
    table = folder / "predictions.csv"
    lines = [line for line in table.read_text().splitlines() if ",val," not in line]
    table.write_text("\n".join(lines).replace(",test,", ",val,") + "\n")
    text = read_test_result(folder).sentence()
    assert text.startswith("It was not tested; on its validation images it missed 1 of 10 defects")
    assert "expect worse" in text


def test_images_of_one_part_are_one_observation(tmp_path):
    folder = classifier(tmp_path / "run", 12, 3)
    path = folder / "predictions.csv"
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    for number, row in enumerate(rows):
        row[header.index("group")] = f"part {number // 3}"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    metrics = json.loads((folder / "metrics.json").read_text())
    expected = intervals.proportion(3, 12, group=np.repeat(range(4), 3))
    metrics["test/false_negative_rate"] = expected.as_dict()
    (folder / "metrics.json").write_text(json.dumps(metrics))

    result = read_test_result(folder)
    assert "missed 3 of 12 defects (25%, " in result.sentence()
    assert ", 4 parts)" in result.sentence()
    again = result.at(ARGMAX).missed
    assert (again.ci_low, again.n) == (expected.ci_low, 4)


def test_another_threshold_has_its_own_rates_and_masks_have_none(tmp_path):
    result = read_test_result(write_anomaly_run(tmp_path / "a"))
    rejected = result.at(0.0).rejected
    assert (rejected.wrong, rejected.images, result.at(0.0).missed.wrong) == (12, 12, 0)
    assert result.at(1e9).missed.wrong == 9
    assert result.at(1e9).sentence().startswith("In its test, at threshold=1000000000.0, it missed")
    assert result.at(ARGMAX) is None

    segmentation = read_test_result(write_segmentation_run(tmp_path / "b"))
    assert segmentation.scored is None
    assert segmentation.at(0.5) is None
    assert "missed 1 of 9 defects" in segmentation.sentence()


def test_without_a_result_that_is_stated(tmp_path, caplog):
    folder = classifier(tmp_path / "run", 3, 1)
    (folder / "metrics.json").write_text('{"test/auroc": {}}')
    with caplog.at_level(logging.WARNING):
        assert read_test_result(folder) is None
    assert "test/auroc must hold value" in caplog.text
    assert read_test_result(tmp_path / "nothing") is None
    (folder / "metrics.json").write_text(
        '{"test/auroc": {"value": 1, "low": 1, "high": 1, "n": 1e999}}'
    )
    assert read_test_result(folder) is None
    assert describe_result(None) == NO_RESULT
    assert stored_result({}, where="x") is None


@pytest.mark.parametrize(
    "change",
    [
        {"missed": "few"},
        {"stage": "production"},
        {"optimistic": "no"},
        {"missed": {"value": float("nan")}},
        {"missed": {"ci_high": 2.0}},
        {"missed": {"value": 0.9}},  # above its own upper limit
        {"missed": {"wrong": 99}},
        {"missed": {"n": -1}},
        {"scored": {"score": [1.0]}},
        {"scored": {"score": "0.5"}},
        {"threshold": [0.5]},
        {"unknown": 1},
    ],
)
def test_a_foreign_result_is_refused_and_an_own_one_survives_json(tmp_path, change):
    result = read_test_result(classifier(tmp_path / "run", 10, 1))
    stored = json.loads(json.dumps(result.as_dict()))
    assert stored_result({"test": stored}, where="x") == result
    quantized = stored_result({"test": stored, "int8": True}, where="x")
    assert quantized.sentence().startswith(result.sentence())
    assert "quantized to int8" in quantized.sentence()

    (name, value), = change.items()  # fmt: skip
    stored[name] = {**stored[name], **value} if isinstance(value, dict) else value
    with pytest.raises(RunError, match=r"model\.onnx: expected the test result of the model"):
        stored_result({"test": stored}, where="model.onnx")


def test_a_line_with_too_many_values_is_read_like_the_others(tmp_path):
    folder = classifier(tmp_path / "run", 10, 1)
    table = folder / "predictions.csv"
    lines = table.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if ",test," in line)
    lines[first] += ",more"
    table.write_text("\n".join(lines) + "\n")
    assert read_test_result(folder).missed.wrong == 1


def test_scores_of_very_many_images_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(test_result, "_MAX_IMAGES", 30)
    assert read_test_result(classifier(tmp_path / "a", 10, 1)).scored is None
    assert read_test_result(classifier(tmp_path / "b", 10, 1, good=20)).scored is not None
