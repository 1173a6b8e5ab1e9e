"""Finished runs that mark pixels, to order, for tests of reports; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drawn_runs import CLASSES, HEADER, prediction, run_record, write_run

from capsule_inspection.metrics.marked_runs import marking_figures
from capsule_inspection.metrics.names import with_stage
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.types import Predictions

Images = tuple[np.ndarray, np.ndarray]
"""Number of each image, and its class index: (N,) both."""


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
    """A run with so many test images of each class, for its page and its pictures.

    The marks of a class slide off its defects, image by image; so the first of a class is the best.
    Of the good images the first is marked, the last defect is missed, and the second of the first
    defect class is taken for the second. `overlap_columns` are those of predictions.csv.
    """
    label = np.repeat(np.arange(len(images)), images)
    truth, found = np.zeros((2, len(label), 10, 31), np.uint8)
    for row, of_image in enumerate(label):
        number = row - int(np.argmax(label == of_image))
        if of_image:
            truth[row, 3:6, 10:20] = of_image
            swapped = of_image == 1 and number == 1 and label.max() > 1
            found[row, 3:6, 10 + number : 20 + number] = 2 if swapped else of_image
        elif not row:
            found[row, 7:9, 25:30] = label.max()
    if label[-1]:
        found[-1] = 0
    found = found.clip(max=1) if binary else found
    called = found.reshape(len(label), -1).max(axis=1).astype(np.int64)
    probabilities = np.full((len(label), len(classes)), 0.3 / (len(classes) - 1))
    probabilities[np.arange(len(label)), called] = 0.7
    chance = 0.2 * np.random.default_rng(0).random(found.shape)
    return _write(
        folder,
        images=(np.arange(len(label)), label),
        truth=truth * np.uint8(masks),
        marked=found,
        foreground=np.where(found > 0, 0.9, chance),
        score=np.where(called > 0, 0.9, 0.1 + 0.001 * np.arange(len(label))),
        probabilities=None if binary else probabilities,
        classes=classes,
        padding=1,
        config={"data": {"image_size": [10, 31], "painted": 0.4, "pasted": 0.2},
                "task": {"defects": 0.25}},
        record={"command": ["train.py", "model=unet"], **(record or {})},
        decision=decision or {},
        overlap=_overlaps(truth, found) if overlap_columns else None,
        stored=("maps", *(("marked",) if marked else ())) if maps else (),
        thumbnails=thumbnails,
    )  # fmt: skip


def images_of_fold(fold: int, *, good: int = 8, defects: int = 12) -> Images:
    """Images of the fold's own: good ones, then defects of both classes in turns."""
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
    """A run, for comparisons, whose marks lie `beside` columns off, up to two more by chance.

    Runs of equal seed have the same chance in an image, so that `beside` alone differs. A mark is
    named as its defect is, but in every fifth image as the other one. The probabilities of classes
    say "good" of every image, and the same of each: neither the largest of them nor one less that
    of good is what these runs decide by.
    """
    number, label = images_of_fold(fold or 0) if images is None else images
    truth, marked = np.zeros((2, len(label), 10, 40), np.uint8)
    for row, (image, of_image) in enumerate(zip(number.tolist(), label.tolist(), strict=True)):
        chance = int(np.random.default_rng([seed, image]).integers(0, 3))
        if of_image:
            truth[row, 3:6, 10:20] = of_image
            first = 10 + beside + chance
            marked[row, 3:6, first : first + 10] = 3 - of_image if image % 5 == 0 else of_image
        elif image % 7 == 0:
            marked[row, 8, : 1 + chance] = 1
    marked = marked.clip(max=1) if binary else marked
    config: dict[str, Any] = {
        "seed": seed,
        "model": {"name": model, "classes": "binary" if binary else "defects"},
        "task": {"monitor": "val/foreground_dice", "monitor_smoothing": 0.8},
        "split": {"name": "holdout"} if fold is None else {"name": "kfold", "fold": fold},
        "threshold": None,
    }
    for key, value in (settings or {}).items():
        config[key] = {**(config.get(key) or {}), **value}
    return read_run(
        _write(
            folder,
            images=(number, label),
            truth=truth,
            marked=marked,
            foreground=np.where(marked > 0, 0.9, 0.1),
            score=np.where(marked.any(axis=(1, 2)), 0.8, 0.2) + 0.001 * (number % 7),
            probabilities=None if binary else np.tile([0.5, 0.3, 0.2], (len(label), 1)),
            config=config,
            record={
                "model": model,
                "seed": seed,
                "monitor": {"key": "val/foreground_dice_smoothed", "value": monitored},
                **(record or {}),
            },
            fold=fold,
            stored=("maps", "marked") if maps else (),
            thumbnails=thumbnails,
        )
    )


def draw_segmentation_folds(
    folder: Path, *, model: str = "unet", folds: int = 3, **changed: Any
) -> list[RunFolder]:
    """Runs of all folds of one model."""
    return [
        draw_segmentation_run(folder / f"{model}{fold}", model=model, fold=fold, **changed)
        for fold in range(folds)
    ]


def change_maps(folder: Path, name: str, *, rows: Any = slice(None), value: Any) -> None:
    """Set some rows of an array of maps.npz."""
    with np.load(folder / "maps.npz") as stored:
        arrays = dict(stored)
    arrays[name][rows] = value
    np.savez(folder / "maps.npz", **arrays)


def _overlaps(truth: np.ndarray, found: np.ndarray) -> list[list[Any]]:
    """Dice and IoU of any defect of each image, empty where it has none."""
    rows: list[list[Any]] = []
    for of_image, marks in zip(truth > 0, found > 0, strict=True):
        both, sum_ = (of_image & marks).sum(), of_image.sum() + marks.sum()
        rows.append([2 * both / sum_, both / (sum_ - both)] if of_image.any() else ["", ""])
    return rows


def _write(
    folder: Path,
    *,
    images: Images,
    truth: np.ndarray,
    marked: np.ndarray,
    foreground: np.ndarray,
    score: np.ndarray,
    probabilities: np.ndarray | None,
    config: Mapping[str, Any],
    record: Mapping[str, Any],
    stored: Sequence[str],
    thumbnails: bool,
    classes: Sequence[str] = CLASSES,
    decision: Mapping[str, Any] | None = None,
    overlap: list[list[Any]] | None = None,
    fold: int | None = None,
    padding: int = 0,
) -> Path:
    number, label = images
    foreground = foreground.astype(np.float16)
    called = marked.reshape(len(label), -1).max(axis=1).astype(np.int64)
    names = (classes[0], "defect") if probabilities is None else classes
    found = Predictions(
        number, label, probabilities, score, 0.5, maps=foreground, called=called, marked=marked
    )
    valid = np.ones_like(marked, dtype=bool)
    figures = marking_figures(found, list(truth), valid, classes=classes)
    shares = [] if probabilities is None else probabilities.tolist()
    columns = [*HEADER, "threshold", *(f"p_{name}" for name in classes if shares)]
    of_val = [0.5] + [0.7, *[0.3 / (len(classes) - 1)] * (len(classes) - 1)] * bool(shares)
    rows = [
        prediction(5000 + i, "val", fold, classes[0], classes[0], 0.1, *of_val) for i in range(4)
    ]
    rows += [
        prediction(number[i], "test", fold, classes[label[i]], names[called[i]], score[i], 0.5,
                   *(shares[i] if shares else []))
        for i in range(len(label))
    ]  # fmt: skip
    if overlap is not None:
        columns += ["dice", "iou"]
        rows = [row + more for row, more in zip(rows, [["", ""]] * 4 + overlap, strict=True)]
    decided = {"probability": 0.5, "area_px": 5, "good_images": 2, "defect_images": 2}
    monitor = {"key": "val/foreground_dice_smoothed", "value": 0.5}
    changed = {"task": "segmentation", "epochs": 6, "best_epoch": 4, "monitor": monitor,
               "decision": {**decided, **(decision or {})}, **record}  # fmt: skip
    counts = {"train": 100, "val": 4, "test": len(label)}
    written = write_run(
        folder,
        record=run_record("unet", 0, classes, counts, changed),
        config=config,
        predictions=[columns, *rows],
        figures=with_stage(figures, "test"),
        epochs=[
            ["epoch", "seconds", "train/loss", "val/loss", "val/foreground_dice",
             "val/foreground_dice_smoothed", "val/mean_iou"],
            *([e, 5.0, 2 / (e + 1), 1.2, 0.1 * e, 0.1 * e, 0.08 * e] for e in range(6)),
        ],
        thumbnails={str(n): 100 + n % 100 for n in number.tolist()} if thumbnails else {},
    )  # fmt: skip
    arrays = {"maps": foreground, "marked": marked}
    if stored:
        box = np.array([padding, 0, marked.shape[2], marked.shape[1]], np.int32)
        np.savez(folder / "maps.npz", index=number, masks=truth,
                 inside=np.tile(box, (len(label), 1)),
                 **{name: arrays[name] for name in stored})  # fmt: skip
    return written
