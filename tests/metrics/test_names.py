from capsule_inspection.contracts import Figure
from capsule_inspection.metrics import names

ONE = Figure(0.5, 0.4, 0.6, 10)


def test_stage_is_put_before_a_metric_and_taken_off_again():
    figures = {"accuracy": ONE, "recall/crack": ONE}

    staged = names.with_stage(figures, "test")

    assert list(staged) == ["test/accuracy", "test/recall/crack"]
    assert names.of_stage(staged, "test") == figures
    assert names.of_stage(staged, "val") == {}


def test_class_names_may_hold_a_slash_or_begin_like_a_metric():
    figures = {
        names.class_metric(names.RECALL, "shell/crack"): ONE,
        names.class_metric(names.RECALL, "recall"): ONE,
        names.class_metric(names.PRECISION, "crack"): ONE,
    }

    assert list(names.of_classes(figures, names.RECALL)) == ["shell/crack", "recall"]


def test_figure_of_a_class_is_told_from_that_of_all_classes():
    assert names.is_of_class("recall/crack")
    assert names.is_of_class(names.class_metric(names.POINTING_GAME, "crack"))
    assert not names.is_of_class(names.POINTING_GAME)
    assert not names.is_of_class(names.POINTING_CHANCE)
    assert not names.is_of_class("accuracy")
