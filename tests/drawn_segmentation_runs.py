"""Finished runs that mark pixels, a fold each, for tests of comparisons; nothing is trained.

What is marked lies a few columns beside the true defect, a little more or less in each photograph.
The probabilities of classes say "good" of every image, and the same of each: neither the largest of
them nor one less that of good is what these runs decide by.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capsule_inspection.contracts import Predictions
from capsule_inspection.metrics.marked_runs import marking_figures
from capsule_inspection.metrics.names import with_stage
from capsule_inspection.reports.run_folder import RunFolder, read_run

CLASSES = ("good", "crack", "poke")
HEIGHT, WIDTH, FIRST, LENGTH = 10, 40, 10, 10
"""Of the maps, and where a defect begins and how long it is, in columns."""

Images = tuple[np.ndarray, np.ndarray]
"""Number of each photograph, and its class index: (N,) both."""


def images_of_fold(fold: int, *, good: int = 8, defects: int = 12) -> Images:
    """Photographs of the fold's own: good ones, then defects of both classes in turns."""
    label = np.array([0] * good + [1 + i % 2 for i in range(defects)])
    return 100 * fold + np.arange(len(label)), label


def draw_segmentation_run(
    folder: Path,
    *,
    model: str = "unet",
    fold: int | None = None,
    seed: int = 0,
    images: Images | None = None,
    beside: int = 1,
    binary: bool = False,
    maps: bool = True,
    thumbnails: bool = False,
    monitored: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> RunFolder:
    """A run whose marks lie `beside` columns off the defect, up to two more by chance.

    Runs of equal seed have the same chance in a photograph, so that `beside` alone differs. A mark
    is named as its defect is, but in every fifth photograph as the other one.
    """
    number, label = images_of_fold(fold or 0) if images is None else images
    folder.mkdir(parents=True)
    names = (CLASSES[0], "defect") if binary else CLASSES
    truth, marked = _masks(number, label, seed=seed, beside=beside)
    marked = marked.clip(max=len(names) - 1)
    called = marked.reshape(len(label), -1).max(axis=1).astype(np.int64)
    score = np.where(called > 0, 0.8, 0.2) + 0.001 * (number % 7)
    foreground = np.where(marked > 0, 0.9, 0.1).astype(np.float16)
    _write_settings(folder, model, fold, seed, binary=binary, changed=settings or {})
    _write_record(folder, model, seed, len(label), monitored, record or {})
    probabilities = None if binary else np.tile([0.5, 0.3, 0.2], (len(label), 1))
    _write_predictions(folder, fold, (number, label), called, score, names, probabilities)
    found = Predictions(
        number, label, probabilities, score, 0.5, maps=foreground, called=called, marked=marked
    )
    valid = np.ones_like(truth, dtype=bool)
    figures = marking_figures(found, list(truth), valid, classes=CLASSES)
    if maps:
        inside = np.tile(np.array([0, 0, WIDTH, HEIGHT], np.int32), (len(label), 1))
        np.savez(folder / "maps.npz", index=number, maps=foreground, masks=truth, marked=marked,
                 inside=inside)  # fmt: skip
    values = {key: vars(value) for key, value in with_stage(figures, "test").items()}
    (folder / "metrics.json").write_text(json.dumps(values), encoding="utf-8")
    rows = [[e, 5.0, 2 / (e + 1), 1.2, 0.1 * e, 0.1 * e] for e in range(6)]
    header = ["epoch", "seconds", "train/loss", "val/loss"]
    header += ["val/foreground_dice", "val/foreground_dice_smoothed"]
    _write_csv(folder / "metrics.csv", header, rows)
    (folder / "images").mkdir()
    for index in number.tolist() if thumbnails else []:
        picture = np.full((20, 80, 3), 100 + index % 100, np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{index}.jpg")
    return read_run(folder)


def draw_segmentation_folds(
    folder: Path, *, model: str = "unet", folds: int = 3, **changed: Any
) -> list[RunFolder]:
    """Runs of all folds of one model."""
    return [
        draw_segmentation_run(folder / f"{model}{fold}", model=model, fold=fold, **changed)
        for fold in range(folds)
    ]


def _masks(
    number: np.ndarray, label: np.ndarray, *, seed: int, beside: int
) -> tuple[np.ndarray, np.ndarray]:
    """True classes and marked ones: (N, H, W) uint8 each."""
    truth = np.zeros((len(label), HEIGHT, WIDTH), np.uint8)
    marked = np.zeros_like(truth)
    for row, (photograph, of_image) in enumerate(zip(number.tolist(), label.tolist(), strict=True)):
        chance = int(np.random.default_rng([seed, photograph]).integers(0, 3))
        if of_image:
            truth[row, 3:6, FIRST : FIRST + LENGTH] = of_image
            name = 3 - of_image if photograph % 5 == 0 else of_image
            first = FIRST + beside + chance
            marked[row, 3:6, first : first + LENGTH] = name
        elif photograph % 7 == 0:
            marked[row, 8, : 1 + chance] = 1
    return truth, marked


def _write_settings(
    folder: Path,
    model: str,
    fold: int | None,
    seed: int,
    *,
    binary: bool,
    changed: Mapping[str, Any],
) -> None:
    settings = {
        "seed": seed,
        "model": {"name": model, "classes": "binary" if binary else "defects"},
        "task": {"monitor": "val/foreground_dice", "monitor_smoothing": 0.8},
        "split": {"name": "holdout"} if fold is None else {"name": "kfold", "fold": fold},
        "threshold": None,
    }
    for key, value in changed.items():
        of_key = settings.get(key)
        settings[key] = {**of_key, **value} if isinstance(of_key, dict) else value
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")


def _write_record(
    folder: Path,
    model: str,
    seed: int,
    images: int,
    monitored: float,
    changed: Mapping[str, Any],
) -> None:
    counts = {"train": 100, "val": 4, "test": images}
    record = {
        "format_version": 1,
        "status": "finished",
        "seed": seed,
        "task": "segmentation",
        "model": model,
        "optimistic": False,
        "data": {"name": "drawn", "classes": list(CLASSES), "images": counts, "fingerprint": "f"},
        "weights": {"source": "random"},
        "decision": {"probability": 0.5, "area_px": 5, "good_images": 2, "defect_images": 2},
        "epochs": 6,
        "best_epoch": 4,
        "monitor": {"key": "val/foreground_dice_smoothed", "value": monitored},
        "training_time_s": 60.0,
        "network": {"parameters": 1_000_000, "flops": 2_000_000_000},
        **changed,
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")


def _write_predictions(
    folder: Path,
    fold: int | None,
    images: Images,
    called: np.ndarray,
    score: np.ndarray,
    names: Sequence[str],
    probabilities: np.ndarray | None,
) -> None:
    header = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score"]
    header += ["threshold", *([f"p_{name}" for name in CLASSES] if len(names) > 2 else [])]
    rows = []
    for row, (number, label) in enumerate(zip(*(array.tolist() for array in images), strict=True)):
        of_image = [] if probabilities is None else probabilities[row].tolist()
        rows.append(
            [number, f"x/{number}.png", f"{number:064x}", "test", "" if fold is None else fold,
             CLASSES[label], names[called[row]], score[row], 0.5, *of_image]
        )  # fmt: skip
    _write_csv(folder / "predictions.csv", header, rows)


def _write_csv(path: Path, header: list[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
