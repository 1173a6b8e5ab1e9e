"""The charts of TensorBoard."""

from __future__ import annotations

from capsule_inspection.workflows.loggers import curve_charts


def test_training_and_validation_of_a_metric_share_a_chart_and_losses_come_first() -> None:
    keys = ["optimizer/learning_rate", "train/loss", "val/loss", "train/accuracy", "val/accuracy",
            "val/accuracy_smoothed", "train/mask_loss", "step", "epoch"]  # fmt: skip
    charts = curve_charts(keys)
    assert list(charts) == ["loss", "mask loss", "accuracy", "learning rate"]
    assert charts["loss"] == ["Multiline", ["^train/loss$", "^val/loss$"]]
    assert charts["accuracy"][1] == [
        "^train/accuracy$", "^val/accuracy$", "^val/accuracy_smoothed$",
    ]  # fmt: skip
