from __future__ import annotations

from capsule_inspection.metrics import names
from capsule_inspection.types import Figure

ONE = Figure(0.5, 0.4, 0.6, 10)


def test_stage_is_put_before_a_metric_and_taken_off_again():
    figures = {"accuracy": ONE, "recall/crack": ONE}
    staged = names.with_stage(figures, "test")
    assert list(staged) == ["test/accuracy", "test/recall/crack"]
    assert names.of_stage(staged, "test") == figures
    assert names.of_stage(staged, "val") == {}


def test_figures_of_classes_are_told_apart_though_names_hold_slashes_or_are_like_metrics():
    keys = [names.class_metric("recall", name) for name in ("shell/crack", "recall")]
    figures = dict.fromkeys([*keys, names.class_metric("precision", "crack")], ONE)
    assert list(names.of_classes(figures, names.RECALL)) == ["shell/crack", "recall"]
    assert all(names.is_of_class(metric) for metric in (*figures, "pointing_game/crack"))
    plain = (names.POINTING_GAME, names.POINTING_CHANCE, "accuracy")
    assert not any(names.is_of_class(metric) for metric in plain)
