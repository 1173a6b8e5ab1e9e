"""Splits and facts of a training on the page."""

import shlex

import pytest
from sample_runs import write_classification_run
from sample_segmentation_runs import write_segmentation_run

from capsule_inspection.reports.html import environment
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.reports.run.summary import summarize
from capsule_inspection.reports.run.training_history import (
    count_splits,
    find_mixture,
    format_command,
    list_hardware,
)
from capsule_inspection.types import RunError

TEXT = environment(autoescape=False).get_template("run_text.j2").module

RAISED = {"temperature": 1.25, "good_shift": 0.5, "images": 31}


def purposes(run) -> dict[str, str]:
    return {stage: TEXT.purpose(run, stage).strip() for stage in count_splits(run)}


def facts(run) -> list[str]:
    return TEXT.history(run, find_mixture(run), list_hardware(run)).strip().splitlines()


def test_history_has_the_temperature_scaling_and_its_images(tmp_path):
    for shift, change in ((0.5, "raised by 0.50"), (-0.25, "lowered by 0.25")):
        record = {"temperature_scaling": {**RAISED, "good_shift": shift}}
        run = read_run(write_classification_run(tmp_path / change, record=record))
        text = " ".join(facts(run))
        assert (
            f"divided by 1.25, and that of “good” is {change}, as fitted on 31 validation images"
            in text
        )
        assert (
            purposes(run)["val"]
            == "Selected the best epoch, and fitted the temperature of the probabilities."
        )

    run = read_run(write_classification_run(tmp_path / "unscaled"))
    assert "divided by" not in " ".join(facts(run))
    assert purposes(run)["val"] == "Selected the best epoch."

    run = read_run(
        write_classification_run(tmp_path / "other", record={"temperature_scaling": {"warmth": 2}})
    )
    with pytest.raises(RunError, match="temperature_scaling is not as expected"):
        facts(run)


def test_history_has_what_test_images_selected_where_they_are_validation_images_too(tmp_path):
    record = {"optimistic": True, "temperature_scaling": RAISED}
    run = read_run(write_classification_run(tmp_path / "run", record=record))
    assert purposes(run)["test"] == (
        "Measured the metrics on this page, and, which is optimistic, selected the best epoch, "
        "and fitted the temperature of the probabilities."
    )
    for key, use in {
        "training_overlap": "were used for training",
        "selection_overlap": "were used to select",
    }.items():
        run = read_run(write_classification_run(tmp_path / key, record={key: 3}))
        assert f"3 {use}" in purposes(run)["test"]
        assert "Optimistic" in TEXT.warnings(run, summarize(run, "test"))


def test_history_of_segmentation_has_the_mixture_and_the_purpose_of_validation(tmp_path):
    run = read_run(write_segmentation_run(tmp_path / "run", binary=True))

    assert purposes(run)["train"] == "The model learned from them."
    assert "smallest area of the masks" in purposes(run)["val"]
    assert facts(run)[0] == (
        "Of 100 training images, there were 40 good ones with a synthetic defect, 20 good ones "
        "with a defect copied from another image, 25 real defects and 15 unchanged good ones."
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train.py", "model=resnet18"], "python train.py model=resnet18"),
        (["train.py", "data.root='/a b'"], """python train.py "data.root='/a b'\""""),
        (["train.py", "seed=1,2", "a=$(b)"], "python train.py seed=1,2 'a=$(b)'"),
        (["train.py", "a='$b'"], """python train.py 'a='"'"'$b'"'"''"""),
        (None, ""),
    ],
)
def test_command_can_be_pasted_into_a_shell(tmp_path, arguments, expected):
    run = read_run(write_classification_run(tmp_path / "run", record={"command": arguments}))

    assert format_command(run) == expected
    if arguments:
        assert shlex.split(expected) == ["python", *arguments]
