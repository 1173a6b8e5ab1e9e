"""One-class runs in a comparison: means over folds without pooling scores; pairs; thresholds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import cells, compare_pair, measure_runs, mentions
from sample_anomaly_runs import one_class_images, write_one_class_folds, write_one_class_run
from sample_runs import labels_of, write_classification_run

from capsule_inspection.metrics.paired_tests import corrected_resampled_t_test
from capsule_inspection.reports.comparison import map_metrics, thresholds
from capsule_inspection.reports.comparison.localization import localization_table
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics, measure
from capsule_inspection.reports.comparison.pairwise_summary import details, headline
from capsule_inspection.reports.comparison.report import compare, write_comparison
from capsule_inspection.reports.comparison.run_groups import group_runs
from capsule_inspection.reports.comparison.tables import image_metrics_table, recall_table, to_csv
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import RunError

DEFECTS, GOOD = 14, 12
PAIRED_METRICS = {"auroc", "false_negative_rate", "false_positive_rate"}
KFOLD = labels_of(30)


def stored(runs: Sequence[RunFolder], metric: str = "auroc") -> np.ndarray:
    return np.array([run.metrics[f"test/{metric}"].value for run in runs])


def seeds_of_folds(folder: Path, **changed) -> list[RunFolder]:
    folds = (
        write_one_class_folds(folder / f"{seed}", seed=seed, folds=3, **changed)
        for seed in range(2)
    )
    return [run for of_seed in folds for run in of_seed]


def with_a_classifier(folder: Path) -> list[RunFolder]:
    images = (np.arange(66), labels_of(66))
    return [
        read_run(write_classification_run(folder / "named", wrong=(0, 50))),
        write_one_class_run(folder / "anomaly", images=images, fold=None, maps=True),
    ]


# --- metrics


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

    moved = write_one_class_run(tmp_path / "moved", fold=4, offset=100.0, maps=True)
    (after,) = measure_runs([*runs[:4], moved])
    assert after.metrics == result.metrics

    (single,) = measure_runs(runs[:1])
    assert {f"test/{name}": metric for name, metric in single.metrics.items()} == runs[0].metrics


def test_all_predictions_of_a_defect_count(tmp_path) -> None:
    runs = write_one_class_folds(tmp_path, skill=1.0)
    (model,) = group_runs(runs)

    assert len(model.image_ids) == 5 * GOOD + DEFECTS
    rejected = np.mean([run.scores_of("test").predicted_defect[GOOD:] for run in runs], axis=0)
    assert 0 < rejected[0] < 1
    np.testing.assert_allclose(model.fraction_rejected[model.is_defect], rejected)
    good = ~model.is_defect
    np.testing.assert_allclose(model.fraction_correct[good], 1 - model.fraction_rejected[good])


def test_pixel_metrics_need_the_maps_of_every_fold(tmp_path) -> None:
    runs = write_one_class_folds(tmp_path, maps=True)
    (runs[2].path / "maps.npz").unlink()
    aupro = measure_runs(runs)[0].metrics["aupro"]
    assert aupro.value == pytest.approx(stored(runs, "aupro").mean())
    assert (aupro.ci_low, aupro.ci_high) == (None, None)

    never = write_one_class_run(tmp_path / "never", fold=4)
    (result,) = measure_runs([*runs[:4], never])
    assert not {*map_metrics.MAP_METRICS} & set(result.metrics)

    (runs[1].path / "maps.npz").write_bytes(b"no")
    with pytest.raises(RunError, match=r"evaluate\.py"):
        measure_runs(runs[:2])


def test_target_fpr_is_that_of_the_settings_then_of_the_record(tmp_path) -> None:
    (first,) = group_runs([write_one_class_run(tmp_path / "a", threshold={"target_fpr": None})])
    changed: dict[str, Any] = {"threshold": {}}
    (second,) = group_runs([write_one_class_run(tmp_path / "b", settings=changed)])
    (neither,) = group_runs(
        write_one_class_folds(tmp_path, folds=2, settings=changed, threshold={"target_fpr": None})
    )
    assert first.runs[0].target_fpr == second.runs[0].target_fpr == 0.1
    assert neither.runs[0].target_fpr is None
    assert "tpr_at_fpr" not in measure(neither).metrics


# --- tables and page


def test_map_metrics_have_a_table_of_the_models_with_maps(tmp_path) -> None:
    found = measure_runs(
        [
            *write_one_class_folds(tmp_path, maps=True),
            *write_one_class_folds(tmp_path, model="bare"),
        ]
    )
    table, localization, recall = (
        image_metrics_table(found),
        localization_table(found),
        recall_table(found),
    )

    assert {"F1 of defects", "recall at the target false-positive rate",
            "average precision of defects"} <= set(table.columns)  # fmt: skip
    assert cells(table, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "means over folds and seeds" in table.note
    assert "at most 0.1 of these good images" in table.note
    assert "pooled: every image" not in table.note
    assert localization is not None
    assert localization.columns == ("model", "pixel AUROC", "AUPRO", "images")
    assert [row[0].text for row in localization.rows] == ["autoencoder (5 runs)"]
    assert cells(localization, 0)["images"] == str(5 * GOOD + DEFECTS)
    assert "they localize no defects: bare" in localization.note
    assert recall is not None
    assert recall.columns == ("model", "good", "crack", "poke")
    assert "are rejected, as defects should be; of good: that are accepted" in recall.note


@pytest.mark.usefixtures("unrendered")
def test_classifiers_and_one_class_models_share_a_page_that_distinguishes_them(tmp_path) -> None:
    comparison = compare(with_a_classifier(tmp_path))
    recall = recall_table(comparison.results)
    assert [cells(recall, row)["what is counted"] for row in (0, 1)] == ["named", "rejected"]
    assert recall is not None
    assert recall.note.startswith("The rows do not all mean the same.")

    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(to_csv(comparison.results))))
    assert (rows[0]["aupro"], rows[1]["accuracy"]) == ("", "")
    assert float(rows[1]["aupro"]) > 0
    assert float(rows[1]["f1_max"]) >= float(rows[1]["f1"])

    html = write_comparison(comparison, tmp_path / "out").read_text()
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"learning_curves_one_class.png", "learning_curves.png", "confusion.png"} <= drawn
    assert "models without class probabilities" in html
    assert "Spread over seeds" not in html

    alone = comparison.results[:1]
    assert "average precision of defects" not in image_metrics_table(alone).columns
    assert "never pooled" not in image_metrics_table(alone).note
    assert thresholds.threshold_table(alone) is None


def test_seeds_and_folds_go_into_one_mean_and_the_page_is_written(tmp_path) -> None:
    first, second = (
        seeds_of_folds(tmp_path / model, model=model, skill=skill)
        for model, skill in (("a", 2.0), ("b", 1.0))
    )
    comparison = compare([*first, *second])
    result = comparison.results[0]
    assert result.metrics["auroc"].value == pytest.approx(stored(first).mean())
    assert result.metrics["auroc"].n == 3 * GOOD + DEFECTS
    assert result.by_seed[0]["auroc"] == pytest.approx(stored(first[:3]).mean())

    html = write_comparison(comparison, tmp_path / "out").read_text()
    assert "paired bootstrap within folds" in html
    assert "Thresholds" in html
    drawn = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"learning_curves_one_class.png", "recall.png", "overview.png"} <= drawn
    assert not {"confusion.png", "learning_curves.png", "disagreement.png"} & drawn
    assert "Spread over seeds" in html


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


# --- pairs


def test_two_one_class_models_are_compared_within_folds_and_over_trainings(tmp_path) -> None:
    better = write_one_class_folds(tmp_path, model="better", skill=2.5)
    worse = write_one_class_folds(tmp_path, model="worse", skill=0.5)
    pair = compare_pair([*better, *worse])

    difference = stored(better) - stored(worse)
    assert set(pair.differences) == PAIRED_METRICS
    assert pair.differences["auroc"].value == pytest.approx(difference.mean())
    assert pair.differences["auroc"].test == "paired bootstrap within folds"
    assert pair.num_images == pair.differences["auroc"].n == 5 * 12 + 14
    assert pair.differences["false_negative_rate"].n == 14
    assert pair.is_significant("auroc")
    assert pair.is_significant("false_negative_rate")
    assert "better is better in AUROC and defects missed" in headline(pair)
    assert pair.retraining_tests is not None
    found = pair.retraining_tests["auroc"]
    # Of 26 test images 14 defects are in every fold: 12 change with the fold.
    expected = corrected_resampled_t_test(difference, test_images=12, train_images=40)
    assert (found.num_trainings, found.num_always_tested) == (5, 14)
    assert found.difference.ci_low == pytest.approx(expected.ci_low)
    assert mentions(details(pair), "this says nothing about other defects")


def test_equal_models_are_not_distinguishable_and_a_defect_of_five_folds_is_one_image(
    tmp_path,
) -> None:
    runs = write_one_class_folds(tmp_path, model="a", skill=9)
    runs += write_one_class_folds(tmp_path, model="b", skill=9, offset=7.0)
    pair = compare_pair(runs)
    assert "not distinguishable on these 74 images" in headline(pair)
    assert pair.differences["auroc"].value == 0

    for run in runs[5:]:  # one defect more is missed by all five runs, but it is one image
        path = run.path / "predictions.csv"
        lines = path.read_text().splitlines()
        lines[-1] = lines[-1].replace(",defect,", ",good,")
        path.write_text("\n".join(lines) + "\n")
    pair = compare_pair([read_run(run.path) for run in runs])

    assert pair.differences["false_negative_rate"].value == pytest.approx(-1 / 14)
    assert pair.differences["false_negative_rate"].p_value == 1.0


def test_scores_of_folds_are_not_pooled_against_a_classifier(tmp_path) -> None:
    """Both on the folds of the classifier; the offset of the scores grows from fold to fold."""
    named = [
        read_run(write_classification_run(
            tmp_path / f"classifier{fold}", model="resnet", fold=fold, label=KFOLD,
            first_image=100 * fold, wrong=(fold, 22, 25)))
        for fold in range(5)
    ]  # fmt: skip
    plain, moved = (
        [
            write_one_class_run(
                tmp_path / f"{offset} {fold}", fold=fold, offset=offset * fold, skill=1.5,
                images=(100 * fold + np.arange(30), KFOLD),
                settings={"split": {"name": "kfold", "fold": fold, "folds": 5}},
            )
            for fold in range(5)
        ]
        for offset in (0.0, 50.0)
    )  # fmt: skip
    pair = compare_pair([*named, *plain])

    assert pair.num_images == 150
    assert set(pair.differences) == PAIRED_METRICS
    expected = np.mean(stored(named) - stored(plain))
    assert pair.differences["auroc"].value == pytest.approx(expected)
    assert pair.retraining_tests is not None
    assert pair.retraining_tests["auroc"].num_always_tested == 0
    assert compare_pair([*named, *moved]).differences == pair.differences


def test_seeds_are_averaged_within_folds_and_other_seeds_compared_on_what_they_share(
    tmp_path,
) -> None:
    two = seeds_of_folds(tmp_path, model="a", skill=2.0)
    one = write_one_class_folds(tmp_path, model="b", skill=1.0, folds=3)
    expected = np.mean(stored(two).reshape(2, 3).mean(axis=0) - stored(one))
    assert compare_pair([*two, *one]).differences["auroc"].value == pytest.approx(expected)

    images = (np.arange(30), KFOLD)
    runs = [
        write_one_class_run(tmp_path / model, model=model, seed=seed, fold=None, images=images)
        for seed, model in enumerate("ab")
    ]
    expected = stored(runs)[0] - stored(runs)[1]
    assert compare_pair(runs).differences["auroc"].value == pytest.approx(expected)


def test_one_class_models_of_different_folds_are_compared_on_what_a_fold_shares(tmp_path) -> None:
    runs = [
        write_one_class_run(tmp_path / model, model=model, fold=fold)
        for fold, model in enumerate("ab")
    ]
    pair = compare_pair(runs)
    assert pair.differences == {}
    assert "share no good images" in details(pair)[0]
    assert "split.fold" in details(pair)[0]

    label = labels_of(60, good=40)
    whole = write_one_class_run(tmp_path / "holdout", model="b", fold=None,
                               images=(np.arange(60), label))  # fmt: skip
    halves = [
        write_one_class_run(tmp_path / f"{fold}", model="a", fold=fold,
                           images=(np.arange(60)[fold::2], label[fold::2]))
        for fold in range(2)
    ]  # fmt: skip
    pair = compare_pair([*halves, whole])
    assert set(pair.differences) == {"false_negative_rate", "false_positive_rate"}
    assert any(line.startswith("AUROC is not compared: a has") for line in details(pair))

    # The second tests half of each fold's good images and other ones.
    label = np.array([0] * 12 + [1] * 14)
    second = [
        write_one_class_run(
            tmp_path / f"b{fold}", model="b", fold=fold,
            images=(np.append(12 * fold + np.r_[:6, 500:506], 1000 + np.arange(14)), label),
        )
        for fold in range(2)
    ]  # fmt: skip
    pair = compare_pair([*write_one_class_folds(tmp_path, model="a", folds=2), *second])
    assert pair.differences["auroc"].n == 2 * 6 + 14
    assert pair.retraining_tests is None


# --- thresholds


def of_two_folds(folder: Path, **changed) -> ModelMetrics:
    (result,) = measure_runs(write_one_class_folds(folder, folds=2, **changed))
    return result


def row_of(result: ModelMetrics) -> list[str]:
    table = thresholds.threshold_table([result])
    assert table is not None
    return [cell.text for cell in table.rows[0]]


def test_rules_without_a_target_rate_have_none_in_the_table(tmp_path) -> None:
    for rule, defects in (("sigma", 0), ("f1", 7)):
        threshold = {"rule": rule, "defect_images": defects, "target_fpr": None,
                     "required_images": None}  # fmt: skip
        result = of_two_folds(tmp_path / rule, threshold=threshold)
        assert row_of(result)[2::3] == ["none", "–"]
        assert thresholds.sentences([result]) == []
        found = [line for line in thresholds.caveats([result]) if "rule f1" in line]
        assert len(found) == (rule == "f1")
        start = "autoencoder: the threshold was fitted with labelled defects"
        assert all(line.startswith(start) for line in found)


def test_table_and_summary_have_target_and_measured_rate(tmp_path) -> None:
    comparison = compare(write_one_class_folds(tmp_path, folds=2, skill=0.0))
    (result,), summary = comparison.results, comparison.summary
    row = row_of(result)
    assert row[:3] == ["autoencoder (2 runs)", "conformal", "at most .100"]
    assert row[3].startswith(f"{result.metrics['false_positive_rate'].value:.3f}".lstrip("0"))
    assert row[4:] == ["20", "yes"]
    assert not mentions(thresholds.caveats([result]), "beyond chance")

    start = "Good ones rejected against the target: autoencoder ."
    assert any(line.startswith(start) for line in summary.best)
    assert any(line.endswith("target .100.") for line in summary.best)
    assert "Not shown to be better than guessing, by AUROC: autoencoder." in summary.caveats


def test_too_few_good_images_for_the_target_rate_are_a_caveat(tmp_path) -> None:
    result = of_two_folds(tmp_path, threshold={"good_images": 5, "enough": False})

    assert row_of(result)[5] == "no in 2 of 2 runs: 9 are needed"
    (caveat,) = [line for line in thresholds.caveats([result]) if "takes 9" in line]
    assert "5 good images set the threshold" in caveat
    assert "expect up to .167" in caveat


def test_rate_above_the_target_beyond_chance_is_a_caveat_where_there_were_enough_images(
    tmp_path,
) -> None:
    enough = {"target_fpr": 0.001, "good_images": 2000}
    few = {"target_fpr": 0.001, "good_images": 20, "enough": False, "required_images": 999}
    kept, broken = (
        thresholds.caveats(
            measure_runs([write_one_class_run(tmp_path / name, threshold=threshold,
                                         images=one_class_images(0, good=400))])
        )
        for name, threshold in (("few", few), ("enough", enough))
    )  # fmt: skip
    assert any(line.endswith("differ from those that set the threshold.") for line in broken)
    assert not mentions(kept, "beyond chance")
    assert mentions(kept, "takes 999")


def test_below_50_good_images_a_training_the_rate_is_uncertain(tmp_path) -> None:
    for good, is_few in ((49, True), (50, False)):
        run = write_one_class_run(tmp_path / f"{good}", images=one_class_images(0, good=good))
        assert mentions(thresholds.caveats(measure_runs([run])), "uncertain") == is_few
