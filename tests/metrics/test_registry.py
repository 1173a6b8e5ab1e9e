from __future__ import annotations

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import (
    LOWER_IS_BETTER,
    METRICS,
    metric_description,
    metric_label,
    short_metric_label,
)


def test_every_name_of_a_metric_is_registered() -> None:
    constants = {value for name, value in vars(names).items() if name.isupper()}
    keys = {value for value in constants if isinstance(value, str)}
    assert set(METRICS) == keys


def test_error_rates_and_loss_are_better_when_lower() -> None:
    assert {"loss", "false_negative_rate", "false_positive_rate", "pixel_fpr"} == LOWER_IS_BETTER


def test_labels_of_known_classes_and_unknown_metrics() -> None:
    assert metric_label(names.AUROC) == "AUROC, good against defect"
    assert short_metric_label(names.AUROC) == "AUROC"
    assert short_metric_label(names.BALANCED_ACCURACY) == "balanced accuracy"
    assert short_metric_label("recall/crack") == "recall of crack"
    assert (
        metric_label("another_metric") == short_metric_label("another_metric") == "another metric"
    )


def test_descriptions_name_the_target_rate() -> None:
    assert "keep to 2.5%." in metric_description(names.TPR_AT_FPR, target_fpr=0.025)
    assert "keep to the target rate." in metric_description(names.TPR_AT_FPR)
    assert metric_description("another_metric") == ""
