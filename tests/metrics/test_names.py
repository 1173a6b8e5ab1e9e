from __future__ import annotations

from capsule_inspection.metrics import names
from capsule_inspection.types import Estimate

ONE = Estimate(0.5, 0.4, 0.6, 10)


def test_stage_is_put_before_a_metric_and_taken_off_again():
    metrics = {"accuracy": ONE, "recall/crack": ONE}
    staged = names.with_stage(metrics, "test")
    assert list(staged) == ["test/accuracy", "test/recall/crack"]
    assert names.metrics_of_stage(staged, "test") == metrics
    assert names.metrics_of_stage(staged, "val") == {}


def test_metrics_of_classes_are_distinguished_though_names_hold_slashes_or_are_like_metrics():
    keys = [names.class_metric("recall", name) for name in ("shell/crack", "recall")]
    metrics = dict.fromkeys([*keys, names.class_metric("precision", "crack")], ONE)
    assert list(names.class_metrics(metrics, names.RECALL)) == ["shell/crack", "recall"]
    assert all(names.is_class_metric(metric) for metric in (*metrics, "pointing_game/crack"))
    plain = (names.POINTING_GAME, names.POINTING_CHANCE, "accuracy")
    assert not any(names.is_class_metric(metric) for metric in plain)
