"""Predictions of a trained network: arrays, figures, and the files that hold them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import whole_file, write_whole
from capsule_inspection.metrics.thresholds import exceeds
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.types import (
    DEFECT,
    GOOD_LABEL,
    DataIndex,
    Figure,
    Predictions,
    RunFiles,
)
from capsule_inspection.workflows.hardware import Choices
from capsule_inspection.workflows.trainers import make_trainer

MAX_THUMBNAILS = 500
THUMBNAIL_PX = 256


def batches(
    task: InspectionTask, data: InspectionDataModule, *, choices: Choices, every_label: bool = False
) -> list[dict[str, Any]]:
    """What the task's `predict_step` says of the images of `data.predict_stage`, on one device.

    `every_label` takes images too that the task does not train on.
    """
    trainer = make_trainer(
        choices, devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    data.predict_every_label = every_label
    return trainer.predict(task, datamodule=data)  # type: ignore[return-value]


def run(
    task: InspectionTask, data: InspectionDataModule, *, choices: Choices, every_label: bool = False
) -> dict[str, Tensor]:
    """The same joined, in the order of the images."""
    found = batches(task, data, choices=choices, every_label=every_label)
    return {key: torch.cat([batch[key] for batch in found]) for key in found[0]}


def write_predictions(
    folder: Path, index: DataIndex, predictions: Mapping[str, Predictions], *, fold: int | None
) -> None:
    """predictions.csv: a row for each image of each stage."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score"]
    columns.append("threshold")
    if all(found.probabilities is not None for found in predictions.values()):
        columns += [f"p_{name}" for name in index.classes]
    if all(found.overlap is not None for found in predictions.values()):
        columns += ["dice", "iou"]
    writer.writerow(columns)
    for stage, of_stage in predictions.items():
        for row in range(len(of_stage.index)):
            writer.writerow(_prediction_row(index, of_stage, row, stage=stage, fold=fold))
    write_whole(folder / RunFiles.PREDICTIONS, text.getvalue())


def _prediction_row(
    index: DataIndex, predictions: Predictions, row: int, *, stage: str, fold: int | None
) -> list[Any]:
    number = int(predictions.index[row])
    record = index.records[number]
    probabilities: Sequence[float] = ()
    if predictions.probabilities is not None:
        probabilities = predictions.probabilities[row].tolist()
    if predictions.called is not None:
        label = int(predictions.called[row])
        named = label == GOOD_LABEL or predictions.probabilities is not None
        called = index.classes[label] if named else DEFECT
    elif predictions.probabilities is not None:
        called = index.classes[int(np.argmax(probabilities))]
    else:
        assert predictions.threshold is not None
        is_defect = exceeds(predictions.score[row], predictions.threshold)
        called = DEFECT if is_defect else index.classes[GOOD_LABEL]
    return [
        number,
        record.path,
        record.sha256,
        stage,
        "" if fold is None else fold,
        index.classes[record.label],
        called,
        f"{predictions.score[row]:.9g}",
        "" if predictions.threshold is None else f"{predictions.threshold:.9g}",
        *(f"{probability:.9g}" for probability in probabilities),
        *_overlap_columns(predictions, row),
    ]


def _overlap_columns(predictions: Predictions, row: int) -> list[str]:
    """Dice and IoU of an image, empty where it has no mask; nothing for networks without masks."""
    if predictions.overlap is None:
        return []
    return ["" if np.isnan(value) else f"{value:.6g}" for value in predictions.overlap[row]]


def write_figures(folder: Path, figures: Mapping[str, Figure]) -> None:
    """metrics.json."""
    values = {key: vars(figure) for key, figure in figures.items()}
    write_whole(folder / RunFiles.FIGURES, json.dumps(values, indent=2) + "\n")


def write_maps(folder: Path, data: InspectionDataModule, found: Predictions) -> None:
    """maps.npz and explanations.npz of the test images, what the task has of them.

    Maps and masks at the size that the network saw.
    """
    if found.maps is not None:
        marked = {} if found.marked is None else {"marked": found.marked}
        _write_maps(folder / RunFiles.MAPS, data, found.index, {"maps": found.maps, **marked})
    if found.explanations is not None:
        explained = found.explanations
        maps = {"maps": explained.maps}
        _write_maps(folder / RunFiles.EXPLANATIONS, data, explained.index, maps)


def _write_maps(
    path: Path, data: InspectionDataModule, index: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> None:
    """Arrays of the images of an index (T,), with their masks and what is no padding."""
    cache = data.dataset.cache
    kept: dict[str, Any] = {
        "index": index,
        "masks": cache.masks[index],
        "inside": cache.inside[index],
        **arrays,
    }
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **kept)


def write_thumbnails(
    folder: Path, data: InspectionDataModule, predictions: Mapping[str, Predictions]
) -> None:
    """images/<index>.jpg of the images that were predicted, as the network saw them.

    Where there are reconstructions, images/<index>_reconstruction.jpg too.
    """
    numbers = np.unique(np.concatenate([of.index for of in predictions.values()]))[:MAX_THUMBNAILS]
    (folder / RunFiles.IMAGES).mkdir(parents=True, exist_ok=True)
    for number in numbers.tolist():
        _write_thumbnail(folder, f"{number}", data.dataset.cache.images[number])
    for of_stage in predictions.values():
        if of_stage.reconstructions is None:
            continue
        for row in np.flatnonzero(np.isin(of_stage.index, numbers)):
            name = f"{of_stage.index[row]}_reconstruction"
            _write_thumbnail(folder, name, of_stage.reconstructions[row])


def _write_thumbnail(folder: Path, name: str, pixels: np.ndarray) -> None:
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    image.save(folder / RunFiles.IMAGES / f"{name}.jpg", quality=85)
