"""Finished run folders with predictions to order, for tests of comparisons; nothing is trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("good", "crack", "poke")


def labels_of(images: int, *, good: int | None = None) -> np.ndarray:
    """Class index of each image: two thirds good, the rest in turns."""
    first = 2 * images // 3 if good is None else good
    return np.array([0] * first + [1 + i % 2 for i in range(images - first)])


def draw_run(
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
    epochs: int = 12,
    thumbnails: bool = True,
) -> Path:
    """A run that is wrong on the test images of these numbers, and on one validation image of six.

    Image i of any run with the same `first_image` is the same photograph.
    """
    label = labels_of(images) if label is None else label
    folder.mkdir(parents=True)
    _write_record(folder, model, seed, classes, len(label), record or {})
    split: dict[str, Any] = {"name": "kfold", "fold": fold, "folds": 5}
    config = {
        "seed": seed,
        "model": {"name": model},
        "split": split if fold is not None else {"name": "holdout"},
        **(settings or {}),
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    called = np.where(
        np.isin(np.arange(len(label)), list(wrong)), (label + 1) % len(classes), label
    )
    rows = _rows("test", label, called, classes, first_image, fold)
    val = labels_of(6)
    rows += _rows("val", val, np.array([0, 0, 0, 0, 1, 1]), classes, 10_000 + first_image, fold)
    header = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score"]
    _write_csv(folder / "predictions.csv", [*header, *(f"p_{name}" for name in classes)], rows)
    _write_figures(folder, label, called, classes)
    _write_epochs(folder, epochs)
    if thumbnails:
        (folder / "images").mkdir()
        for number in wrong:
            picture = np.full((20, 60, 3), 40 + 3 * (number % 60), np.uint8)
            Image.fromarray(picture).save(folder / "images" / f"{first_image + number}.jpg")
    return folder


def _write_record(
    folder: Path,
    model: str,
    seed: int,
    classes: Sequence[str],
    images: int,
    changed: Mapping[str, Any],
) -> None:
    record = {
        "format_version": 1,
        "status": "finished",
        "seed": seed,
        "task": "classification",
        "model": model,
        "optimistic": False,
        "data": {
            "name": "drawn",
            "classes": list(classes),
            "images": {"train": 200, "val": 6, "test": images},
            "fingerprint": "f" * 8,
        },
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
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


def _probabilities(called: np.ndarray, num_classes: int) -> np.ndarray:
    """Sure of what was called, a little less so in turns."""
    rest = 0.3 / (num_classes - 1) + 0.001 * (np.arange(len(called)) % 7)
    probabilities = np.repeat(rest[:, np.newaxis], num_classes, axis=1)
    probabilities[np.arange(len(called)), called] = 1 - rest * (num_classes - 1)
    return probabilities


def _rows(
    stage: str,
    label: np.ndarray,
    called: np.ndarray,
    classes: Sequence[str],
    first: int,
    fold: int | None,
) -> list[list[Any]]:
    fold_text = "" if fold is None else fold
    return [
        [
            *(first + i, f"x/{first + i}.png", f"{first + i:064x}", stage, fold_text),
            *(classes[label[i]], classes[called[i]], 1 - of_image[0], *of_image),
        ]
        for i, of_image in enumerate(_probabilities(called, len(classes)))
    ]


def _write_figures(
    folder: Path, label: np.ndarray, called: np.ndarray, classes: Sequence[str]
) -> None:
    from capsule_inspection.metrics.classification import classification_figures
    from capsule_inspection.metrics.names import with_stage

    probabilities = _probabilities(called, len(classes))
    figures = with_stage(classification_figures(label, probabilities, classes=classes), "test")
    val = {"value": 0.8, "low": 0.4, "high": 0.95, "n": 6}
    values: dict[str, Any] = {key: vars(figure) for key, figure in figures.items()}
    values |= {"val/accuracy": val, "val/balanced_accuracy": val}
    (folder / "metrics.json").write_text(json.dumps(values), encoding="utf-8")


def _write_epochs(folder: Path, epochs: int) -> None:
    header = ["epoch", "seconds", "train/loss", "val/loss", "train/balanced_accuracy"]
    header += ["val/accuracy", "val/balanced_accuracy"]
    rows = [
        [e, 5.0, 1.5 / (e + 1), 1.2, 0.9, 1 - 0.5 / (e + 1), 1 - 0.6 / (e + 1)]
        for e in range(epochs)
    ]
    _write_csv(folder / "metrics.csv", header, rows)


def _write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
