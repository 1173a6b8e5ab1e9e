"""The first words of the page, computed from the figures of drawn runs."""

import pytest
from drawn_runs import draw_anomaly_run, draw_run

from capsule_inspection.metrics import intervals
from capsule_inspection.reports.page import answer as answering
from capsule_inspection.reports.page.answer import answer, hundred
from capsule_inspection.reports.run_folder import read_run


def said(folder) -> str:
    found = answer(read_run(folder), "test")
    return "\n".join([found.verdict, *found.sentences, *found.warnings])


def one_class(tmp_path, **changed) -> str:
    return said(draw_anomaly_run(tmp_path / "run", **changed))


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0"), (0.001, "0.1"), (0.125, "13"), (0.999, "over 99"), (1.0, "100")],
)
def test_share_of_a_hundred_is_zero_or_all_only_where_it_is(share, text):
    assert hundred(share) == text


def test_answer_counts_parts_and_names_what_is_missed(tmp_path):
    text = one_class(tmp_path)

    rejected = intervals.proportion(1, 12)
    assert "Of 100 good parts about 8 would be rejected (95% interval: " in text
    assert f"{hundred(rejected.low)} to {hundred(rejected.high)}; measured on 12 images)" in text
    assert "Of 100 defective ones about 11 would be let through" in text
    assert "Most often let through: poke (1 of 4). Never: crack." in text
    assert "set on 20 good images" in text
    assert "at most 10 of 100 good parts" in text
    assert "at least 9 of them, so there were enough" in text


def test_too_few_images_for_the_threshold_say_how_many_it_takes(tmp_path):
    few = {"good_images": 9, "enough": False, "needed": 19, "false_alarm_rate": 0.05}
    text = one_class(tmp_path, threshold=few)

    assert "Too few good images set the threshold: 9" in text
    assert "rate of 5% takes at least 19" in text
    assert "about 10 of 100 good parts must be expected to be rejected" in text


def test_threshold_that_saw_defects_is_warned_of(tmp_path):
    rule = {"rule": "f1", "defect_images": 6, "false_alarm_rate": None, "needed": None}
    text = one_class(tmp_path, threshold=rule)

    assert "chosen with 6 defect images" in text
    assert "no longer the figures of a one-class inspection" in text
    assert "served for nothing else" not in text


def test_rule_of_thumb_is_said_to_promise_no_rate(tmp_path):
    rule = {"rule": "sigma", "false_alarm_rate": None, "needed": None}

    assert "promises no false-alarm rate" in one_class(tmp_path, threshold=rule)


def test_more_false_alarms_than_asked_are_warned_of_where_chance_does_not_explain_them(tmp_path):
    assert "beyond chance" not in one_class(tmp_path)
    low = {"value": 0.3, "false_alarm_rate": 0.1}

    assert "beyond chance" in said(draw_anomaly_run(tmp_path / "low", threshold=low))


def test_few_test_images_say_what_they_leave_open(tmp_path):
    text = one_class(tmp_path)

    assert "Only 12 good images and 9 defective images were tested" in text
    possible = hundred(intervals.proportion(0, 12).high)
    assert f"up to {possible} of 100 good parts" in text


def test_many_test_images_need_no_warning(tmp_path):
    text = one_class(tmp_path, images=(80, 40, 40))

    assert "Only" not in text
    assert "Verdict: it separates good from defective parts well." in text


def test_no_defects_leave_the_verdict_open(tmp_path):
    text = one_class(tmp_path, images=(12,))

    assert "Verdict: open: no defective part was tested" in text
    assert "let through." in text
    assert "defective ones about" not in text


def test_bad_result_says_what_is_too_many(tmp_path):
    text = one_class(tmp_path, threshold={"value": 0.3})

    assert "not usable as it is: more than 20 of 100 good parts are rejected." in text
    assert "another threshold would serve better" in text


def test_run_without_a_record_of_its_threshold_says_nothing_of_it(tmp_path):
    assert "threshold was" not in one_class(tmp_path, record={"threshold": None})


def test_classification_says_how_often_the_name_is_right(tmp_path):
    text = said(draw_run(tmp_path / "run", wrong=[40, 41, 42], images=60))

    assert "Of 100 parts about 95 get the right name" in text
    assert "Most often misnamed: crack (2 of 10) and poke (1 of 10)." in text
    assert "threshold" not in text


def test_figures_of_another_part_or_of_the_origin_are_called_worse(tmp_path):
    run = read_run(draw_run(tmp_path / "run", record={"optimistic": True}))

    assert "Optimistic" in answer(run, "test").warnings[0]
    assert "no test images here" in answer(run, "val").warnings[1]


def test_few_is_where_a_perfect_result_leaves_more_than_six_of_a_hundred():
    assert intervals.proportion(0, answering.FEW_IMAGES).high == pytest.approx(0.06, abs=0.001)
