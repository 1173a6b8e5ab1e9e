"""The first words of the page, computed from the figures of drawn runs."""

import pytest
from drawn_anomaly_runs import draw_anomaly_run
from drawn_runs import draw_run
from drawn_segmentation_runs import draw_marking_run

from capsule_inspection.metrics import intervals, names
from capsule_inspection.reports.figure_words import meaning_of, name_of, value_text
from capsule_inspection.reports.page import answer as answering
from capsule_inspection.reports.page.answer import answer, hundred
from capsule_inspection.reports.page.figures import absences, figure_rows
from capsule_inspection.reports.page.pointing import pointing_sentences
from capsule_inspection.reports.page.verdict import (
    RULE,
    Verdict,
    orders_better_than_it_decides,
    verdict_of,
)
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.types import Figure, RunError


def told_by(folder) -> str:
    found = answer(read_run(folder), "test")
    return "\n".join([found.verdict, *found.sentences, *found.warnings])


def all_in(text: str, *told: str) -> None:
    for part in told:
        assert part in text


def test_share_of_a_hundred_is_zero_or_all_only_where_it_is():
    shares = {0.0: "0", 0.001: "0.1", 0.125: "13", 0.999: "over 99", 1.0: "100"}
    assert {share: hundred(share) for share in shares} == shares


# --- one class


def test_answer_counts_parts_and_names_what_is_missed_and_what_few_images_leave_open(anomaly_run):
    rejected, possible = intervals.proportion(1, 12), intervals.proportion(0, 12)
    all_in(
        told_by(anomaly_run),
        "Of 100 good parts about 8 would be rejected (95% interval: "
        f"{hundred(rejected.low)} to {hundred(rejected.high)}; measured on 12 images)",
        "Of 100 defective ones about 11 would be let through",
        "Most often let through: poke (1 of 4). Never: crack.",
        "set on 20 good images",
        "at most 10 of 100 good parts",
        "at least 9 of them, so there were enough",
        "Only 12 good images and 9 defective images were tested",
        f"up to {hundred(possible.high)} of 100 good parts",
    )
    assert "beyond chance" not in told_by(anomaly_run)


NO_RATE = {"false_alarm_rate": None, "needed": None}
FEW = {"good_images": 9, "enough": False, "needed": 19, "false_alarm_rate": 0.05}
ONE_CLASS = [
    ({"threshold": FEW},
     ["Too few good images set the threshold: 9", "rate of 5% takes at least 19",
      "about 10 of 100 good parts must be expected to be rejected"], []),
    ({"threshold": {"rule": "f1", "defect_images": 6, **NO_RATE}},
     ["chosen with 6 defect images", "no longer the figures of a one-class inspection"],
     ["served for nothing else"]),
    ({"threshold": {"rule": "sigma", **NO_RATE}}, ["promises no false-alarm rate"], []),
    ({"threshold": {"value": 0.3, "false_alarm_rate": 0.1}},
     ["beyond chance", "another threshold would serve better",
      "not usable as it is: more than 20 of 100 good parts are rejected."], []),
    ({"images": (80, 40, 40)}, ["Verdict: it separates good from defective parts well."], ["Only"]),
    ({"images": (12,)}, ["Verdict: open: no defective part was tested", "let through."],
     ["defective ones about"]),
    ({"images": (0, 3, 3)}, ["Verdict: open: no good part was tested"], ["beyond chance"]),
    ({"record": {"threshold": None}}, [], ["threshold was"]),
]  # fmt: skip
MARKS = [
    ({"binary": True},
     ["Most often let through: poke (1 of 4). Never: crack.",
      "a perfect match: marks and true defects have a Dice of 0.77"], ["name"]),
    ({"images": (12,)}, ["On none of the 12 good images is anything marked."], []),
    ({"images": (0, 3)}, [], ["is anything marked"]),
    ({"masks": False}, [], ["a mark lies on", "perfect match"]),
    ({"decision": {"defect_images": 0}}, ["No defective image had a say in what counts"], []),
    ({"decision": {"good_images": 0}}, ["No good image had a say in what counts"], []),
    ({"decision": {"extent": 0.25}},
     ["A region reaches as far as the pixels around it have 0.25 or more."], []),
    ({"decision": {"extent": 0.5}}, [], ["A region reaches"]),
    ({"record": {"decision": None}}, [], ["What was decided"]),
    ({"record": {"optimistic": True}}, ["epoch and decision were chosen on the very"], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("draw", "changed", "told", "absent"),
    [(draw_anomaly_run, *case) for case in ONE_CLASS]
    + [(draw_marking_run, *case) for case in MARKS],
)
def test_answer_says_and_warns_of_what_there_is(tmp_path, draw, changed, told, absent):
    text = told_by(draw(tmp_path / "run", **changed))

    all_in(text, *told)
    assert not [part for part in absent if part in text]


# --- classification


def test_classification_says_how_often_the_name_is_right_and_nothing_of_marks(tmp_path):
    record = {"optimistic": True}
    folder = draw_run(tmp_path / "run", wrong=[40, 41, 42], images=60, record=record)
    text = told_by(folder)

    all_in(text, "Of 100 parts about 95 get the right name",
           "Most often misnamed: crack (2 of 10) and poke (1 of 10).")  # fmt: skip
    for absent in ("threshold", "mark", "What was decided"):
        assert absent not in text
    assert "mark" not in told_by(draw_anomaly_run(tmp_path / "one class"))
    run = read_run(folder)
    assert "Optimistic" in answer(run, "test").warnings[0]
    assert "no test images here" in answer(run, "val").warnings[1]


def test_few_is_where_a_perfect_result_leaves_more_than_six_of_a_hundred():
    assert intervals.proportion(0, answering.FEW_IMAGES).high == pytest.approx(0.06, abs=0.001)


# --- marks


def test_answer_says_whether_where_and_by_which_name_defects_are_found(marking_run):
    all_in(
        told_by(marking_run),
        "Of 100 good parts about 8 would be rejected",
        "Of 100 defective ones about 11 would be let through",
        "Of 100 parts about 86 get the right name",
        "Most often misnamed: poke (1 of 4) and crack (1 of 5).",
        "On 8 of 9 defect images a mark lies on the defect.",
        "only under the right name, the mean IoU of the defects is 0.",
        "whatever the name, marks and true defects have a Dice of 0.77 (95% interval: ",
        "On good images 0.27% of the pixels are marked, on average.",
        "a pixel counts from a probability of 0.5 on, a region from 5 pixels on",
        "(1.6% of the 31 x 10 pixels that the network sees)",
        "chosen on 4 images (2 good, 2 defective) of the validation part",
    )
    (marking_run / "config.yaml").unlink()
    assert "from 5 pixels on; a part with no such region is called good" in told_by(marking_run)


def test_decision_that_is_not_as_expected_is_named(tmp_path):
    folder = draw_marking_run(tmp_path / "run", record={"decision": {"level": 3}})

    with pytest.raises(RunError, match=r"run\.json: decision is not as expected"):
        told_by(folder)


# --- figures


def test_every_figure_of_marks_has_a_row_with_words(tmp_path):
    for binary in (False, True):
        run = read_run(draw_marking_run(tmp_path / f"{binary}", binary=binary))
        whole = [key for key in names.of_stage(run.figures, "test") if "/" not in key]

        rows = figure_rows(run, "test")

        repeated = [key for key in whole if binary and key.startswith("mean_")]
        assert len(rows) == len(whole) - len(repeated)
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.meaning for row in rows)


def test_absent_figures_are_explained(tmp_path):
    maps, masks = {"maps": False}, {"masks": False}
    cases = [
        (draw_marking_run, {"images": (12,)},
         "no defect images in the test part: defects called good"),
        (draw_marking_run, {"images": (0, 3)}, "no good images in the test part: good called a de"),
        (draw_marking_run, masks, "without masks nobody knows where in the images the defects are"),
        (draw_marking_run, maps | masks,
         "Not measured, since the run kept no maps: defects with"),
        (draw_anomaly_run, {"images": (12,)},
         "Not measured, since there are no defect images in the test part"),
        (draw_anomaly_run, {"images": (0, 3, 3)},
         "Not measured, since there are no good images in the test part"),
        (draw_anomaly_run, masks, "Not measured, since without masks nobody knows"),
        (draw_anomaly_run, maps, "Not measured, since the run kept no maps"),
    ]  # fmt: skip
    for number, (draw, changed, reason) in enumerate(cases):
        run = read_run(draw(tmp_path / f"{number}", **changed))
        assert reason in " ".join(absences(run, "test"))


def test_words_say_which_way_of_averaging_and_small_shares_are_not_rounded_to_nothing():
    for key in (names.MEAN_IOU_OF_PIXELS, names.FOREGROUND_DICE_OF_PIXELS, names.IOU_OF_PIXELS):
        assert "pooled over pixels" in name_of(key)
    for key in (names.MEAN_DICE_OF_IMAGES, names.FOREGROUND_IOU_OF_IMAGES, names.DICE_OF_IMAGES):
        assert "mean over images" in name_of(key)
    assert "counts as much as a large one" in meaning_of(names.MEAN_IOU_OF_IMAGES)
    assert value_text(names.FALSE_ALARM_AREA, 0.00031) == "0.031%"
    assert value_text(names.AUROC, 0.00031) == "0.000"


# --- where it looked


def pointing(run, hits: int, images: int, chance: float) -> str:
    figures = {
        "pointing_game": intervals.proportion(hits, images),
        "pointing_game_chance": Figure(chance, None, None, images),
    }
    (sentence,) = pointing_sentences(run, figures)
    return sentence


def test_hits_stand_beside_what_chance_would_have(tmp_path, anomaly_run, marking_run):
    run = read_run(draw_run(tmp_path / "run"))
    assert pointing(run, 12, 18, 0.1) == (
        "The network looked at the defect in 12 of 18 images; at random it would be about 2 of 18: "
        "more often than chance explains."
    )
    assert "at random it would be fewer than 1 of 18" in pointing(run, 12, 18, 0.01)
    for hits, judgement in (
        (3, "this cannot be told from chance"),
        (8, "more often than by chance, but mostly it was elsewhere"),
    ):
        all_in(pointing(run, hits, 18, 0.15), judgement,
               "a classifier that looks elsewhere should not be trusted")  # fmt: skip
    assert "less often than by chance" in pointing(run, 1, 60, 0.5)
    assert pointing_sentences(run, {}) == []  # without masks
    for other, start, distrust in (
        (anomaly_run, "The most suspicious place of the map", "a score that comes from elsewhere"),
        (marking_run, "The place that is surest to be a defect", "marks that lie elsewhere"),
    ):
        assert pointing(read_run(other), 9, 9, 0.1).startswith(start)
        assert distrust in pointing(read_run(other), 1, 9, 0.1)


# --- verdict


def figures(rejected=None, missed=None, *, n=200, auroc=None, high=None):
    """Figures of these shares, with intervals that end at `high` or a little above the share."""
    found = {
        name: Figure(share, 0.0, share + 0.03 if high is None else high, n)
        for name, share in (("good_rejected", rejected), ("defects_missed", missed))
        if share is not None
    }
    return found | ({} if auroc is None else {"auroc": Figure(auroc, auroc - 0.1, 1.0, n)})


def test_verdict_follows_its_rule():
    for measured, expected in (
        (figures(0.05, 0.05, auroc=0.99), Verdict.WELL),
        (figures(0.0, 0.0, high=0.15), Verdict.WELL),
        (figures(0.0, 0.0, high=0.16), Verdict.PROMISING),
        (figures(0.06, 0.0), Verdict.PRESORT),
        (figures(0.2, 0.2), Verdict.PRESORT),
        (figures(0.21, 0.0), Verdict.NOT_USABLE),
        (figures(0.0, 0.21), Verdict.NOT_USABLE),
        (figures(0.0, 0.0, auroc=0.6), Verdict.GUESSING),
        (figures(rejected=0.0), Verdict.NO_DEFECTS),
        (figures(missed=0.0), Verdict.NO_GOOD),
        ({}, Verdict.NOTHING),
        # Without an interval a share is never enough for WELL.
        (dict.fromkeys(("good_rejected", "defects_missed"), Figure(0.0, None, None, 3)),
         Verdict.PROMISING),
    ):  # fmt: skip
        assert verdict_of(measured) is expected
    for limit in ("5 of 100", "15 or below", "at most 20", "0.5"):
        assert limit in RULE


def test_threshold_is_blamed_where_the_scores_are_good():
    assert orders_better_than_it_decides(figures(0.5, 0.0, auroc=0.95))
    assert not orders_better_than_it_decides(figures(0.5, 0.0, auroc=0.8))
    assert not orders_better_than_it_decides(figures(0.0, 0.0, auroc=0.95))
