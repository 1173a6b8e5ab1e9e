from __future__ import annotations

import pytest

from capsule_inspection import types
from capsule_inspection.metrics import names, registry
from capsule_inspection.metrics.registry import (
    LOWER_IS_BETTER,
    METRICS,
    metric_description,
    metric_heading,
    metric_label,
    metrics_of,
)


def test_every_name_of_a_metric_is_registered() -> None:
    constants = {value for name, value in vars(names).items() if name.isupper()}
    keys = {value for value in constants if isinstance(value, str)}
    assert set(METRICS) == keys


def test_error_rates_cost_and_loss_are_better_when_lower() -> None:
    rates = {"false_negative_rate", "false_positive_rate", "pixel_fpr"}
    assert {"loss", "expected_cost", *rates} == LOWER_IS_BETTER


def test_labels_of_known_classes_and_unknown_metrics() -> None:
    assert metric_label(names.BALANCED_ACCURACY) == "balanced accuracy"
    assert metric_label("recall/shell/crack") == "recall of shell/crack"
    assert metric_label("another_metric") == "another metric"
    assert metric_heading(names.AUROC) == "AUROC"
    assert metric_heading(names.FALSE_NEGATIVE_RATE) == "defects missed ↓"


def test_labels_fit_into_a_column_and_are_told_apart() -> None:
    labels = [metric.label for metric in METRICS.values()]
    assert max(map(len, labels)) <= 28
    assert len(set(labels)) == len(labels)


def test_every_metric_that_pages_list_is_described() -> None:
    listed = {*registry.IMAGE_METRICS, *registry.ANOMALY_METRICS, *registry.MASK_METRICS}
    listed |= {*registry.MAP_METRICS, *types.PRIMARY_METRICS, names.POINTING_GAME}
    listed |= {name for task in registry.TASKS for name in metrics_of(task)}
    assert all(metric_description(name) for name in listed)


@pytest.mark.parametrize(
    ("task", "names_defects", "has", "has_not"),
    [
        ("classification", True, {"accuracy", "auroc"}, {"f1", "aupro", "binary_dice_global"}),
        ("anomaly_detection", True, {"f1", "aupro"}, {"accuracy", "defect_hit_rate"}),
        ("segmentation", True, {"accuracy", "mean_iou_global", "aupro"}, {"expected_cost"}),
        ("segmentation", False, {"binary_dice_global"}, {"accuracy", "mean_iou_global"}),
    ],
)
def test_a_task_has_the_metrics_that_its_models_can_have(
    task: str, names_defects: bool, has: set[str], has_not: set[str]
) -> None:
    found = metrics_of(task, names_defects=names_defects)
    assert has <= set(found)
    assert not has_not & set(found)
    assert list(found) == [name for name in METRICS if name in found]


def test_descriptions_name_the_target_rate() -> None:
    assert "keep to 2.5%." in metric_description(names.TPR_AT_FPR, target_fpr=0.025)
    assert "keep to the target rate." in metric_description(names.TPR_AT_FPR)
    assert metric_description("another_metric") == ""


def test_every_metric_that_can_decide_a_comparison_is_registered() -> None:
    assert set(types.PRIMARY_METRICS) <= set(METRICS)
    assert types.EXPECTED_COST == names.EXPECTED_COST


def test_six_metrics_of_each_task_come_first_also_without_masks() -> None:
    for task in registry.TASKS:
        measured = metrics_of(task)
        assert len(registry.headline_metrics(task, measured)) == 6
    without_masks = set(metrics_of("anomaly_detection")) - {names.AUPRO, names.PIXEL_AUROC}
    assert len(registry.headline_metrics("anomaly_detection", without_masks)) == 6
    assert registry.headline_metrics("classification", ["auroc", "recall/a"]) == ["auroc"]
    assert registry.headline_metrics("an_added_task", ["recall/a", "own"]) == ["own"]
