"""Metrics of an int8 model are printed, with a warning for a loss beyond the interval."""

from __future__ import annotations

import logging

import pytest

from capsule_inspection.metrics import names
from capsule_inspection.types import Estimate
from capsule_inspection.workflows.quantization import log_change, loss_and_margin


def figure(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, 40)


def test_a_loss_is_compared_with_the_worse_side_of_the_interval() -> None:
    for name, before, after, expected in (
        (names.AUROC, figure(0.9, 0.8, 0.95), figure(0.85), (0.05, 0.1)),
        (names.AUROC, figure(0.9, 0.0, 0.95), figure(0.95), (-0.05, 0.9)),
        (names.FALSE_NEGATIVE_RATE, figure(0.1, 0.05, 0.3), figure(0.2), (0.1, 0.2)),
        (names.ACCURACY, figure(0.9), figure(0.8), (0.1, 0.0)),
    ):
        assert loss_and_margin(name, before, after) == pytest.approx(expected)


def test_only_a_loss_beyond_the_interval_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_change(names.AUROC, figure(0.9, 0.8, 0.95), figure(0.81))
    assert "0.900 before, 0.810 after: -0.090" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    log_change(names.AUROC, figure(0.9, 0.8, 0.95), figure(0.79))
    assert "worse by 0.110, which chance does not explain" in caplog.text
