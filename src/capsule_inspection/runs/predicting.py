"""Predictions of a trained network: arrays, figures, and the files that hold them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capsule_inspection.contracts import (
    DataIndex,
    Figure,
    Predictions,
    RunFiles,
)
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import write_whole
from capsule_inspection.runs.building import make_trainer
from capsule_inspection.runs.machine import Choices
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.tasks.classification import stack_predictions

MAX_THUMBNAILS = 500
THUMBNAIL_PX = 256


def predict(
    task: InspectionTask, data: InspectionDataModule, stage: str, *, choices: Choices
) -> Predictions:
    """What the task's network says of the images of a stage, on one device."""
    trainer = make_trainer(
        choices, devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    data.predict_stage = stage
    batches = trainer.predict(task, datamodule=data)
    stacked = stack_predictions(batches)  # type: ignore[arg-type]
    return Predictions(
        index=stacked["index"].numpy(),
        label=stacked["label"].numpy(),
        probabilities=stacked["probabilities"].double().numpy(),
        score=stacked["score"].double().numpy(),
    )


def figures_of(
    predictions: Mapping[str, Predictions], *, classes: Sequence[str], seed: int
) -> dict[str, Figure]:
    """Figures of each stage, with the stage in their keys."""
    from capsule_inspection.metrics.classification import classification_figures
    from capsule_inspection.metrics.names import with_stage

    figures: dict[str, Figure] = {}
    for stage, of_stage in predictions.items():
        measured = classification_figures(
            of_stage.label, of_stage.probabilities, classes=classes, seed=seed
        )
        figures |= with_stage(measured, stage)
    return figures


def write_predictions(
    folder: Path, index: DataIndex, predictions: Mapping[str, Predictions], *, fold: int | None
) -> None:
    """predictions.csv: a row for each image of each stage."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("index", "path", "sha256", "split", "fold", "label", "prediction", "score")
    writer.writerow([*columns, *(f"p_{name}" for name in index.classes)])
    for stage, of_stage in predictions.items():
        for row in range(len(of_stage.index)):
            writer.writerow(_prediction_row(index, of_stage, row, stage=stage, fold=fold))
    write_whole(folder / RunFiles.PREDICTIONS, text.getvalue())


def _prediction_row(
    index: DataIndex, predictions: Predictions, row: int, *, stage: str, fold: int | None
) -> list[Any]:
    number = int(predictions.index[row])
    record = index.records[number]
    probabilities = predictions.probabilities[row]
    return [
        number,
        record.path,
        record.sha256,
        stage,
        "" if fold is None else fold,
        index.classes[record.label],
        index.classes[int(probabilities.argmax())],
        f"{predictions.score[row]:.9g}",
        *(f"{probability:.9g}" for probability in probabilities),
    ]


def write_figures(folder: Path, figures: Mapping[str, Figure]) -> None:
    """metrics.json."""
    values = {key: vars(figure) for key, figure in figures.items()}
    write_whole(folder / RunFiles.FIGURES, json.dumps(values, indent=2) + "\n")


def write_thumbnails(
    folder: Path, data: InspectionDataModule, predictions: Mapping[str, Predictions]
) -> None:
    """images/<index>.jpg of the images that were predicted, as the network saw them."""
    numbers = np.unique(np.concatenate([of.index for of in predictions.values()]))
    (folder / RunFiles.IMAGES).mkdir(parents=True, exist_ok=True)
    for number in numbers[:MAX_THUMBNAILS].tolist():
        image = Image.fromarray(np.asarray(data.dataset.cache.images[number]))
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        image.save(folder / RunFiles.IMAGES / f"{number}.jpg", quality=85)
