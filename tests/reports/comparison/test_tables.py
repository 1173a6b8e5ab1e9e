"""The tables of a comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparisons import cells, measure_runs, mixed, with_groups, write
from sample_anomaly_runs import write_one_class_folds, write_one_class_run
from sample_runs import labels_of, write_classification_run

from capsule_inspection.metrics.registry import metric_heading
from capsule_inspection.reports.comparison.costs import GAP
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import DecisionSettings
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.comparison.tables import (
    class_means_table,
    cost_table,
    image_metrics_table,
    localization_table,
    make_tables,
    overlap_table,
    pair_table,
    recall_table,
    seeds_table,
    threshold_table,
    training_table,
)
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import Costs

DEFECTS, GOOD = 14, 12


def with_a_classifier(folder: Path) -> list[RunFolder]:
    images = (np.arange(66), labels_of(66))
    return [
        write(folder, "named", wrong=(0, 50)),
        write_one_class_run(folder / "anomaly", images=images, fold=None, maps=True),
    ]


def test_one_class_models_have_anomaly_metrics_and_maps_a_table_of_their_own(tmp_path) -> None:
    found = measure_runs(
        [
            *write_one_class_folds(tmp_path, maps=True),
            *write_one_class_folds(tmp_path, model="bare"),
        ]
    )
    table, localization, recall = (
        make(found) for make in (image_metrics_table, localization_table, recall_table)
    )
    assert table is not None
    wanted = {metric_heading(name) for name in ("f1", "tpr_at_fpr", "average_precision", "auroc")}
    assert wanted <= set(table.columns)
    assert cells(table, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "means over folds and seeds" in table.note
    assert "at most 10% of these good images" in table.note
    assert "Every image is tested once" not in table.note
    assert localization is not None
    assert localization.columns == (
        "model", "pixel AUROC", "pixel average precision", "AUPRO", "images"
    )  # fmt: skip
    assert [row[0].text for row in localization.rows] == ["autoencoder (5 runs)"]
    assert cells(localization, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "they localize no defects: bare" in localization.note
    assert recall is not None
    assert recall.columns == ("model", "good", "crack", "poke")
    assert "are rejected, as defects should be; of good: that are accepted" in recall.note


def test_recalls_of_classifiers_and_one_class_models_are_distinguished(tmp_path) -> None:
    found = measure_runs(with_a_classifier(tmp_path))
    recall = recall_table(found)
    assert [cells(recall, row)["what is counted"] for row in (0, 1)] == ["named", "rejected"]
    assert recall is not None
    assert recall.note.startswith("The rows do not all mean the same.")

    assert image_metrics_table(found, primary="auroc").columns[1] == "AUROC"
    alone = image_metrics_table(found[:1])
    assert alone is not None
    assert "average precision" not in alone.columns
    assert "never pooled" not in alone.note
    assert threshold_table(found[:1]) is None


def test_groups_folds_and_costs_are_named_where_there_are_any(tmp_path) -> None:
    plain = write(tmp_path, "plain")
    (result,) = compare([plain], settings=DecisionSettings(costs=Costs(20, 1))).results
    table = image_metrics_table([result])
    assert "expected cost of a part ↓" in table.columns
    assert "one group" not in table.note
    assert "pooled AUROC" not in table.columns

    folds = [
        with_groups(
            write_classification_run(tmp_path / f"{fold}", fold=fold, images=12,
                                     first_image=100 * fold),
            lambda index: f"part {index // 2}",
        )
        for fold in range(2)
    ]  # fmt: skip
    table = image_metrics_table(measure_runs(folds))
    assert "images of one group are one observation" in table.note
    assert "AUROC is the mean over folds" in table.note
    assert "pooled AUROC" in table.columns


def test_localization_and_segmentation_metrics_have_tables(tmp_path) -> None:
    found = measure_runs(mixed(tmp_path))
    localization, class_means, overlap = (
        make(found) for make in (localization_table, class_means_table, overlap_table)
    )
    assert localization is not None
    assert localization.columns == (
        "model", "binary Dice of pixels", "binary Dice of images", "defect hit rate",
        metric_heading("pixel_fpr"), "pixel AUROC", "pixel average precision", "AUPRO", "images",
    )  # fmt: skip
    assert [row[0].text for row in localization.rows] == ["near", "binary", "autoencoder"]
    assert "they localize no defects: named" in localization.note
    assert cells(localization, 0)[metric_heading("pixel_fpr")].endswith("%)")
    assert cells(localization, 2)["binary Dice of pixels"] == "–"
    assert cells(localization, 2)["AUPRO"] != "–"
    assert class_means is not None
    assert [row[0].text for row in class_means.rows] == ["near"]
    assert cells(overlap, 0)["crack"].count("Dice") == 1
    images = image_metrics_table(found)
    assert images is not None
    assert "AUPRO" not in images.columns
    assert "Segmentation models classify an image by their predicted mask." in images.note
    only_named = found[2:3]
    for make in (localization_table, class_means_table, overlap_table):
        assert make(only_named) is None


def test_every_table_has_a_cell_for_each_column_and_sorts_by_numbers(tmp_path) -> None:
    found = make_tables(measure_runs(mixed(tmp_path)))
    titles = [table.title for table in found]
    assert titles[:3] == ["Test images", "Localization", "Segmentation by class, means"]
    assert {"Training", "Thresholds", "Recall of each class", "Cost"} <= set(titles)
    for table in found:
        assert all(len(row) == len(table.columns) for row in table.rows), table.title
    table = next(table for table in found if table.title == "Test images")
    column = table.columns.index("AUROC")
    assert all(row[column].value is not None for row in table.rows)


def one_row(result: ModelMetrics) -> list[str]:
    table = threshold_table([result])
    assert table is not None
    return [cell.text for cell in table.rows[0]]


def test_the_threshold_table_has_target_and_measured_rate(tmp_path) -> None:
    (result,) = measure_runs(write_one_class_folds(tmp_path, folds=2, skill=0.0))
    row = one_row(result)
    assert row[:4] == ["autoencoder (2 runs)", "conformal", "1.2", "at most 10%"]
    assert row[4].startswith(f"{100 * result.metrics['false_positive_rate'].value:.2g}% (")
    assert row[5:] == ["20", "yes"]

    few = write_one_class_folds(
        tmp_path / "few", folds=2, threshold={"good_images": 5, "enough": False}
    )
    assert one_row(measure_runs(few)[0])[6] == "no in 2 of 2 runs: 9 are needed"


@pytest.mark.parametrize(("rule", "defects"), [("sigma", 0), ("f1", 7)])
def test_rules_without_a_target_rate_have_none_in_the_table(tmp_path, rule, defects) -> None:
    threshold = {"rule": rule, "defect_images": defects, "target_fpr": None,
                 "required_images": None}  # fmt: skip
    (result,) = measure_runs(write_one_class_folds(tmp_path, folds=2, threshold=threshold))
    assert one_row(result)[3::3] == ["none", "–"]


def test_classifiers_have_their_operating_points_and_none_where_the_class_decides(tmp_path) -> None:
    point = {"value": 0.4, "rule": "operating_point", "good_images": 9, "defect_images": 5}
    argmax = {"value": None, "rule": "argmax"}
    results = measure_runs(
        [
            write(tmp_path, name, record={"threshold": threshold})
            for name, threshold in (("a", point), ("b", argmax))
        ]
    )
    table = threshold_table(results)
    assert table is not None
    assert len(table.rows) == 1
    row = one_row(results[0])
    assert row[:4] == ["a", "operating point", "0.4", "none"]
    assert row[5:] == ["9", "–"]
    assert table.note.startswith("Operating point: the probability of any defect")


def test_numbers_of_several_runs_have_their_range_and_how_many_runs_have_them(tmp_path) -> None:
    runs = [
        write(tmp_path / f"{seed}", "m", seed=seed, record={"training_time_s": time_s})
        for seed, time_s in enumerate((10.0, 30.0, None))
    ]
    table = training_table(measure_runs(runs))
    assert cells(table, 0)["training time"] == "20 s (10 s to 30 s), 2 of 3 runs"
    assert "validation binary Dice" not in cells(table, 0)


def test_a_training_that_did_not_converge_is_called_so(tmp_path) -> None:
    run = write(tmp_path, "a")
    path = run.path / "metrics.csv"
    lines = path.read_text().splitlines()
    rising = [line.rsplit(",", 1)[0] + f",{epoch / 12}" for epoch, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0], *rising]) + "\n")
    still = read_run(run.path)
    other = write(tmp_path, "b")
    table = training_table(measure_runs([still, other]))
    assert [cells(table, row)["converged at"] for row in range(2)] == ["not", "10"]


def test_seeds_have_mean_range_and_deviation(tmp_path) -> None:
    runs = [write(tmp_path / f"{seed}", "m", seed=seed, wrong=range(3 * seed)) for seed in (0, 1)]
    found = cells(seeds_table(measure_runs(runs)), 0)
    assert found["seeds"] == "0, 1"
    accuracy = np.array([1, 63 / 66])
    deviation = f"{accuracy.std(ddof=1):.3f}"[1:]
    assert found["accuracy"] == f".977 (.955 to 1.000; {deviation})"
    assert seeds_table(measure_runs(runs[:1])) is None


def test_the_table_of_a_pair_has_both_intervals_and_the_corrected_test(tmp_path) -> None:
    runs = [write(tmp_path, name, wrong=range(n)) for name, n in (("a", 1), ("b", 9), ("c", 25))]
    pair = compare(runs).pairs[0]
    table = pair_table(pair)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    difference, interval, simultaneous, test, corrected = rows["accuracy"]
    assert difference == "+12.1"
    limits = [float(limit.replace("−", "-")) for limit in interval.split(" to ")]
    wider = [float(limit.replace("−", "-")) for limit in simultaneous.split(" to ")]
    assert wider[0] < limits[0] < 12.1 < limits[1] < wider[1]
    assert test.startswith("score test, p ")
    assert corrected.endswith("for 3 pairs")
    assert table.note == "Difference: a less b, in percentage points."


def test_notes_name_only_what_their_table_shows(tmp_path) -> None:
    (single,) = measure_runs([write(tmp_path, "a")])
    table = training_table([single])
    assert GAP in table.columns
    assert "Gap: " in table.note
    assert "Over several runs" not in table.note
    assert "Every image is tested once for each seed" not in image_metrics_table([single]).note
    run = write(tmp_path, "b", record={"monitor": {"key": "val/loss", "value": 0.3}})
    without = training_table(measure_runs([run]))
    assert GAP not in without.columns
    assert "Gap: " not in without.note
    untimed = write(tmp_path, "c", record={"inference_ms_per_image": None})
    assert "Time of an image" not in cost_table(measure_runs([untimed])).note
    assert "Time of an image" in cost_table([single]).note


def test_the_arrow_is_explained_where_a_column_has_one(tmp_path) -> None:
    (result,) = measure_runs([write(tmp_path, "a")])
    assert "↓: lower is better." in image_metrics_table([result]).note
    (auroc,) = (of for name, of in result.metrics.items() if name == "auroc")
    assert "↓" not in image_metrics_table([replace(result, metrics={"auroc": auroc})]).note
