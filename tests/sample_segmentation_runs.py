"""Sample run folders of segmentation models; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sample_runs import CLASSES, HEADER, prediction_row, run_record, write_run

from capsule_inspection.metrics.names import with_stage
from capsule_inspection.metrics.segmentation import segmentation_metrics
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import Predictions

Images = tuple[np.ndarray, np.ndarray]
"""Number of each image, and its class index: (N,) both."""


def write_segmentation_run(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    images: Sequence[int] = (12, 5, 4),
    binary: bool = False,
    maps: bool = True,
    masks: bool = True,
    predicted: bool = True,
    thumbnails: bool = True,
    overlap_columns: bool = False,
    post_processing: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """A run with these numbers of test images for each class.

    The predicted masks of a class move off its defects, image by image; the first of a class is the
    best. The first good image has a false positive, the last defect is missed, and the second image
    of the first defect class is predicted as the second class. `overlap_columns` adds dice and iou
    to predictions.csv.
    """
    label = np.repeat(np.arange(len(images)), images)
    target, mask = np.zeros((2, len(label), 10, 31), np.uint8)
    for row, of_image in enumerate(label):
        number = row - int(np.argmax(label == of_image))
        if of_image:
            target[row, 3:6, 10:20] = of_image
            swapped = of_image == 1 and number == 1 and label.max() > 1
            mask[row, 3:6, 10 + number : 20 + number] = 2 if swapped else of_image
        elif not row:
            mask[row, 7:9, 25:30] = label.max()
    if label[-1]:
        mask[-1] = 0
    mask = mask.clip(max=1) if binary else mask
    predicted_label = mask.reshape(len(label), -1).max(axis=1).astype(np.int64)
    probabilities = np.full((len(label), len(classes)), 0.3 / (len(classes) - 1))
    probabilities[np.arange(len(label)), predicted_label] = 0.7
    chance = 0.2 * np.random.default_rng(0).random(mask.shape)
    return _write(
        folder,
        images=(np.arange(len(label)), label),
        target=target * np.uint8(masks),
        predicted_mask=mask,
        foreground=np.where(mask > 0, 0.9, chance),
        score=np.where(predicted_label > 0, 0.9, 0.1 + 0.001 * np.arange(len(label))),
        probabilities=None if binary else probabilities,
        classes=classes,
        padding=1,
        config={"data": {"image_size": [10, 31], "synthetic_defects": 0.4, "copy_paste": 0.2,
                         "real_defects": 0.25}},
        record={"command": ["train.py", "model=unet"], **(record or {})},
        post_processing=post_processing or {},
        overlap=_overlaps(target, mask) if overlap_columns else None,
        stored=("anomaly_map", *(("predicted_mask",) if predicted else ())) if maps else (),
        thumbnails=thumbnails,
    )  # fmt: skip


def images_of_fold(fold: int, *, good: int = 8, defects: int = 12) -> Images:
    """Images of the fold's own: good ones, then defects of both classes in turns."""
    label = np.array([0] * good + [1 + i % 2 for i in range(defects)])
    return 100 * fold + np.arange(len(label)), label


def write_offset_segmentation_run(
    folder: Path,
    *,
    model: str = "unet",
    fold: int | None = None,
    seed: int = 0,
    images: Images | None = None,
    offset: int = 1,
    binary: bool = False,
    maps: bool = True,
    thumbnails: bool = False,
    monitored: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> RunFolder:
    """A run, for comparisons, with masks `offset` columns off, and up to two more at random.

    Runs of equal seed have the same random numbers for an image, so that only `offset` differs. A
    mask has the class of its defect, but in every fifth image the other one. The class
    probabilities are the same for every image, highest for good: they do not decide.
    """
    number, label = images_of_fold(fold or 0) if images is None else images
    target, mask = np.zeros((2, len(label), 10, 40), np.uint8)
    for row, (image, of_image) in enumerate(zip(number.tolist(), label.tolist(), strict=True)):
        chance = int(np.random.default_rng([seed, image]).integers(0, 3))
        if of_image:
            target[row, 3:6, 10:20] = of_image
            first = 10 + offset + chance
            mask[row, 3:6, first : first + 10] = 3 - of_image if image % 5 == 0 else of_image
        elif image % 7 == 0:
            mask[row, 8, : 1 + chance] = 1
    mask = mask.clip(max=1) if binary else mask
    config: dict[str, Any] = {
        "seed": seed,
        "model": {"name": model, "classes": "binary" if binary else "defects"},
        "task": {"monitor": "val/binary_dice", "monitor_smoothing": 0.8},
        "split": {"name": "holdout"} if fold is None else {"name": "kfold", "fold": fold},
        "threshold": None,
    }
    for key, value in (settings or {}).items():
        config[key] = {**(config.get(key) or {}), **value}
    return read_run(
        _write(
            folder,
            images=(number, label),
            target=target,
            predicted_mask=mask,
            foreground=np.where(mask > 0, 0.9, 0.1),
            score=np.where(mask.any(axis=(1, 2)), 0.8, 0.2) + 0.001 * (number % 7),
            probabilities=None if binary else np.tile([0.5, 0.3, 0.2], (len(label), 1)),
            config=config,
            record={
                "model": model,
                "seed": seed,
                "monitor": {"key": "val/binary_dice_smoothed", "value": monitored},
                **(record or {}),
            },
            fold=fold,
            stored=("anomaly_map", "predicted_mask") if maps else (),
            thumbnails=thumbnails,
        )
    )


def write_offset_segmentation_folds(
    folder: Path, *, model: str = "unet", folds: int = 3, **changed: Any
) -> list[RunFolder]:
    """Runs of all folds of one model."""
    return [
        write_offset_segmentation_run(folder / f"{model}{fold}", model=model, fold=fold, **changed)
        for fold in range(folds)
    ]


def change_maps(folder: Path, name: str, *, rows: Any = slice(None), value: Any) -> None:
    """Set some rows of an array of maps.npz."""
    with np.load(folder / "maps.npz") as stored:
        arrays = dict(stored)
    arrays[name][rows] = value
    np.savez(folder / "maps.npz", **arrays)


def _overlaps(target: np.ndarray, predicted: np.ndarray) -> list[list[Any]]:
    """Dice and IoU of any defect of each image, empty where it has none."""
    rows: list[list[Any]] = []
    for of_image, mask in zip(target > 0, predicted > 0, strict=True):
        both, sum_ = (of_image & mask).sum(), of_image.sum() + mask.sum()
        rows.append([2 * both / sum_, both / (sum_ - both)] if of_image.any() else ["", ""])
    return rows


def _write(
    folder: Path,
    *,
    images: Images,
    target: np.ndarray,
    predicted_mask: np.ndarray,
    foreground: np.ndarray,
    score: np.ndarray,
    probabilities: np.ndarray | None,
    config: Mapping[str, Any],
    record: Mapping[str, Any],
    stored: Sequence[str],
    thumbnails: bool,
    classes: Sequence[str] = CLASSES,
    post_processing: Mapping[str, Any] | None = None,
    overlap: list[list[Any]] | None = None,
    fold: int | None = None,
    padding: int = 0,
) -> Path:
    number, label = images
    foreground = foreground.astype(np.float16)
    predicted_label = predicted_mask.reshape(len(label), -1).max(axis=1).astype(np.int64)
    names = (classes[0], "defect") if probabilities is None else classes
    predictions = Predictions(
        number,
        label,
        probabilities,
        score,
        predicted_label,
        0.5,
        anomaly_map=foreground,
        predicted_mask=predicted_mask,
    )  # fmt: skip
    valid = np.ones_like(predicted_mask, dtype=bool)
    metrics = segmentation_metrics(predictions, list(target), valid, classes=classes)
    of_classes = [] if probabilities is None else probabilities.tolist()
    columns = [*HEADER, "threshold", *(f"p_{name}" for name in classes if of_classes)]
    of_val = [0.5] + [0.7, *[0.3 / (len(classes) - 1)] * (len(classes) - 1)] * bool(of_classes)
    rows = [
        prediction_row(5000 + i, "val", fold, classes[0], classes[0], 0.1, *of_val)
        for i in range(4)
    ]
    rows += [
        prediction_row(number[i], "test", fold, classes[label[i]], names[predicted_label[i]],
                       score[i], 0.5, *(of_classes[i] if of_classes else []))
        for i in range(len(label))
    ]  # fmt: skip
    if overlap is not None:
        columns += ["dice", "iou"]
        rows = [row + more for row, more in zip(rows, [["", ""]] * 4 + overlap, strict=True)]
    fitted = {
        "low_threshold": 0.5,
        "high_threshold": 0.5,
        "min_area_px": 5,
        "good_images": 2,
        "defect_images": 2,
    }
    monitor = {"key": "val/binary_dice_smoothed", "value": 0.5}
    changed = {"task": "segmentation", "epochs": 6, "best_epoch": 4, "monitor": monitor,
               "mask_postprocessing": {**fitted, **(post_processing or {})},
               **record}  # fmt: skip
    counts = {"train": 100, "val": 4, "test": len(label)}
    written = write_run(
        folder,
        record=run_record("unet", 0, classes, counts, changed),
        config=config,
        predictions=[columns, *rows],
        metrics=with_stage(metrics, "test"),
        epochs=[
            ["epoch", "seconds", "train/loss", "val/loss", "val/binary_dice",
             "val/binary_dice_smoothed", "val/mean_iou"],
            *([e, 5.0, 2 / (e + 1), 1.2, 0.1 * e, 0.1 * e, 0.08 * e] for e in range(6)),
        ],
        thumbnails={str(n): 100 + n % 100 for n in number.tolist()} if thumbnails else {},
    )  # fmt: skip
    arrays = {"anomaly_map": foreground, "predicted_mask": predicted_mask}
    if stored:
        box = np.array([padding, 0, predicted_mask.shape[2], predicted_mask.shape[1]], np.int32)
        np.savez(folder / "maps.npz", index=number, masks=target,
                 content_box=np.tile(box, (len(label), 1)),
                 **{name: arrays[name] for name in stored})  # fmt: skip
    return written
