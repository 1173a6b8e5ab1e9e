"""What the page says of marks, computed from the figures of drawn runs."""

import pytest
from drawn_marking_runs import draw_marking_run
from drawn_runs import draw_anomaly_run, draw_run

from capsule_inspection.contracts import RunError
from capsule_inspection.metrics import names
from capsule_inspection.reports.figure_words import meaning_of, name_of, value_text
from capsule_inspection.reports.page.answer import answer
from capsule_inspection.reports.page.figures import absences, figure_rows
from capsule_inspection.reports.page.history import facts, parts
from capsule_inspection.reports.run_folder import read_run


def said(folder) -> str:
    found = answer(read_run(folder), "test")
    return "\n".join([found.verdict, *found.sentences, *found.warnings])


def marks(tmp_path, **changed) -> str:
    return said(draw_marking_run(tmp_path / "run", **changed))


def test_answer_says_whether_where_and_by_which_name_defects_are_found(tmp_path):
    text = marks(tmp_path)

    assert "Of 100 good parts about 8 would be rejected" in text
    assert "Of 100 defective ones about 11 would be let through" in text
    assert "Of 100 parts about 86 get the right name" in text
    assert "Most often misnamed: poke (1 of 4) and crack (1 of 5)." in text
    assert "On 8 of 9 defect images a mark lies on the defect." in text
    assert "only under the right name, the mean IoU of the defects is 0." in text
    assert "whatever the name, marks and true defects have a Dice of 0.77 (95% interval: " in text
    assert "On good images 0.27% of the pixels are marked, on average." in text


def test_answer_says_what_was_decided_and_on_which_images(tmp_path):
    text = marks(tmp_path)

    assert "a pixel counts from a probability of 0.5 on, a region from 5 pixels on" in text
    assert "(1.6% of the 31 x 10 pixels that the network sees)" in text
    assert "chosen on 4 images (2 good, 2 defective) of the validation part" in text


def test_binary_run_says_nothing_of_names(tmp_path):
    text = marks(tmp_path, binary=True)

    assert "name" not in text
    assert "Most often let through: poke (1 of 4). Never: crack." in text
    assert "a perfect match: marks and true defects have a Dice of 0.77" in text


def test_no_mark_on_any_good_image_is_said_in_words(tmp_path):
    assert "On none of the 12 good images is anything marked." in marks(tmp_path, images=(12,))


def test_without_masks_nothing_is_said_of_where(tmp_path):
    text = marks(tmp_path, masks=False)

    assert "a mark lies on" not in text
    assert "perfect match" not in text


@pytest.mark.parametrize(
    ("decision", "absent"),
    [({"defect_images": 0}, "No defective image"), ({"good_images": 0}, "No good image")],
)
def test_decision_without_one_kind_of_images_is_warned_of(tmp_path, decision, absent):
    assert f"{absent} had a say in what counts" in marks(tmp_path, decision=decision)


def test_how_far_a_region_reaches_is_told_where_it_is_another_number(tmp_path):
    told = marks(tmp_path / "a", decision={"extent": 0.25})
    assert "A region reaches as far as the pixels around it have 0.25 or more." in told
    assert "A region reaches" not in marks(tmp_path / "b", decision={"extent": 0.5})


def test_evaluation_that_does_not_record_the_decision_says_nothing_of_it(tmp_path):
    assert "What was decided" not in marks(tmp_path, record={"decision": None})


def test_size_of_the_image_is_left_out_where_it_is_not_known(tmp_path):
    folder = draw_marking_run(tmp_path / "run")
    (folder / "config.yaml").unlink()

    assert "from 5 pixels on; a part with no such region is called good" in said(folder)


def test_decision_that_is_not_as_expected_is_named(tmp_path):
    folder = draw_marking_run(tmp_path / "run", record={"decision": {"level": 3}})

    with pytest.raises(RunError, match=r"run\.json: decision is not as expected"):
        said(folder)


def test_optimistic_run_says_that_the_decision_is_too(tmp_path):
    assert "epoch and decision were chosen on the very" in marks(
        tmp_path, record={"optimistic": True}
    )


def test_other_tasks_say_nothing_of_marks(tmp_path):
    for folder in (draw_run(tmp_path / "a"), draw_anomaly_run(tmp_path / "b")):
        assert "mark" not in said(folder)
        assert "What was decided" not in said(folder)


@pytest.mark.parametrize("binary", [False, True])
def test_every_figure_has_a_row_with_words(tmp_path, binary):
    run = read_run(draw_marking_run(tmp_path / "run", binary=binary))
    whole = [key for key in names.of_stage(run.figures, "test") if "/" not in key]

    rows = figure_rows(run, "test")

    repeated = [key for key in whole if binary and key.startswith("mean_")]
    assert len(rows) == len(whole) - len(repeated)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.meaning for row in rows)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"images": (12,)}, "no defect images in the test part: defects called good"),
        ({"images": (0, 3)}, "no good images in the test part: good called a defect"),
        ({"masks": False}, "without masks nobody knows where in the images the defects are: def"),
        ({"maps": False, "masks": False}, "Not measured, since the run kept no maps: defects with"),
    ],
)
def test_absent_figures_are_explained(tmp_path, changed, reason):
    assert reason in " ".join(
        absences(read_run(draw_marking_run(tmp_path / "run", **changed)), "test")
    )


def test_words_say_which_way_of_averaging():
    for key in (names.MEAN_IOU_OF_PIXELS, names.FOREGROUND_DICE_OF_PIXELS, names.IOU_OF_PIXELS):
        assert "pooled over pixels" in name_of(key)
    for key in (names.MEAN_DICE_OF_IMAGES, names.FOREGROUND_IOU_OF_IMAGES, names.DICE_OF_IMAGES):
        assert "mean over images" in name_of(key)
    assert "counts as much as a large one" in meaning_of(names.MEAN_IOU_OF_IMAGES)


def test_small_share_of_pixels_is_not_rounded_to_nothing():
    assert value_text(names.FALSE_ALARM_AREA, 0.00031) == "0.031%"
    assert value_text(names.AUROC, 0.00031) == "0.000"


def test_history_says_what_it_learned_from_and_what_validation_chose(tmp_path):
    run = read_run(draw_marking_run(tmp_path / "run", binary=True))

    purposes = {part.name: part.purpose for part in parts(run)}
    assert purposes["train"] == "The model learned from them."
    assert "how large a region must be" in purposes["val"]
    assert facts(run)[0] == (
        "Of 100 images that it was shown, there were 40 good ones with a painted defect, 20 good "
        "ones with a defect of another image pasted in, 25 real defects and 15 good ones as they "
        "are."
    )
