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


def draw_anomaly_run(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    images: Sequence[int] = (12, 5, 4),
    calibration: int = 20,
    threshold: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    maps: bool = True,
    masks: bool = True,
    thumbnails: bool = True,
    reconstructions: bool = True,
    separation: float = 2.0,
) -> Path:
    """A one-class run: so many test images of each class, scores that part by `separation`.

    Maps have padding of one pixel at the left, and are high where the mask is.
    """
    folder.mkdir(parents=True)
    label = np.repeat(np.arange(len(images)), images)
    set_by = {
        "value": 1.0,
        "rule": "conformal",
        "good_images": calibration,
        "defect_images": 0,
        "false_alarm_rate": 0.1,
        "enough": True,
        "needed": 9,
        **(threshold or {}),
    }
    counts = {"train": 100, "val": 4, "calibration": calibration, "test": len(label)}
    data = {"name": "drawn", "classes": list(classes), "images": counts, "fingerprint": "f" * 8}
    changed = {"task": "reconstruction", "data": data, "threshold": set_by, "corruption": "painted",
               "monitor": None, "command": ["train.py", "model=autoencoder"]}  # fmt: skip
    _write_record(folder, "autoencoder", 0, classes, len(label), {**changed, **(record or {})})
    score = 0.5 + 0.04 * (np.arange(len(label)) % 7) + separation * 0.4 * (label > 0)
    score[0] = 1.2  # one good image is rejected
    score[-1] = 0.7  # one defect is missed
    rows = [
        row
        for stage, first, of_stage, scores in (
            ("val", 200, np.zeros(4, int), np.full(4, 0.6)),
            ("calibration", 300, np.zeros(calibration, int), np.linspace(0.4, 0.9, calibration)),
            ("test", 0, label, score if len(label) else np.zeros(0)),
        )
        for row in _anomaly_rows(stage, first, of_stage, scores, classes, set_by["value"])
    ]
    header = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score"]
    _write_csv(folder / "predictions.csv", [*header, "threshold"], rows)
    if maps:
        _write_maps(folder, label, masks=masks)
    _write_anomaly_figures(folder, label, score, classes, set_by["value"], masks=maps and masks)
    header = ["epoch", "seconds", "train/loss", "train/reconstruction", "val/loss"]
    _write_csv(
        folder / "metrics.csv", header, [[e, 5.0, 3 / (e + 1), 2 / (e + 1), 1.2] for e in range(4)]
    )
    kinds = ["", "_reconstruction"] if reconstructions else [""]
    (folder / "images").mkdir()
    for number in range(len(label) if thumbnails else 0):
        for kind in kinds:
            picture = np.full((20, 60, 3), 100 + number % 150, np.uint8)
            Image.fromarray(picture).save(folder / "images" / f"{number}{kind}.jpg")
    return folder


def _anomaly_rows(
    stage: str,
    first: int,
    label: np.ndarray,
    score: np.ndarray,
    classes: Sequence[str],
    threshold: float,
) -> list[list[Any]]:
    return [
        [
            *(first + i, f"x/{first + i}.png", f"{first + i:064x}", stage, ""),
            *(classes[label[i]], "defect" if score[i] > threshold else classes[0]),
            *(score[i], threshold),
        ]
        for i in range(len(label))
    ]


def _write_maps(folder: Path, label: np.ndarray, *, masks: bool) -> None:
    generator = np.random.default_rng(0)
    mask = np.zeros((len(label), 10, 31), np.uint8)
    mask[label > 0, 3:6, 10:20] = 1
    anomaly_map = generator.random(mask.shape) + 1.5 * mask
    np.savez(
        folder / "maps.npz",
        index=np.arange(len(label)),
        maps=anomaly_map.astype(np.float16),
        masks=mask * label[:, np.newaxis, np.newaxis].astype(np.uint8) * np.uint8(masks),
        inside=np.tile(np.array([1, 0, 31, 10], np.int32), (len(label), 1)),
    )


def _write_anomaly_figures(
    folder: Path,
    label: np.ndarray,
    score: np.ndarray,
    classes: Sequence[str],
    threshold: float,
    *,
    masks: bool,
) -> None:
    from capsule_inspection.metrics.detection import anomaly_figures
    from capsule_inspection.metrics.localisation import localisation_figures
    from capsule_inspection.metrics.names import with_stage
    from capsule_inspection.metrics.pixel_counts import count_pixels

    figures = anomaly_figures(
        label > 0,
        score > threshold,
        score,
        class_names_of_images=np.array(classes)[label],
        false_alarm_rate=0.05,
    )
    if masks:
        with np.load(folder / "maps.npz") as stored:
            figures |= localisation_figures(count_pixels(stored["maps"], stored["masks"]))
    values = {key: vars(figure) for key, figure in with_stage(figures, "test").items()}
    (folder / "metrics.json").write_text(json.dumps(values), encoding="utf-8")
