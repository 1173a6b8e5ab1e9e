"""Comparison of classifiers, from sample predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from comparisons import compare_pair, mentions
from sample_runs import CLASSES, labels_of, write_classification_run

from capsule_inspection.reports.comparison.page import Comparison, to_html, to_markdown
from capsule_inspection.reports.comparison.pairwise_summary import details, headline
from capsule_inspection.reports.comparison.report import compare, read_finished, write_comparison
from capsule_inspection.reports.comparison.tables import to_csv
from capsule_inspection.reports.comparison.training_costs import find_convergence
from capsule_inspection.reports.formatting import format_p_value
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import ConfigurationError, RunError

NESTED = {"sixty": range(6), "fifty_nine": range(7), "forty_seven": range(19)}
DISJOINT = {"sixty": range(6), "fifty_nine": range(6, 13), "forty_seven": range(13, 32)}


def write(folder: Path, model: str, **changed) -> RunFolder:
    return read_run(write_classification_run(folder / model, model=model, **changed))


def compare_errors(
    folder: Path, errors: Mapping[str, Sequence[int]], *, images: int = 66
) -> Comparison:
    return compare([write(folder, name, wrong=e, images=images) for name, e in errors.items()])


@pytest.mark.parametrize("errors", [NESTED, DISJOINT], ids=["nested", "disjoint"])
def test_one_image_of_66_is_no_significant_difference_but_thirteen_may_be(tmp_path, errors) -> None:
    comparison = compare_errors(tmp_path, errors)
    pairs = {(v.first, v.second): v for v in comparison.pairs}
    small = pairs["sixty", "fifty_nine"]
    assert small.num_correct == (60, 59)
    assert small.corrected_p_values["accuracy"] == 1.0
    assert "not distinguishable on these 66 images" in headline(small)
    assert small.required_images is not None
    assert mentions(details(small), f"about {small.required_images:,} test images")

    large = pairs["sixty", "forty_seven"]
    assert large.is_significant("accuracy")
    if errors is DISJOINT:
        assert large.differences["accuracy"].p_value == pytest.approx(0.01463, abs=1e-4)
        assert large.corrected_p_values["accuracy"] == pytest.approx(3 * 0.01463, abs=3e-4)
        assert not pairs["fifty_nine", "forty_seven"].is_significant("accuracy")
        return
    assert large.corrected_p_values["accuracy"] == pytest.approx(3 * 2 * 0.5**13)
    assert "sixty is better in accuracy" in headline(large)
    recommended = comparison.summary.recommendation
    assert recommended.startswith("No choice is justified between sixty and fifty_nine")
    assert "forty_seven is worse" in recommended
    assert "take the smallest, sixty: 5 M parameters against up to 10 M" in recommended

    rows = list(csv.DictReader(io.StringIO(to_csv(comparison.results))))
    assert [row["model"] for row in rows] == list(NESTED)
    assert float(rows[0]["accuracy"]) == pytest.approx(60 / 66)
    assert float(rows[2]["accuracy_low"]) < 47 / 66 < float(rows[2]["accuracy_high"])
    assert rows[0]["training_time"] == "65.0"
    pages = [write_comparison(comparison, tmp_path / name).read_bytes() for name in ("x", "y")]
    assert pages[0] == pages[1]


def test_a_clear_winner_is_recommended_and_a_single_run_is_no_choice(tmp_path) -> None:
    comparison = compare_errors(tmp_path, {"best": range(2), "worst": range(30)})
    assert comparison.summary.recommendation.startswith("best is recommended")

    record = {"optimistic": True}
    comparison = compare([write(tmp_path, "only", wrong=range(3), record=record)])
    assert comparison.pairs == []
    assert "nothing to compare it with" in comparison.summary.recommendation
    assert any(line.startswith("Optimistic") for line in comparison.summary.caveats)
    assert write_comparison(comparison, tmp_path / "out").is_file()


def test_models_that_are_better_in_different_metrics_are_distinguished(tmp_path) -> None:
    label = labels_of(200)
    good, defects = np.flatnonzero(label == 0).tolist(), np.flatnonzero(label).tolist()
    comparison = compare_errors(tmp_path, {"a": good[:40], "b": defects[:40]}, images=200)
    assert "but b is better in" in headline(comparison.pairs[0])
    recommended = comparison.summary.recommendation
    assert "Which metric matters is yours to decide" in recommended
    assert "are not distinguishable on these images" not in recommended
    assert "either will do" not in recommended


@pytest.mark.usefixtures("unrendered")
def test_models_on_different_images_are_not_compared_and_not_called_alike(tmp_path) -> None:
    a, b, c = (
        write(tmp_path, name, wrong=wrong, first_image=first)
        for name, wrong, first in (("a", (), 0), ("b", range(30), 0), ("c", (), 500))
    )
    comparison = compare([a, c])
    (pair,) = comparison.pairs
    assert headline(pair) == "a and c cannot be compared."
    assert "share none" in details(pair)[0]
    assert comparison.summary.recommendation.startswith("No choice is justified")
    assert write_comparison(comparison, tmp_path / "out").is_file()

    recommended = compare([a, b, c]).summary.recommendation
    assert "not all of these were compared with each other" in recommended
    assert "they are not distinguishable on these images" not in recommended


def test_runs_are_compared_on_the_images_and_labels_that_they_share(tmp_path) -> None:
    label = labels_of(40)
    whole = write(tmp_path, "a", label=label)
    pair = compare_pair([whole, write(tmp_path, "b", label=label[5:], first_image=5)])
    assert pair.num_images == 35
    assert "on the 35 images that both were tested on, of 40 and 35" in details(pair)[0]

    changed = label.copy()
    changed[:2] = 1
    pair = compare_pair([whole, write(tmp_path, "c", label=changed)])
    assert "2 of the 40 images" in details(pair)[0]


@pytest.mark.usefixtures("unrendered")
def test_a_class_that_one_run_does_not_have_is_no_obstacle(tmp_path) -> None:
    runs = [write(tmp_path, "a", wrong=(1, 2)), write(tmp_path, "b", classes=(*CLASSES, "dent"))]
    comparison = compare(runs)
    assert comparison.pairs[0].num_images == 66
    assert write_comparison(comparison, tmp_path / "out").is_file()


@pytest.mark.usefixtures("unrendered")
def test_a_run_of_another_task_is_compared_by_the_metrics_of_both(tmp_path) -> None:
    folder = write_classification_run(
        tmp_path / "b", model="autoencoder", record={"task": "anomaly_detection"}
    )
    path = folder / "predictions.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    columns = ["index", "path", "sha256", "split", "label", "predicted_label", "score"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            called = "good" if row["predicted_label"] == "good" else "defect"
            writer.writerow(row | {"predicted_label": called})
    metrics = json.loads((folder / "metrics.json").read_text())
    kept = ("test/auroc", "test/false_negative_rate", "test/false_positive_rate")
    (folder / "metrics.json").write_text(json.dumps({key: metrics[key] for key in kept}))
    comparison = compare(
        [read_run(write_classification_run(tmp_path / "a", wrong=(0, 50))), read_run(folder)]
    )
    (pair,) = comparison.pairs
    assert set(pair.differences) == {"false_negative_rate", "false_positive_rate", "auroc"}
    assert write_comparison(comparison, tmp_path / "out").is_file()


def folds(folder: Path, errors: Mapping[str, Sequence[int]], seeds: int) -> list[RunFolder]:
    """Models with so many errors in each of five folds, the same with every seed."""
    return [
        write(folder / f"{seed} {fold}", model, seed=seed, fold=fold, images=30,
              first_image=100 * fold, wrong=range(count))
        for model, counts in errors.items()
        for seed in range(seeds)
        for fold, count in enumerate(counts)
    ]  # fmt: skip


def test_folds_are_tested_as_overlapping_trainings_and_seeds_are_no_further_evidence(
    tmp_path,
) -> None:
    once, thrice = (
        compare_pair(folds(tmp_path / f"{seeds}", {"a": range(1, 6), "b": [0] * 5}, seeds))
        for seeds in (1, 3)
    )
    assert once.num_images == 150
    assert mentions(details(once), "Nadeau and Bengio")
    assert once.retraining_tests is not None
    assert thrice.retraining_tests is not None
    first, third = once.retraining_tests["accuracy"], thrice.retraining_tests["accuracy"]
    assert (first.num_trainings, third.num_trainings) == (5, 15)
    assert third.difference.p_value == pytest.approx(first.difference.p_value)


def test_a_reference_is_taken_by_name_or_above_eight_models_by_validation(tmp_path) -> None:
    runs = [write(tmp_path, f"m{n}", wrong=range(n), thumbnails=False) for n in range(9)]
    pairs = compare(runs).pairs
    assert len(pairs) == 8
    assert {pair.first for pair in pairs} == {"m0"}
    assert {pair.first for pair in compare(runs[:3], reference="m1").pairs} == {"m1"}
    with pytest.raises(ConfigurationError, match="Compared are: m0, m1, m2"):
        compare(runs[:3], reference="d")


def test_an_unfinished_run_is_refused(tmp_path) -> None:
    folder = write_classification_run(tmp_path / "a", record={"status": "running"})
    with pytest.raises(RunError, match="not finished"):
        read_finished(folder)


def test_names_from_files_are_escaped(tmp_path) -> None:
    classes = ("good", "<script>alert(1)</script>", "a|b *c*")
    run = read_run(
        write_classification_run(tmp_path / "a", model="<b>&", classes=classes, wrong=(60,))
    )
    comparison = compare([run])
    html = to_html(comparison, [], plots_note="")
    assert "<script>alert" not in html
    assert "<b>&" not in html
    assert r"a\|b \*c\*" in to_markdown(comparison, [])


def test_a_p_value_does_not_look_like_the_limit_that_it_is_below() -> None:
    for value, expected in ((0.0496, "= .0496"), (0.05, "= .050"), (0.2, "= .200")):
        assert format_p_value(value) == expected
    assert format_p_value(None) == "not known"


def test_a_course_converges_where_it_arrives_and_stays() -> None:
    rising = np.concatenate([np.linspace(0, 1, 20), np.ones(40)])
    found = find_convergence(rising)
    assert found is not None
    assert 17 <= found <= 22
    sparse = np.full(120, np.nan)
    sparse[::2] = rising
    assert find_convergence(sparse) == 2 * found
    assert find_convergence(np.full(30, 0.7)) == 4
    still_rising, jumping = np.linspace(0, 1, 60), np.tile([0.0] * 6 + [1.0] * 6, 6)
    for course in (still_rising, jumping, np.ones(9)):  # the last is too short to tell
        assert find_convergence(course) is None
