"""Comparisons as a whole: what is compared with what, settings that decide, files, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from comparisons import one_class, segmentation, write
from sample_anomaly_runs import one_class_images, write_one_class_run
from sample_runs import CLASSES, labels_of, write_classification_run
from sample_segmentation_runs import images_of_fold

from capsule_inspection.reports.comparison.decision import Reason
from capsule_inspection.reports.comparison.pairs import DecisionSettings
from capsule_inspection.reports.comparison.report import compare, read_finished, write_comparison
from capsule_inspection.reports.run.run_folder import read_run
from capsule_inspection.types import ConfigurationError, Costs, RunError

NUMBER, LABEL = images_of_fold(0)


def l1(weight: float) -> dict[str, dict]:
    return {"task": {"loss": {"l1": weight}}}


def test_the_files_of_a_comparison_are_the_same_each_time(tmp_path) -> None:
    errors = {"a": range(3), "b": range(6)}
    runs = [write(tmp_path, name, wrong=wrong, images=30) for name, wrong in errors.items()]
    comparison = compare(runs)
    pages = [write_comparison(comparison, tmp_path / name) for name in ("x", "y")]
    written = [sorted(path.name for path in page.parent.iterdir()) for page in pages]
    assert written[0] == written[1] == [
        "comparison.csv", "comparison.html", "comparison.json", "comparison.md", "figures"
    ]  # fmt: skip
    for name in written[0][:-1]:
        first, second = (page.with_name(name).read_bytes() for page in pages)
        assert first == second, name

    content = json.loads((tmp_path / "x" / "comparison.json").read_text())
    assert content["recommendation"]["reason"] == comparison.recommendation.reason.value
    assert content["recommendation"]["text"]
    assert [model["name"] for model in content["models"]] == list(errors)
    assert len(content["pairs"]) == 1


def test_a_reference_is_taken_by_name_or_above_eight_models_by_validation(tmp_path) -> None:
    runs = [write(tmp_path, f"m{n}", wrong=range(n), thumbnails=False) for n in range(9)]
    pairs = compare(runs).pairs
    assert len(pairs) == 8
    assert {pair.first for pair in pairs} == {"m0"}
    assert {pair.first for pair in compare(runs[:3], reference="m1").pairs} == {"m1"}
    with pytest.raises(ConfigurationError, match="Compared are: m0, m1, m2"):
        compare(runs[:3], reference="d")


@pytest.mark.parametrize(
    ("make", "changed", "first", "expected"),
    [
        (one_class, lambda n: {"val_loss": 1 / (n + 1), "settings": l1(1.0 + n)}, "m0",
         "m0, the first of the runs: they share no validation"),
        (one_class, lambda n: {"val_loss": 1 / (n + 1)}, "m8",
         "m8, which has the lowest validation loss."),
        (segmentation, lambda n: {"monitored": n / 10}, "m8",
         "m8, which has the best validation binary Dice."),
        (write, lambda n: {}, "m0", ""),
    ],
    ids=["unranked", "loss", "overlap", "balanced accuracy"],
)  # fmt: skip
def test_above_eight_models_it_is_said_what_all_are_compared_with(
    tmp_path, make, changed, first, expected
) -> None:
    comparison = compare([make(tmp_path, f"m{n}", **changed(n)) for n in range(9)])
    assert {pair.first for pair in comparison.pairs} == {first}
    note = comparison.reference_note
    assert note.startswith(f"All are compared with {expected}") if expected else note == ""


@pytest.mark.usefixtures("unrendered")
def test_above_seven_models_the_page_says_which_are_plotted(tmp_path) -> None:
    runs = [one_class(tmp_path, f"m{n}", settings=l1(1.0 + n)) for n in range(9)]
    page = write_comparison(compare(runs), tmp_path / "out").read_text()
    assert "The plots show the first 7 of 9 models (they share no validation metric" in page


@pytest.mark.usefixtures("unrendered")
def test_a_reference_is_plotted_also_where_it_is_not_among_the_best(tmp_path) -> None:
    runs = [write(tmp_path, f"m{n}", wrong=range(n), thumbnails=False) for n in range(9)]
    comparison = compare(runs, reference="m8")
    page = write_comparison(comparison, tmp_path / "out").read_text()
    assert "The plots show m8 and the 6 of 9 models that are best on validation" in page


def test_an_unfinished_run_is_refused(tmp_path) -> None:
    folder = write_classification_run(tmp_path / "a", record={"status": "running"})
    with pytest.raises(RunError, match="not finished"):
        read_finished(folder)


# --- what decides


def test_without_a_defect_rate_costs_are_weighed_by_the_test_images_of_all_models(tmp_path) -> None:
    label = labels_of(60, good=40)
    runs = [
        write(tmp_path, "whole", label=label, wrong=(0, 50)),
        write(tmp_path, "part", label=label[20:], first_image=20, wrong=(0, 30)),
    ]
    found = compare(runs, settings=DecisionSettings(costs=Costs(20, 1)))
    for result in found.results:
        missed, rejected = (
            result.metrics[name].value for name in ("false_negative_rate", "false_positive_rate")
        )
        cost = 20 * missed / 3 + 2 * rejected / 3
        assert result.metrics["expected_cost"].value == pytest.approx(cost)


def test_a_single_model_is_no_choice(tmp_path) -> None:
    comparison = compare([write(tmp_path, "only", wrong=range(3), record={"optimistic": True})])
    assert comparison.pairs == []
    assert comparison.recommendation.reason is Reason.SINGLE
    assert any(line.startswith("Optimistic") for line in comparison.caveats)
    assert write_comparison(comparison, tmp_path / "out").is_file()


# --- models that differ in kind


@pytest.mark.usefixtures("unrendered")
def test_a_class_that_one_run_does_not_have_is_no_obstacle(tmp_path) -> None:
    runs = [write(tmp_path, "a", wrong=(1, 2)), write(tmp_path, "b", classes=(*CLASSES, "dent"))]
    comparison = compare(runs)
    assert comparison.pairs[0].num_images == 66
    assert write_comparison(comparison, tmp_path / "out").is_file()


@pytest.mark.usefixtures("unrendered")
def test_models_of_all_tasks_share_a_page(tmp_path) -> None:
    comparison = compare(
        [
            segmentation(tmp_path, "near", thumbnails=True),
            segmentation(tmp_path, "binary", offset=4, binary=True),
            write(tmp_path, "named", wrong=(9, 11), label=LABEL),
            one_class(tmp_path, "map", fold=None, images=(NUMBER, LABEL), skill=1.0, maps=True),
        ]
    )
    html = write_comparison(comparison, tmp_path / "out").read_text()
    for title in ("Localization", "Thresholds", "Overlap with each defect", "Cost"):
        assert title in html


@pytest.mark.usefixtures("unrendered")
def test_runs_that_were_tested_on_good_images_only_are_shown_too(tmp_path) -> None:
    runs = [
        write_one_class_run(tmp_path / f"{model}{fold}", model=model, fold=fold,
                            images=one_class_images(fold, defects=0))
        for model in "ab"
        for fold in range(3)
    ]  # fmt: skip
    comparison = compare(runs)
    assert set(comparison.results[0].metrics) == {"false_positive_rate", "recall/good"}
    assert set(comparison.pairs[0].differences) == {"false_positive_rate"}
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_a_single_model_without_the_primary_metric_is_refused_with_those_that_it_has(
    tmp_path,
) -> None:
    run = read_run(write_classification_run(tmp_path / "a"))
    with pytest.raises(ConfigurationError, match=r"no such metric\. Choose one of accuracy"):
        compare([run], settings=DecisionSettings(primary="mean_iou_global"))


def test_one_image_reads_as_one_and_the_command_repeats_the_settings_that_were_given(
    tmp_path,
) -> None:
    runs = [
        read_run(write_classification_run(tmp_path / name, model=name, label=np.array([0])))
        for name in "ab"
    ]
    comparison = compare(runs, settings=DecisionSettings(costs=Costs(1, 0)))
    write_comparison(comparison, tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "1 test image a model" in text
    assert "of the same 1 image is classified correctly" in text
    assert "Expected cost of a part is not compared: the images that both were tested on" in text
    assert "cost.false_positive=0" in text
    assert "cost.defect_rate" not in text
    write_comparison(compare(runs), tmp_path / "other")
    assert "on this 1 image." in (tmp_path / "other" / "comparison.md").read_text()
