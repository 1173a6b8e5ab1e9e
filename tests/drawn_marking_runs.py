"""Finished runs that mark pixels, to order, for tests of reports; nothing is trained.

The marks of a class slide off its defects, image by image; so the first of a class is the best. Of
the good images the first is marked, the last defect is missed, and the second of the first defect
class is taken for the second.
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

CLASSES = ("good", "crack", "poke")
LEVEL = 0.5
HEIGHT, WIDTH, PADDING = 10, 31, 1
"""Of the maps; the padding is at the left."""


def draw_marking_run(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    images: Sequence[int] = (12, 5, 4),
    binary: bool = False,
    maps: bool = True,
    masks: bool = True,
    marked: bool = True,
    thumbnails: bool = True,
    overlap_columns: bool = False,
    decision: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """A run with so many test images of each class, and four validation images.

    `binary` runs tell no defects apart; `marked` is absent from the maps of runs that decide of no
    pixels; `overlap_columns` are those of predictions.csv.
    """
    folder.mkdir(parents=True)
    label = np.repeat(np.arange(len(images)), images)
    truth, found = _masks(label, binary=binary)
    foreground = np.where(found > 0, 0.9, 0.2 * np.random.default_rng(0).random(found.shape))
    called = found.reshape(len(label), -1).max(axis=1, initial=0).astype(np.int64)
    score = np.where(called > 0, 0.9, 0.1 + 0.001 * np.arange(len(label)))
    names = (classes[0], "defect") if binary else tuple(classes)
    _write_record(folder, classes, len(label), decision, record or {})
    settings = {"data": {"image_size": [HEIGHT, WIDTH], "painted": 0.4, "pasted": 0.2},
                "task": {"defects": 0.25}}  # fmt: skip
    _write_json(folder / "config.yaml", settings)
    probabilities = None if binary else _probabilities(called, len(classes))
    overlap = _overlaps(truth, found) if overlap_columns else None
    _write_predictions(folder, classes, names, label, called, score, probabilities, overlap)
    truth = truth * np.uint8(masks)
    if maps:
        arrays = {"marked": found} if marked else {}
        inside = np.tile(np.array([PADDING, 0, WIDTH, HEIGHT], np.int32), (len(label), 1))
        np.savez(folder / "maps.npz", index=np.arange(len(label)), inside=inside,
                 maps=foreground.astype(np.float16), masks=truth, **arrays)  # fmt: skip
    found_of_run = Predictions(
        np.arange(len(label)), label, probabilities, score, 0.5,
        maps=foreground, called=called, marked=found,
    )  # fmt: skip
    valid = np.ones_like(found, dtype=bool)
    figures = marking_figures(found_of_run, list(truth), valid, classes=classes)
    values = {key: vars(value) for key, value in with_stage(figures, "test").items()}
    _write_json(folder / "metrics.json", values)
    rows = [[e, 2 / (e + 1), 1.2, 0.1 * e, 0.12 * e, 0.08 * e] for e in range(4)]
    header = ["epoch", "train/loss", "val/loss", "val/foreground_dice"]
    header += ["val/foreground_dice_smoothed", "val/mean_iou"]
    _write_csv(folder / "metrics.csv", header, rows)
    (folder / "images").mkdir()
    for number in range(len(label) if thumbnails else 0):
        picture = np.full((20, 62, 3), 100 + number % 150, np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{number}.jpg")
    return folder


def _masks(label: np.ndarray, *, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """True classes and marked ones: (N, H, W) uint8 each; `binary` marks have one class."""
    truth = np.zeros((len(label), HEIGHT, WIDTH), np.uint8)
    found = np.zeros_like(truth)
    for row, of_image in enumerate(label):
        number = row - int(np.argmax(label == of_image))
        if of_image:
            truth[row, 3:6, 10:20] = of_image
            swapped = of_image == 1 and number == 1 and label.max() > 1
            found[row, 3:6, 10 + number : 20 + number] = 2 if swapped else of_image
        elif not row:
            found[row, 7:9, 25:30] = label.max()
    if len(label) and label[-1]:
        found[-1] = 0
    return truth, found.clip(max=1) if binary else found


def _overlaps(truth: np.ndarray, found: np.ndarray) -> list[list[Any]]:
    """Dice and IoU of any defect of each image, empty where it has none."""
    rows: list[list[Any]] = []
    for of_image, marks in zip(truth > 0, found > 0, strict=True):
        both, sum_ = (of_image & marks).sum(), of_image.sum() + marks.sum()
        rows.append([2 * both / sum_, both / (sum_ - both)] if of_image.any() else ["", ""])
    return rows


def _probabilities(called: np.ndarray, num_classes: int) -> np.ndarray:
    probabilities = np.full((len(called), num_classes), 0.3 / (num_classes - 1))
    probabilities[np.arange(len(called)), called] = 0.7
    return probabilities


def _write_record(
    folder: Path,
    classes: Sequence[str],
    images: int,
    decision: Mapping[str, Any] | None,
    changed: Mapping[str, Any],
) -> None:
    decided = {"probability": LEVEL, "area_px": 5, "good_images": 2, "defect_images": 2}
    counts = {"train": 100, "val": 4, "test": images}
    record = {
        "format_version": 1,
        "status": "finished",
        "seed": 0,
        "task": "segmentation",
        "model": "unet",
        "optimistic": False,
        "data": {"name": "drawn", "classes": list(classes), "images": counts, "fingerprint": "f"},
        "weights": {"source": "random"},
        "decision": {**decided, **(decision or {})},
        "epochs": 4,
        "best_epoch": 2,
        "training_time_s": 60.0,
        "command": ["train.py", "model=unet"],
        **changed,
    }
    _write_json(folder / "run.json", record)


def _write_predictions(
    folder: Path,
    classes: Sequence[str],
    names: Sequence[str],
    label: np.ndarray,
    called: np.ndarray,
    score: np.ndarray,
    probabilities: np.ndarray | None,
    overlap: list[list[Any]] | None,
) -> None:
    header = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score"]
    header.append("threshold")
    header += [f"p_{name}" for name in classes] if probabilities is not None else []
    header += ["dice", "iou"] if overlap is not None else []
    none = [] if probabilities is None else [0.7, *[0.3 / (len(classes) - 1)] * (len(classes) - 1)]
    empty = [] if overlap is None else ["", ""]
    rows = [
        [200 + i, f"x/{200 + i}.png", f"{200 + i:064x}", "val", "", classes[0], classes[0],
         0.1, LEVEL, *none, *empty]
        for i in range(4)
    ]  # fmt: skip
    for i in range(len(label)):
        of_image = [] if probabilities is None else probabilities[i].tolist()
        rows.append(
            [i, f"x/{i}.png", f"{i:064x}", "test", "", classes[label[i]], names[called[i]],
             score[i], LEVEL, *of_image, *([] if overlap is None else overlap[i])]
        )  # fmt: skip
    _write_csv(folder / "predictions.csv", header, rows)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_csv(path: Path, header: list[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
