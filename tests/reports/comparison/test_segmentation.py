"""Segmentation runs in a comparison: decisions, pixel metrics, tables, pairs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import cells, compare_pair, measure_runs, mentions
from sample_anomaly_runs import write_one_class_run
from sample_runs import write_classification_run
from sample_segmentation_runs import (
    change_maps,
    images_of_fold,
    write_offset_segmentation_folds,
    write_offset_segmentation_run,
)

from capsule_inspection.metrics.names import metrics_of_stage
from capsule_inspection.reports.comparison.console import print_comparison
from capsule_inspection.reports.comparison.disagreements import most_disputed_images, view_images
from capsule_inspection.reports.comparison.localization import (
    class_means_table,
    localization_table,
    overlap_table,
)
from capsule_inspection.reports.comparison.localization_plots import models_with_maps
from capsule_inspection.reports.comparison.page import to_html, to_markdown
from capsule_inspection.reports.comparison.pairwise_summary import details, headline
from capsule_inspection.reports.comparison.report import compare, write_comparison
from capsule_inspection.reports.comparison.run_groups import group_runs
from capsule_inspection.reports.comparison.tables import image_metrics_table, seeds_table, to_csv
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import RunError

IMAGES = 20
DICE, IOU = "binary_dice_global", "mean_iou_global"
OVERLAPS = {IOU, DICE, "defect_hit_rate", "pixel_fpr", "iou_global/crack"}
MAP_METRICS = ("pixel_auroc", "aupro")
DECISION_METRICS = {"false_negative_rate", "false_positive_rate", "auroc"}
NUMBER, LABEL = images_of_fold(0)


def segmentation(folder: Path, model: str, **changed) -> RunFolder:
    return write_offset_segmentation_run(folder / model, model=model, **changed)


def mixed(folder: Path) -> list[RunFolder]:
    """Two segmentation models (one binary), a classifier and one with maps, on 20 images."""
    return [
        segmentation(folder, "near", thumbnails=True),
        segmentation(folder, "binary", offset=4, binary=True),
        read_run(write_classification_run(folder / "named", wrong=(9, 11), label=LABEL)),
        write_one_class_run(
            folder / "map", fold=None, images=(NUMBER, LABEL), skill=1.0, maps=True
        ),
    ]


# --- metrics


def test_predicted_mask_decides_and_not_the_largest_probability(tmp_path) -> None:
    """The probabilities are highest for good; two of 12 defects have the other class."""
    (whole,) = measure_runs(write_offset_segmentation_folds(tmp_path / "folds", folds=2))
    unet = segmentation(tmp_path, "unet")

    assert metrics_of_stage(unet.metrics, "test")["accuracy"].value == pytest.approx(16 / 20)
    assert whole.metrics["false_negative_rate"].value == 0
    assert whole.metrics["auroc"].value > 0.9
    assert whole.metrics["accuracy"].value == pytest.approx(whole.model.fraction_correct.mean())

    named = read_run(write_classification_run(tmp_path / "named", label=LABEL))
    pair = compare_pair([unet, named])
    areas = [run.metrics["test/auroc"].value for run in (unet, named)]
    assert areas[0] > 0.8
    assert pair.differences["auroc"].value == pytest.approx(areas[0] - areas[1])
    assert pair.num_correct == (16, 20)


def test_pooled_folds_have_the_figures_of_one_run_of_all_images_and_means_of_maps(tmp_path) -> None:
    parts = [images_of_fold(fold) for fold in range(3)]
    number, label = (np.concatenate([part[of] for part in parts]) for of in (0, 1))
    runs = write_offset_segmentation_folds(tmp_path / "folds")
    (folds,) = measure_runs(runs)
    whole = metrics_of_stage(segmentation(tmp_path, "one", images=(number, label)).metrics, "test")

    assert set(folds.metrics) == set(whole)
    for name in set(whole) - {"macro_f1", "pixel_average_precision", *MAP_METRICS}:
        assert folds.metrics[name].value == pytest.approx(whole[name].value), name
        assert folds.metrics[name].n == whole[name].n, name
    (shifted,) = measure_runs(far := write_offset_segmentation_folds(tmp_path / "far", offset=4))
    for name in MAP_METRICS:
        mean = np.mean([run.metrics[f"test/{name}"].value for run in far])
        assert shifted.metrics[name].value == pytest.approx(mean)


def test_seeds_are_averaged_and_are_no_further_images(tmp_path) -> None:
    runs = [write_offset_segmentation_run(tmp_path / f"{seed}", seed=seed) for seed in range(3)]
    (result,) = measure_runs(runs)
    each = [run.metrics[f"test/{DICE}"].value for run in runs]

    assert result.metrics[DICE].value == pytest.approx(np.mean(each))
    assert result.metrics[DICE].n == IMAGES
    assert [of_seed[DICE] for of_seed in result.by_seed.values()] == pytest.approx(each)
    expected = cells(seeds_table([result]), 0)["binary Dice of pixels"]
    assert expected.startswith(f"{np.mean(each):.3f}".removeprefix("0"))


def test_binary_runs_are_means_over_runs_with_their_masks_pooled(tmp_path) -> None:
    runs = write_offset_segmentation_folds(tmp_path, binary=True)
    (result,) = measure_runs(runs)

    assert not result.model.has_probabilities
    assert result.model.mask_counts is not None
    assert result.model.mask_counts.classes == ("good", "defect")
    expected = np.mean([run.metrics["test/auroc"].value for run in runs])
    assert result.metrics["auroc"].value == pytest.approx(expected)
    assert result.metrics[DICE].n == 3 * IMAGES
    assert "tpr_at_fpr" in result.metrics


def test_missing_maps_leave_the_overlap_out_with_a_caveat(tmp_path) -> None:
    runs = [*write_offset_segmentation_folds(tmp_path), segmentation(tmp_path, "b")]
    (runs[1].path / "maps.npz").unlink()
    comparison = compare(runs)

    lacking, other = comparison.results
    assert not OVERLAPS & set(lacking.metrics)
    assert set(other.metrics) > OVERLAPS
    assert lacking.metrics["aupro"].ci_low is None
    caveat = "unet: 1 of 3 runs kept no predicted masks (unet1), so its segmentation metrics are "
    assert mentions(comparison.summary.caveats, f"{caveat}left out")

    # A single run has its stored metrics, and is not compared in them.
    comparison = compare([segmentation(tmp_path, "a", maps=False), runs[-1]])
    assert set(comparison.results[0].metrics) > OVERLAPS
    assert DICE not in comparison.pairs[0].differences
    caveat = "a: 1 of 1 runs kept no predicted masks (a), so it is not compared"
    assert any(line.startswith(caveat) for line in comparison.summary.caveats)
    html = to_html(comparison, [], plots_note="")
    assert "Segmentation is not compared: a kept no predicted masks" in html


def test_classes_that_the_run_does_not_have_are_refused_with_advice(tmp_path) -> None:
    runs = write_offset_segmentation_folds(tmp_path, folds=2)
    change_maps(runs[0].path, "predicted_mask", value=9)
    with pytest.raises(RunError, match=r"classes that the run does not have.*evaluate\.py"):
        measure_runs(runs)


# --- tables, page and plots


def test_the_tables_have_localization_and_segmentation_metrics(
    tmp_path, capsys, monkeypatch
) -> None:
    comparison = compare(mixed(tmp_path))
    found = comparison.results
    localization, class_means, overlap = (
        localization_table(found),
        class_means_table(found),
        overlap_table(found),
    )
    assert localization is not None
    assert localization.columns == (
        "model", "binary Dice of pixels", "binary Dice of images", "defect hit rate",
        "pixel false-positive rate ↓", "pixel AUROC", "AUPRO", "images",
    )  # fmt: skip
    assert [row[0].text for row in localization.rows] == ["near", "binary", "autoencoder"]
    assert "they localize no defects: custom_resnet" in localization.note
    assert cells(localization, 0)["pixel false-positive rate ↓"].endswith("%)")
    assert cells(localization, 2)["binary Dice of pixels"] == "–"
    assert cells(localization, 2)["AUPRO"] != "–"
    assert class_means is not None
    assert [row[0].text for row in class_means.rows] == ["near"]
    assert cells(overlap, 0)["crack"].count("Dice") == 1
    assert "AUPRO" not in image_metrics_table(found).columns
    only_named = found[2:3]
    assert (
        localization_table(only_named)
        is class_means_table(only_named)
        is overlap_table(only_named)
        is None
    )

    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert float(rows[0][DICE]) > float(rows[1][DICE])
    assert rows[2][DICE] == ""
    assert rows[0]["validation_binary_Dice"] == "0.4"
    text = to_markdown(comparison, [])
    parts = ["## Localization", "## Pairwise comparisons", "## Overlap with each defect"]
    assert sorted(parts, key=text.index) == parts

    monkeypatch.setenv("COLUMNS", "120")
    print_comparison(comparison)
    lines = [row for row in capsys.readouterr().out.splitlines() if "│ binary Dice of p" in row]
    of_three, of_last = ([cell.strip() for cell in row.split("│")[2:-1]] for row in lines)
    expected = [cells(localization, row)["binary Dice of pixels"] for row in range(2)]
    assert of_three == [*expected, "–"]
    assert of_last == ["–"]

    html = write_comparison(comparison, tmp_path / "out").read_text()
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"masks.png", "overlap.png", "learning_curves_segmentation.png", "learning_curves.png",
            "learning_curves_one_class.png", "confusion.png"} <= drawn  # fmt: skip
    assert "segmentation models" in html
    assert "Segmentation models classify an image by their predicted mask." in html

    # By masks only segmentation models are compared, by classes only those with classes.
    pairs = {(v.first, v.second): v for v in comparison.pairs}
    by_masks = pairs.pop(("near", "binary"))
    assert DICE in by_masks.differences
    assert IOU not in by_masks.differences
    assert set(pairs["near", "custom_resnet"].differences) == {
        "accuracy", "balanced_accuracy", *DECISION_METRICS
    }  # fmt: skip
    assert set(pairs["near", "autoencoder"].differences) == DECISION_METRICS
    assert all(v.masks is None and v.missing_masks is None for v in pairs.values())

    near, _, classifier, with_map = group_runs(mixed(tmp_path / "pictures"))
    assert models_with_maps([classifier, with_map]) == []
    assert [result.name for result in models_with_maps([with_map, classifier, near])] == [
        "near",
        "autoencoder",
    ]


def test_the_image_of_a_class_is_that_on_which_masks_differ_most(tmp_path) -> None:
    near, far = segmentation(tmp_path, "near"), segmentation(tmp_path, "far")
    change_maps(far.path, "predicted_mask", rows=[3, 14, 17], value=0)
    change_maps(far.path, "predicted_mask", rows=(3, 0), value=1)
    models = group_runs([near, far])

    chosen = most_disputed_images(models)

    numbers = [int(image.split(".")[0], 16) for image in chosen]
    assert numbers == [3, 14, 17]  # the good one, a crack and a poke
    view = view_images(models[1], chosen)[chosen[1]]
    assert view.predicted_mask is not None
    assert not view.predicted_mask.any()
    assert view.target_mask.any()


# --- pairs


def test_the_model_with_masks_closer_to_the_defects_is_better(tmp_path) -> None:
    near, far = segmentation(tmp_path, "near", offset=0), segmentation(tmp_path, "far", offset=5)
    comparison = compare([near, far])
    (pair,) = comparison.pairs

    for metric in (DICE, IOU):
        difference = near.metrics[f"test/{metric}"].value - far.metrics[f"test/{metric}"].value
        assert pair.differences[metric].value == pytest.approx(difference)
        assert pair.is_significant(metric)
    assert pair.masks is not None
    assert (pair.masks.num_images, pair.masks.num_defects) == (20, 12)
    assert pair.masks.dice[0] == pytest.approx(near.metrics[f"test/{DICE}"].value)
    expected = "near is better in binary Dice of pixels and mean IoU of pixels"
    assert expected in headline(pair)
    assert "near segments defects better than far." in comparison.summary.best
    assert comparison.summary.recommendation.startswith("near is recommended")


def test_equal_models_are_not_distinguishable_in_segmentation_and_many_pairs_are_counted(
    tmp_path,
) -> None:
    runs = [segmentation(tmp_path, name) for name in "abcd"]
    comparison = compare(runs[:2])
    (pair,) = comparison.pairs

    assert (pair.differences[DICE].value, pair.differences[DICE].p_value) == (0, 1.0)
    assert pair.masks is not None
    assert pair.masks.required_images is None
    assert "not distinguishable on these 20 images" in headline(pair)
    assert "Not distinguishable in segmentation: a and b." in comparison.summary.best
    assert "Not distinguishable in segmentation: 6 pairs." in compare(runs).summary.best


def test_a_small_difference_has_its_required_number_of_images(tmp_path) -> None:
    """Both have the same offset, but on different images."""
    pair = compare_pair([segmentation(tmp_path, m, seed=s, offset=2) for s, m in enumerate("ab")])

    assert not pair.is_significant(DICE)
    assert pair.masks is not None
    assert pair.masks.required_images is not None
    found = [line for line in details(pair) if "would be needed" in line]
    assert mentions(found, f"about {pair.masks.required_images:,} test images")


def test_folds_and_seeds_are_compared_image_by_image(tmp_path) -> None:
    near = [
        run
        for seed in range(2)
        for run in write_offset_segmentation_folds(tmp_path / f"{seed}", model="near", seed=seed)
    ]
    far = write_offset_segmentation_folds(tmp_path, model="far", offset=4)
    pair = compare_pair([*near, *far])

    assert pair.differences[DICE].n == 60
    assert pair.is_significant(DICE)
    assert pair.retraining_tests is not None
    assert pair.retraining_tests[DICE].num_trainings == 3
    start = "Retrained on other images from the same source, binary Dice of pixels: it"
    assert any(line.startswith(start) for line in details(pair))


def test_p_values_are_corrected_for_the_pairs_that_were_tested_by_the_same_metric(tmp_path) -> None:
    a, b, c = (
        segmentation(tmp_path, m, offset=offset) for m, offset in (("a", 0), ("b", 0), ("c", 5))
    )
    comparison = compare([a, b, c])
    of_pair = {(v.first, v.second): v for v in comparison.pairs}

    alone = of_pair["a", "c"].differences[DICE].p_value
    assert alone is not None
    assert of_pair["a", "c"].corrected_p_values[DICE] == pytest.approx(3 * alone)
    assert of_pair["a", "b"].corrected_p_values[DICE] == 1.0
    assert {"a segments defects better than c.", "b segments defects better than c.",
            "Not distinguishable in segmentation: a and b."} <= set(
        comparison.summary.best)  # fmt: skip

    map_only = write_one_class_run(tmp_path / "map", fold=None, images=(NUMBER, LABEL), skill=1.0)
    pair = compare([a, c, map_only]).pairs[0]
    assert (pair.num_pairs("auroc"), pair.num_pairs("accuracy"), pair.num_pairs(DICE)) == (3, 1, 1)
    assert pair.corrected_p_values[DICE] == pair.differences[DICE].p_value
    lines = details(pair)
    assert any("binary Dice" in line and "corrected" not in line for line in lines)


def test_models_are_compared_on_the_images_with_masks_that_they_share(tmp_path) -> None:
    def compare_on(name: str, first: Any, second: Any, offset: int = 1):
        return compare_pair([
            segmentation(tmp_path / name, "a", images=(NUMBER[first], LABEL[first]), offset=0),
            segmentation(tmp_path / name, "b", images=(NUMBER[second], LABEL[second]),
                         offset=offset),
        ])  # fmt: skip

    some = compare_on("some", np.r_[:16], np.r_[4:20], offset=5)
    assert some.masks is not None
    assert (some.masks.num_images, some.masks.num_defects) == (12, 8)

    none = compare_on("none", np.r_[0:8, 8:14], np.r_[0:8, 14:20])
    assert DICE not in none.differences
    assert mentions(details(none), "share no image of a defect")

    few = compare_on("few", np.r_[:12], np.r_[:12], offset=6)
    assert not few.is_significant(DICE)
    expected = "not tested, fewer than 6 images have different predicted masks"
    assert mentions(details(few), expected)
