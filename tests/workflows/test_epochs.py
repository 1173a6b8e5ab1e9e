"""The line of each epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from capsule_inspection.workflows.epochs import EpochMetricsWriter, EpochReporter

ROW = {"seconds": "9.2", "train/loss": "0.69", "val/loss": "0.58123"}


def lines_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *rows: dict[str, str],
    monitor: str = "val/balanced_accuracy",
    max_epochs: int | None = 12,
    best: tuple[int, ...] = (),
) -> list[str]:
    """The lines after the epochs of these rows."""
    caplog.set_level("INFO")
    written = EpochMetricsWriter(tmp_path / "metrics.csv")
    optimization: Any = SimpleNamespace(monitor=monitor, monitor_key=f"{monitor}_smoothed")
    reporter = EpochReporter(optimization, written, is_best=best.__contains__, has_bar=False)
    reporter.on_train_start(None, None)  # type: ignore[arg-type]
    for epoch, row in enumerate(rows):
        written.rows.append(row)
        trainer: Any = SimpleNamespace(
            current_epoch=epoch, max_epochs=max_epochs, is_global_zero=True
        )
        reporter.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    return caplog.messages


def test_a_line_has_the_monitored_metric_the_best_so_far_and_the_time_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ROW | {"val/balanced_accuracy": "0.65", "val/balanced_accuracy_smoothed": "0.64"}
    second = first | {"seconds": "29.2"}
    assert lines_of(tmp_path, caplog, first, second, best=(0,)) == [
        "epoch  1/12  train loss 0.6900  val loss 0.5812  val balanced accuracy .650 "
        "(smoothed .640, best so far)  9 s, about 2 min left",
        "epoch  2/12  train loss 0.6900  val loss 0.5812  val balanced accuracy .650 "
        "(smoothed .640)  29 s, about 3 min left",
    ]


def test_a_monitored_loss_is_shown_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = ROW | {"val/loss_smoothed": "0.6"}
    assert lines_of(tmp_path, caplog, row, monitor="val/loss", max_epochs=1, best=(0,)) == [
        "epoch 1/1  train loss 0.6900  val loss 0.5812 (smoothed 0.6000, best so far)  9 s"
    ]


def test_an_epoch_without_validation_and_a_training_without_a_number_of_epochs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"seconds": "9.2", "train/loss": "0.69"}
    expected = ["epoch 1  train loss 0.6900  9 s"]
    assert lines_of(tmp_path, caplog, row, max_epochs=-1) == expected
    caplog.clear()
    assert lines_of(tmp_path, caplog, row, max_epochs=None) == expected
