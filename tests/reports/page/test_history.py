"""What the page tells of a training."""

import pytest
from drawn_runs import draw_run
from drawn_segmentation_runs import draw_marking_run

from capsule_inspection.reports.page.answer import answer
from capsule_inspection.reports.page.history import facts, parts
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.types import RunError

RAISED = {"temperature": 1.25, "good_shift": 0.5, "images": 31}


def purposes(run) -> dict[str, str]:
    return {part.name: part.purpose for part in parts(run)}


def test_history_says_how_answers_were_scaled_and_on_which_images(tmp_path):
    for shift, told in ((0.5, "raised by 0.50"), (-0.25, "lowered by 0.25")):
        record = {"temperature_scaling": {**RAISED, "good_shift": shift}}
        run = read_run(draw_run(tmp_path / told, record=record))
        text = " ".join(facts(run))
        assert f"divided by 1.25, and that of “good” is {told}, as 31 validation images" in text
        assert purposes(run)["val"] == "Chose the best epoch, and how sure the model may be."

    run = read_run(draw_run(tmp_path / "unscaled"))
    assert "divided by" not in " ".join(facts(run))
    assert purposes(run)["val"] == "Chose the best epoch."

    run = read_run(draw_run(tmp_path / "other", record={"temperature_scaling": {"warmth": 2}}))
    with pytest.raises(RunError, match="temperature_scaling is not as expected"):
        facts(run)


def test_history_says_what_test_images_chose_where_they_were_validation_images_too(tmp_path):
    record = {"optimistic": True, "temperature_scaling": RAISED}
    run = read_run(draw_run(tmp_path / "run", record=record))
    assert purposes(run)["test"] == (
        "Measured the figures on this page, and, which is optimistic, chose the best epoch, "
        "and how sure the model may be."
    )
    for key, told in {
        "seen_in_training": "were seen",
        "had_a_part": "had a part in choosing",
    }.items():
        run = read_run(draw_run(tmp_path / key, record={key: 3}))
        assert f"3 {told}" in purposes(run)["test"]
        assert "optimistic" in " ".join(answer(run, "test").warnings).lower()


def test_history_of_marks_says_what_it_learned_from_and_what_validation_chose(tmp_path):
    run = read_run(draw_marking_run(tmp_path / "run", binary=True))

    assert purposes(run)["train"] == "The model learned from them."
    assert "how large a region must be" in purposes(run)["val"]
    assert facts(run)[0] == (
        "Of 100 images that it was shown, there were 40 good ones with a painted defect, 20 good "
        "ones with a defect of another image pasted in, 25 real defects and 15 good ones as they "
        "are."
    )
