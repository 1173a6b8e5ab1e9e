"""The files of a run folder that hold metrics and predictions."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import atomic_write, atomic_write_text
from capsule_inspection.types import (
    DataIndex,
    Estimate,
    Predictions,
    RunFiles,
)

MAX_THUMBNAILS = 500
THUMBNAIL_PX = 256


def write_predictions(
    folder: Path,
    index: DataIndex,
    predictions: Mapping[str, Predictions],
    *,
    classes: Sequence[str],
    fold: int | None,
) -> None:
    """predictions.csv: a row for each image of each stage."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["index", "path", "sha256", "group", "split", "fold", "label", "predicted_label"]
    columns += ["score", "threshold"]
    if all(found.probabilities is not None for found in predictions.values()):
        columns += [f"p_{name}" for name in index.classes]
    if all(found.overlap is not None for found in predictions.values()):
        columns += ["dice", "iou"]
    writer.writerow(columns)
    group_names = _group_names(index)
    for stage, of_stage in predictions.items():
        for row in range(len(of_stage.index)):
            writer.writerow(
                _prediction_row(
                    index,
                    of_stage,
                    row,
                    classes=classes,
                    group=group_names[of_stage.index[row]],
                    split=stage,
                    fold=fold,
                )
            )
    atomic_write_text(folder / RunFiles.PREDICTIONS, text.getvalue())


def _group_names(index: DataIndex) -> list[str]:
    """The group of each image; "" of one that stands alone, named after its content."""
    sizes = Counter(sample.group for sample in index.samples)
    return [
        "" if sizes[sample.group] == 1 and sample.sha256.startswith(sample.group) else sample.group
        for sample in index.samples
    ]


def _prediction_row(
    index: DataIndex, predictions: Predictions, row: int, *, classes: Sequence[str], **columns: Any
) -> list[Any]:
    number = int(predictions.index[row])
    sample = index.samples[number]
    probabilities: Sequence[float] = ()
    if predictions.probabilities is not None:
        probabilities = predictions.probabilities[row].tolist()
    return [
        number,
        sample.path,
        sample.sha256,
        columns["group"],
        columns["split"],
        "" if columns["fold"] is None else columns["fold"],
        index.classes[sample.label],
        classes[predictions.predicted_label[row]],
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


def write_metrics(folder: Path, metrics: Mapping[str, Estimate]) -> None:
    """metrics.json."""
    values = {key: estimate.as_dict() for key, estimate in metrics.items()}
    atomic_write_text(folder / RunFiles.METRICS, json.dumps(values, indent=2) + "\n")


def write_maps(folder: Path, data: InspectionDataModule, found: Predictions) -> None:
    """maps.npz and explanations.npz of the test images, what the task has of them.

    Maps and masks at the size that the network saw.
    """
    if found.anomaly_map is not None:
        marked = {} if found.predicted_mask is None else {"predicted_mask": found.predicted_mask}
        _write_maps(
            folder / RunFiles.MAPS, data, found.index, {"anomaly_map": found.anomaly_map, **marked}
        )
    if found.explanations is not None:
        explained = found.explanations
        maps = {"anomaly_map": explained.maps}
        _write_maps(folder / RunFiles.EXPLANATIONS, data, explained.index, maps)


def _write_maps(
    path: Path, data: InspectionDataModule, index: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> None:
    """Arrays of the images of an index (T,), with their masks and what is no padding."""
    cache = data.dataset.cache
    kept: dict[str, Any] = {
        "index": index,
        "masks": cache.masks[index],
        "content_box": cache.content_boxes[index],
        **arrays,
    }
    with atomic_write(path) as part, part.open("wb") as file:
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
        if of_stage.reconstruction is None:
            continue
        for row in np.flatnonzero(np.isin(of_stage.index, numbers)):
            name = f"{of_stage.index[row]}_reconstruction"
            _write_thumbnail(folder, name, of_stage.reconstruction[row])


def _write_thumbnail(folder: Path, name: str, pixels: np.ndarray) -> None:
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    image.save(folder / RunFiles.IMAGES / f"{name}.jpg", quality=85)
