"""Predictions of a run against those of evaluate.py, predict.py and a resumed training."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from quick import metrics_of, record_of, rows_of
from small import Cli, CommandResult

from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.workflows import factory, hardware
from capsule_inspection.workflows.app_predictions import AppModel
from capsule_inspection.workflows.interrupts import TrainingInterrupted

DEVICE = ("trainer=cpu", "trainer.threads=1", "trainer.precision=32-true")
Rows = list[dict[str, str]]


def rows_of_test(run: Path) -> Rows:
    """The rows of a run's test images."""
    return [row for row in rows_of(run) if row["split"] == "test"]


def metrics_of_test(run: Path) -> dict[str, Any]:
    """The metrics of a run's test images."""
    return {key: value for key, value in metrics_of(run).items() if key.startswith("test/")}


def evaluate(cli: Cli, run: Path, output: Path, *settings: str) -> CommandResult:
    """Run evaluate.py on the test images of a run, or on those of the settings."""
    result = cli("evaluate", f"run={run}", f"output={output}", *DEVICE, *settings)
    assert result.status == 0, result.err
    return result


def predict_test_images(cli: Cli, run: Path, output: Path, *further: str) -> CommandResult:
    """The same by predict.py, from a table of paths, in the batches and layout of evaluate.py."""
    config = OmegaConf.load(run / "config.yaml")
    assert isinstance(config, DictConfig)
    network = factory.build_model(config, num_classes=6, weights="none").model
    channels_last = hardware.supports_channels_last(network)
    batches = get_task(config).batch_settings(channels_last=channels_last)
    root = Path(record_of(run)["data"]["root"])
    table = output.with_name(f"{output.name} images.csv")
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["path"], *([str(root / r["path"])] for r in rows_of_test(run))]
        )
    settings = (
        f"batch_size={batches.eval_batch_size or batches.batch_size}",
        f"trainer.channels_last={channels_last}",
        "workers=1",
        *DEVICE,
        *further,
    )
    result = cli("predict", f"run={run}", f"input={table}", f"output={output}", *settings)
    assert result.status == 0, result.err
    return result


def check_agreement(predicted: Path, evaluated: Path) -> None:
    """The same images in the same order, with equal labels and numbers to the last digit."""
    found, expected = rows_of(predicted), rows_of(evaluated)
    assert [Path(row["path"]).name for row in found] == [Path(r["path"]).name for r in expected]
    probabilities = [name for name in expected[0] if name[:2] == "p_"]
    for column in ("predicted_label", "score", "threshold", *probabilities):
        assert [row[column] for row in found] == [row[column] for row in expected], column


def check_resumed(
    cli: Cli, task: type[InspectionModule], whole: Path, run: Path, *settings: str
) -> list[tuple[int, ...]]:
    """Check that a training interrupted in its second epoch resumes to the metrics of `whole`.

    Returns the sizes of the training batches, one for each step that was kept.
    """
    sizes: list[tuple[int, ...]] = []
    original = task.training_step

    def step(self: InspectionModule, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and not resumed:
            raise TrainingInterrupted
        sizes.append(tuple(batch["image"].shape[2:]))
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "training_step", step)
        resumed = False
        result = cli("train", *settings, f"hydra.run.dir={run}")
        assert result.status == 130, result.err
        assert record_of(run)["status"] == "interrupted"
        assert len(rows_of(run, "metrics.csv")) == 1
        resumed = True
        result = cli("train", f"resume={run}")
        assert result.status == 0, result.err
    assert metrics_of(run) == metrics_of(whole)
    assert rows_of(run) == rows_of(whole)
    return sizes


def page_model(predictor: Predictor, run: Path, folder: Path) -> AppModel:
    """What the page of a run predicts with; its pictures are not kept."""
    uploads: Any = SimpleNamespace(keep=lambda content, name: folder / name)
    return AppModel(predictor, uploads, run)
