"""Test metrics of a model over its folds and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparisons import measure_runs, with_groups
from sample_anomaly_runs import write_one_class_folds, write_one_class_run
from sample_runs import CLASSES, labels_of, write_classification_run
from sample_segmentation_runs import (
    images_of_fold,
    write_offset_segmentation_folds,
    write_offset_segmentation_run,
)
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from capsule_inspection.metrics.names import metrics_of_stage
from capsule_inspection.reports.comparison.metrics import measure
from capsule_inspection.reports.comparison.table import read_models
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import Costs, RunError

DEFECTS, GOOD = 14, 12
DICE = "binary_dice_global"
MAP_METRICS = ("pixel_auroc", "pixel_average_precision", "aupro")


def stored(runs: Sequence[RunFolder], metric: str = "auroc") -> np.ndarray:
    return np.array([run.metrics[f"test/{metric}"].value for run in runs])


def write_folds(folder: Path, *, folds: int = 3, seed: int = 0) -> list[RunFolder]:
    """Folds of a classifier with more errors in each, and scores on a scale of their own."""
    runs = []
    for fold in range(folds):
        path = write_classification_run(
            folder / f"{seed}{fold}", seed=seed, fold=fold, images=30, first_image=100 * fold,
            wrong=range(18 - fold, 22 + fold),
        )  # fmt: skip
        table = pd.read_csv(path / "predictions.csv", keep_default_na=False)
        table["score"] += fold
        table.to_csv(path / "predictions.csv", index=False)
        runs.append(read_run(path))
    return runs


# --- classifiers


def test_a_single_run_has_the_metrics_that_it_stored(tmp_path) -> None:
    run = read_run(write_classification_run(tmp_path / "a", wrong=(0, 50)))
    (result,) = measure_runs([run])
    assert result.metrics == metrics_of_stage(run.metrics, "test")


def test_auroc_over_folds_is_the_mean_of_the_folds_and_the_pooled_one_stands_beside(
    tmp_path,
) -> None:
    runs = write_folds(tmp_path)
    (result,) = measure_runs(runs)
    rows = result.model.rows

    assert result.metrics["auroc"].value == pytest.approx(stored(runs).mean())
    pooled = roc_auc_score(rows["is_defect"], rows["score"])
    assert result.metrics["auroc_pooled"].value == pytest.approx(pooled)
    assert result.metrics["auroc_pooled"].value != pytest.approx(stored(runs).mean())
    assert result.metrics["accuracy"].value == pytest.approx(stored(runs, "accuracy").mean())
    (alone,) = measure_runs(runs[:1])
    assert "auroc_pooled" not in alone.metrics


def test_seeds_are_averaged_and_do_not_make_intervals_narrower(tmp_path) -> None:
    runs = [run for seed in range(3) for run in write_folds(tmp_path, seed=seed)]
    (once,), (thrice,) = measure_runs(runs[:3]), measure_runs(runs)
    for name, estimate in once.metrics.items():
        assert thrice.metrics[name].value == pytest.approx(estimate.value), name
        assert thrice.metrics[name].n == estimate.n, name
        assert thrice.metrics[name].ci_low == pytest.approx(estimate.ci_low, abs=0.02), name


def test_the_predicted_label_decides_and_not_the_largest_probability(tmp_path) -> None:
    folders = [write_classification_run(tmp_path / f"{n}", fold=n, first_image=99 * n)
               for n in range(2)]  # fmt: skip
    for folder in folders:
        path = folder / "predictions.csv"
        path.write_text(path.read_text().replace(",good,good,", ",good,crack,"))
    (result,) = measure_runs([read_run(folder) for folder in folders])
    assert result.metrics["false_positive_rate"].value == 1.0
    assert result.metrics["accuracy"].value == pytest.approx(1 / 3)


def test_by_seed_has_the_metrics_of_each_seed(tmp_path) -> None:
    runs = [
        read_run(write_classification_run(tmp_path / f"{seed}", seed=seed, wrong=range(8 * seed)))
        for seed in range(2)
    ]
    (result,) = measure_runs(runs)
    table = result.by_seed
    assert list(table.columns) == ["accuracy", "balanced_accuracy", "auroc"]
    for seed, run in enumerate(runs):
        for metric in table.columns:
            assert table.loc[seed, metric] == pytest.approx(stored([run], metric)[0]), metric
    of_seed = result.model.rows.query("seed == 1")
    expected = balanced_accuracy_score(of_seed["label"], of_seed["predicted_label"])
    assert table.loc[1, "balanced_accuracy"] == pytest.approx(expected)


def test_images_of_one_group_are_one_observation(tmp_path) -> None:
    label = np.repeat([0, 0, 1, 2], 12)
    results = []
    for name, size in (("alone", 1), ("groups", 4)):
        runs = []
        for fold in range(2):
            folder = write_classification_run(
                tmp_path / name / f"{fold}", fold=fold, label=label, first_image=100 * fold,
                wrong=(*range(4), *range(40, 44)),
            )  # fmt: skip
            runs.append(with_groups(folder, lambda index, size=size: f"part {index // size}"))
        results += measure_runs(runs)
    alone, grouped = results
    for metric in ("accuracy", "balanced_accuracy", "auroc", "false_negative_rate"):
        wide, narrow = grouped.metrics[metric], alone.metrics[metric]
        assert wide.value == pytest.approx(narrow.value), metric
        assert 4 * wide.n == narrow.n, metric
        assert wide.ci_high - wide.ci_low > 1.3 * (narrow.ci_high - narrow.ci_low), metric


def test_groups_that_only_another_run_knows_count_in_the_intervals_too(tmp_path) -> None:
    wrong = (*range(4), *range(40, 44))
    alone = read_run(write_classification_run(tmp_path / "a", model="a", wrong=wrong))
    other = write_classification_run(tmp_path / "b", model="b", wrong=wrong)
    grouped = with_groups(other, lambda index: f"part {index // 2}")
    apart, joined = measure_runs([alone])[0], measure_runs([alone, grouped])[0]
    for metric in ("accuracy", "auroc", "false_negative_rate"):
        narrow, wide = apart.metrics[metric], joined.metrics[metric]
        assert narrow == alone.metrics[f"test/{metric}"], metric
        assert wide.value == pytest.approx(narrow.value), metric
        assert 2 * wide.n == narrow.n, metric
        assert wide.ci_high - wide.ci_low > 1.2 * (narrow.ci_high - narrow.ci_low), metric


def test_expected_cost_weighs_the_errors_by_costs_and_fraction_of_defects(tmp_path) -> None:
    run = read_run(write_classification_run(tmp_path / "a", wrong=(0, 1, 50)))
    (model,) = read_models([run])
    missed, rejected = (
        run.metrics[f"test/{name}"].value for name in ("false_negative_rate", "false_positive_rate")
    )
    for rate, expected in ((None, 22 / 66), (0.01, 0.01)):
        found = measure(model, Costs(20.0, 1.0, rate)).metrics["expected_cost"]
        cost = 20 * expected * missed + (1 - expected) * rejected
        assert found.value == pytest.approx(cost)
        assert found.ci_low < cost < found.ci_high
    assert "expected_cost" not in measure(model).metrics


# --- models without class probabilities


def test_every_metric_is_the_mean_over_the_folds_whatever_the_offset_of_their_scores(
    tmp_path,
) -> None:
    runs = write_one_class_folds(tmp_path, maps=True)
    (result,) = measure_runs(runs)

    names = {key.removeprefix("test/") for key in runs[0].metrics}
    assert set(result.metrics) == names
    assert {"auroc", "f1", "recall/poke", "aupro", "pixel_auroc"} <= names
    for metric, estimate in result.metrics.items():
        assert estimate.value == pytest.approx(stored(runs, metric).mean()), metric
        assert estimate.ci_low is not None
        assert estimate.ci_high is not None
        assert estimate.ci_low <= estimate.value <= estimate.ci_high
    assert result.metrics["auroc"].n == 5 * GOOD + DEFECTS

    moved = write_one_class_run(tmp_path / "moved", fold=4, offset=100.0, maps=True)
    (after,) = measure_runs([*runs[:4], moved])
    assert after.metrics == result.metrics


def test_seeds_of_folds_go_into_one_mean(tmp_path) -> None:
    runs = [
        run
        for seed in range(2)
        for run in write_one_class_folds(tmp_path / f"{seed}", seed=seed, folds=3)
    ]
    (result,) = measure_runs(runs)
    assert result.metrics["auroc"].value == pytest.approx(stored(runs).mean())
    assert result.metrics["auroc"].n == 3 * GOOD + DEFECTS
    assert result.by_seed["auroc"].tolist() == pytest.approx(
        [stored(runs[:3]).mean(), stored(runs[3:]).mean()]
    )


def test_pixel_metrics_need_the_maps_of_every_fold(tmp_path) -> None:
    runs = write_one_class_folds(tmp_path, maps=True)
    (runs[2].path / "maps.npz").unlink()
    aupro = measure_runs(runs)[0].metrics["aupro"]
    assert aupro.value == pytest.approx(stored(runs, "aupro").mean())
    assert (aupro.ci_low, aupro.ci_high) == (None, None)

    never = write_one_class_run(tmp_path / "never", fold=4)
    (result,) = measure_runs([*runs[:4], never])
    assert not {*MAP_METRICS} & set(result.metrics)

    (runs[1].path / "maps.npz").write_bytes(b"no")
    with pytest.raises(RunError, match=r"evaluate\.py"):
        measure_runs(runs[:2])


def test_target_fpr_is_that_of_the_settings_then_of_the_record(tmp_path) -> None:
    (first,) = read_models([write_one_class_run(tmp_path / "a", threshold={"target_fpr": None})])
    changed: dict[str, Any] = {"threshold": {}}
    (second,) = read_models([write_one_class_run(tmp_path / "b", settings=changed)])
    (neither,) = read_models(
        write_one_class_folds(tmp_path, folds=2, settings=changed, threshold={"target_fpr": None})
    )
    assert first.runs[0].target_fpr == second.runs[0].target_fpr == 0.1
    assert neither.runs[0].target_fpr is None
    assert "tpr_at_fpr" not in measure(neither).metrics


# --- segmentation


def test_predicted_mask_decides_and_not_the_largest_probability(tmp_path) -> None:
    """The probabilities are highest for good; two of 12 defects have the other class."""
    (result,) = measure_runs(write_offset_segmentation_folds(tmp_path, folds=2))
    assert result.metrics["false_negative_rate"].value == 0
    assert result.metrics["auroc"].value > 0.9
    images = result.model.images
    assert result.metrics["accuracy"].value == pytest.approx(images["correct"].mean())


def test_pooled_folds_have_the_metrics_of_one_run_of_all_images_and_means_of_maps(
    tmp_path,
) -> None:
    parts = [images_of_fold(fold) for fold in range(3)]
    images = tuple(np.concatenate([part[of] for part in parts]) for of in (0, 1))
    runs = write_offset_segmentation_folds(tmp_path / "folds")
    (folds,) = measure_runs(runs)
    one = write_offset_segmentation_run(tmp_path / "one", images=(images[0], images[1]))
    whole = metrics_of_stage(one.metrics, "test")

    assert set(folds.metrics) - {"auroc_pooled"} == set(whole)
    assert folds.metrics["auroc_pooled"].value == pytest.approx(whole["auroc"].value)
    for name in set(whole) - {"macro_f1", "auroc", *MAP_METRICS}:
        assert folds.metrics[name].value == pytest.approx(whole[name].value), name
        assert folds.metrics[name].n == whole[name].n, name
    (shifted,) = measure_runs(far := write_offset_segmentation_folds(tmp_path / "far", offset=4))
    for name in (*MAP_METRICS, "auroc"):
        assert shifted.metrics[name].value == pytest.approx(stored(far, name).mean())


def test_seeds_of_masks_are_averaged_and_are_no_further_images(tmp_path) -> None:
    runs = [write_offset_segmentation_run(tmp_path / f"{seed}", seed=seed) for seed in range(3)]
    (result,) = measure_runs(runs)
    assert result.metrics[DICE].value == pytest.approx(stored(runs, DICE).mean())
    assert result.metrics[DICE].n == 20
    assert result.by_seed[DICE].tolist() == pytest.approx(stored(runs, DICE))


def test_binary_runs_are_means_over_runs_with_their_masks_pooled(tmp_path) -> None:
    runs = write_offset_segmentation_folds(tmp_path, binary=True)
    (result,) = measure_runs(runs)

    assert not result.model.names_defects
    assert result.model.mask_counts is not None
    assert result.model.mask_counts.classes == ("good", "defect")
    assert result.metrics["auroc"].value == pytest.approx(stored(runs).mean())
    assert result.metrics[DICE].n == 3 * 20
    assert "tpr_at_fpr" in result.metrics


def test_the_images_of_one_class_alone_have_the_metrics_that_exist(tmp_path) -> None:
    runs = [
        read_run(write_classification_run(tmp_path / f"{fold}", fold=fold, first_image=99 * fold,
                                          label=labels_of(9, good=9), classes=CLASSES))
        for fold in range(2)
    ]  # fmt: skip
    (result,) = measure_runs(runs)
    assert result.metrics["false_positive_rate"].value == 0
    assert not {"auroc", "auroc_pooled", "false_negative_rate"} & set(result.metrics)
