"""Sample run folders of classifiers, and what all sample runs share; nothing is trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capsule_inspection.metrics.classification import classification_metrics
from capsule_inspection.metrics.names import with_stage
from capsule_inspection.types import Estimate

CLASSES = ("good", "crack", "poke")
HEADER = ("index", "path", "sha256", "group", "split", "fold", "label", "predicted_label", "score")


def labels_of(images: int, *, good: int | None = None) -> np.ndarray:
    """Class index of each image: two thirds good, the rest in turns."""
    first = 2 * images // 3 if good is None else good
    return np.array([0] * first + [1 + i % 2 for i in range(images - first)])


def write_classification_run(
    folder: Path,
    *,
    model: str = "custom_resnet",
    wrong: Sequence[int] = (),
    images: int = 66,
    seed: int = 0,
    fold: int | None = None,
    settings: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    classes: Sequence[str] = CLASSES,
    label: np.ndarray | None = None,
    first_image: int = 0,
    thumbnails: bool = True,
) -> Path:
    """A run with errors on the test images of these numbers, and on one validation image of six.

    Image i of any run with the same `first_image` is the same image.
    """
    label = labels_of(images) if label is None else label
    is_wrong = np.isin(np.arange(len(label)), list(wrong))
    predicted_label = np.where(is_wrong, (label + 1) % len(classes), label)
    stages = (
        ("test", first_image, label, predicted_label),
        ("val", 10_000 + first_image, labels_of(6), np.array([0, 0, 0, 0, 1, 1])),
    )
    rows = [
        prediction_row(first + i, stage, fold, classes[truth[i]], classes[found[i]], 1 - of[0], *of)
        for stage, first, truth, found in stages
        for i, of in enumerate(_probabilities(found, len(classes)))
    ]
    probabilities = _probabilities(predicted_label, len(classes))
    metrics = with_stage(classification_metrics(label, probabilities, classes=classes), "test")
    val = Estimate(0.8, 0.4, 0.95, 6)
    split: dict[str, Any] = {"name": "kfold", "fold": fold, "folds": 5}
    held_out = {"name": "holdout"}
    header = ["epoch", "seconds", "train/loss", "val/loss", "train/balanced_accuracy"]
    header += ["val/accuracy", "val/balanced_accuracy"]
    return write_run(
        folder,
        record=run_record(
            model, seed, classes, {"train": 200, "val": 6, "test": len(label)}, record or {}
        ),
        config={
            "seed": seed,
            "model": {"name": model},
            "split": held_out if fold is None else split,
            **(settings or {}),
        },
        predictions=[[*HEADER, *(f"p_{name}" for name in classes)], *rows],
        metrics=metrics | {"val/accuracy": val, "val/balanced_accuracy": val},
        epochs=[header]
        + [[e, 5.0, 1.5 / (e + 1), 1.2, 0.9, 1 - 0.5 / (e + 1), 1 - 0.6 / (e + 1)]
           for e in range(12)],
        thumbnails={f"{first_image + n}": 40 + 3 * (n % 60) for n in wrong} if thumbnails else {},
    )  # fmt: skip


def run_record(
    model: str,
    seed: int,
    classes: Sequence[str],
    images: Mapping[str, int],
    changed: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of run.json of a classifier, with changes."""
    data = {"name": "sample", "classes": list(classes), "images": images, "fingerprint": "f" * 8}
    return {
        "format_version": 1,
        "status": "finished",
        "seed": seed,
        "task": "classification",
        "model": model,
        "optimistic": False,
        "data": data,
        "weights": {"source": "random"},
        "epochs": 12,
        "best_epoch": 8,
        "monitor": {"key": "val/balanced_accuracy_smoothed", "value": 0.8},
        "training_time_s": 60.0 + len(model),
        "images_per_second": 40.0,
        "peak_memory_bytes": {"resident": 10**9},
        "network": {"parameters": 1_000_000 * len(model), "flops": 2_000_000_000},
        "inference_ms_per_image": 3.5,
        "hardware": {"processor": "a processor", "device": "cpu", "threads": 2},
        **changed,
    }


def prediction_row(
    number: int,
    stage: str,
    fold: int | None,
    label: str,
    predicted_label: str,
    score: float,
    *more: Any,
    group: str = "",
) -> list[Any]:
    """A row of predictions.csv."""
    file = (f"x/{number}.png", f"{number:064x}")
    return [
        number,
        *file,
        group,
        stage,
        "" if fold is None else fold,
        label,
        predicted_label,
        score,
        *more,
    ]


def write_run(
    folder: Path,
    *,
    record: Mapping[str, Any],
    config: Mapping[str, Any] | None,
    predictions: Iterable[Sequence[Any]],
    metrics: Mapping[str, Estimate],
    epochs: Iterable[Sequence[Any]],
    thumbnails: Mapping[str, int],
) -> Path:
    """Write the files of a run; `thumbnails` is the grey of each."""
    (folder / "images").mkdir(parents=True)
    values = {key: estimate.as_dict() for key, estimate in metrics.items()}
    contents = {"run.json": record, "config.yaml": config, "metrics.json": values}
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    for name, rows in {"predictions.csv": predictions, "metrics.csv": epochs}.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    for name, grey in thumbnails.items():
        thumbnail = np.full((20, 60, 3), grey, np.uint8)
        Image.fromarray(thumbnail).save(folder / "images" / f"{name}.jpg")
    return folder


def _probabilities(predicted_label: np.ndarray, num_classes: int) -> np.ndarray:
    """Highest for the predicted class, with small variations."""
    rest = 0.3 / (num_classes - 1) + 0.001 * (np.arange(len(predicted_label)) % 7)
    probabilities = np.repeat(rest[:, np.newaxis], num_classes, axis=1)
    probabilities[np.arange(len(predicted_label)), predicted_label] = 1 - rest * (num_classes - 1)
    return probabilities
