"""What eight bits cost is told, and whether chance explains it."""

from __future__ import annotations

import logging

import pytest

from capsule_inspection.metrics import names
from capsule_inspection.types import Figure
from capsule_inspection.workflows.quantising import labels_by_name, loss_and_room, tell


def figure(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value, low, high, 40)


def test_a_loss_is_held_against_the_worse_side_of_the_interval() -> None:
    for name, before, after, expected in (
        (names.AUROC, figure(0.9, 0.8, 0.95), figure(0.85), (0.05, 0.1)),
        (names.AUROC, figure(0.9, 0.0, 0.95), figure(0.95), (-0.05, 0.9)),
        (names.DEFECTS_MISSED, figure(0.1, 0.05, 0.3), figure(0.2), (0.1, 0.2)),
        (names.ACCURACY, figure(0.9), figure(0.8), (0.1, 0.0)),
    ):
        assert loss_and_room(name, before, after) == pytest.approx(expected)


def test_only_a_loss_beyond_the_interval_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tell(names.AUROC, figure(0.9, 0.8, 0.95), figure(0.81))
    assert "0.900 before, 0.810 after: -0.090" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    tell(names.AUROC, figure(0.9, 0.8, 0.95), figure(0.79))
    assert "worse by 0.110, which chance does not explain" in caplog.text


def test_a_class_that_is_called_defect_keeps_its_label() -> None:
    assert labels_by_name(("good", "crack", "defect")) == {"good": 0, "crack": 1, "defect": 2}
    assert labels_by_name(("good", "crack"))["defect"] == 1
