"""What the page tells of a classifier's training."""

from __future__ import annotations

import pytest
from drawn_runs import draw_run

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.page.history import facts, parts
from capsule_inspection.reports.run_folder import read_run

RAISED = {"temperature": 1.25, "good_shift": 0.5, "images": 31}


@pytest.mark.parametrize(("shift", "told"), [(0.5, "raised by 0.50"), (-0.25, "lowered by 0.25")])
def test_history_says_how_answers_were_scaled_and_on_which_images(tmp_path, shift, told):
    run = read_run(
        draw_run(tmp_path / "run", record={"temperature_scaling": {**RAISED, "good_shift": shift}})
    )
    text = " ".join(facts(run))
    assert f"divided by 1.25, and that of “good” is {told}, as 31 validation images" in text
    purposes = {part.name: part.purpose for part in parts(run)}
    assert purposes["val"] == "Chose the best epoch, and how sure the model may be."


def test_history_of_an_unscaled_run_says_nothing_of_it(tmp_path):
    run = read_run(draw_run(tmp_path / "run"))
    assert "divided by" not in " ".join(facts(run))
    assert {part.name: part.purpose for part in parts(run)}["val"] == "Chose the best epoch."


def test_history_says_what_test_images_chose_where_they_were_validation_images_too(tmp_path):
    record = {"optimistic": True, "temperature_scaling": RAISED}
    run = read_run(draw_run(tmp_path / "run", record=record))
    assert {part.name: part.purpose for part in parts(run)}["test"] == (
        "Measured the figures on this page, and, which is optimistic, chose the best epoch, "
        "and how sure the model may be."
    )


def test_a_record_of_another_scaling_is_refused(tmp_path):
    run = read_run(draw_run(tmp_path / "run", record={"temperature_scaling": {"warmth": 2}}))
    with pytest.raises(RunError, match="temperature_scaling is not as expected"):
        facts(run)
