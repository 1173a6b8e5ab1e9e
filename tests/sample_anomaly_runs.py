"""Sample run folders of one-class models; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sample_runs import CLASSES, HEADER, prediction_row, run_record, write_run

from capsule_inspection.metrics.detection import anomaly_metrics
from capsule_inspection.metrics.localization import localization_metrics
from capsule_inspection.metrics.names import with_stage
from capsule_inspection.metrics.pixel_counts import count_pixels
from capsule_inspection.reports.run.run_folder import RunFolder, read_run

RATE = 0.1
FIRST_DEFECT = 1000
"""Number of the first defect image; the defects are the same in every fold."""

Images = tuple[np.ndarray, np.ndarray]
"""Number of each image, and its class index: (N,) both."""


def one_class_images(fold: int, *, good: int = 12, defects: int = 14) -> Images:
    """Good images of one fold, and all defects."""
    number = np.concatenate([fold * good + np.arange(good), FIRST_DEFECT + np.arange(defects)])
    return number, np.array([0] * good + [1 + i % 2 for i in range(defects)])


def write_anomaly_run(
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
) -> Path:
    """A run with these test images per class: one good image is rejected, one defect missed.

    Maps have padding of one pixel at the left, and are high where the mask is.
    """
    label = np.repeat(np.arange(len(images)), images)
    score = 0.5 + 0.04 * (np.arange(len(label)) % 7) + 0.8 * (label > 0)
    score[0], score[-1] = 1.2, 0.7
    suffixes = ("", "_reconstruction") if reconstructions else ("",)
    names = [f"{number}{suffix}" for number in range(len(label)) for suffix in suffixes]
    return _write(
        folder,
        classes=classes,
        images=(np.arange(len(label)), label),
        score=score,
        good=np.linspace(0.4, 0.9, calibration),
        threshold={"value": 1.0, "good_images": calibration, **(threshold or {})},
        record={"monitor": None, "command": ["train.py", "model=autoencoder"], **(record or {})},
        rate=0.05,
        chance=np.random.default_rng(0),
        lift=1.5,
        padding=1,
        maps=maps,
        masks=masks,
        thumbnails=names if thumbnails else (),
    )


def write_one_class_run(
    folder: Path,
    *,
    model: str = "autoencoder",
    fold: int | None = 0,
    seed: int = 0,
    images: Images | None = None,
    skill: float = 2.0,
    offset: float = 0.0,
    threshold: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    maps: bool = False,
    val_loss: float = 0.3,
) -> RunFolder:
    """A run with scores that differ by `skill` deviations, all of them raised by `offset`.

    Runs of equal seed and fold have the same random scores, so that only the skill differs.
    """
    number, label = one_class_images(fold or 0) if images is None else images
    chance = np.random.default_rng([seed, fold or 0, 7]).normal(size=len(label))
    score = chance.round(3) + skill * (label > 0) + offset
    split = {} if fold is None else {"split": {"name": "one_class", "fold": fold, "folds": 5}}
    rule = (threshold or {}).get("rule", "conformal")
    written = _write(
        folder,
        model=model,
        seed=seed,
        fold=fold,
        images=(number, label),
        score=score,
        good=np.full(4, 0.2 + offset),
        threshold={"value": 1.2 + offset, "good_images": 20, **(threshold or {})},
        record={"monitor": {"key": "val/loss_smoothed", "value": val_loss}},
        config={
            "seed": seed,
            "model": {"name": model},
            "threshold": {"name": rule, "target_fpr": RATE},
            **split,
            **(settings or {}),
        },
        chance=np.random.default_rng([seed, int(number[0])]),
        maps=maps,
    )
    return read_run(written)


def write_one_class_folds(
    folder: Path, *, model: str = "autoencoder", folds: int = 5, **changed: Any
) -> list[RunFolder]:
    """Runs of all folds of one model."""
    return [
        write_one_class_run(folder / f"{model}{fold}", model=model, fold=fold, **changed)
        for fold in range(folds)
    ]


def _write(
    folder: Path,
    *,
    images: Images,
    score: np.ndarray,
    good: np.ndarray,
    threshold: Mapping[str, Any],
    record: Mapping[str, Any],
    chance: np.random.Generator,
    maps: bool,
    masks: bool = True,
    lift: float = 0.6,
    padding: int = 0,
    rate: float = RATE,
    config: Mapping[str, Any] | None = None,
    model: str = "autoencoder",
    seed: int = 0,
    fold: int | None = None,
    classes: Sequence[str] = CLASSES,
    thumbnails: Sequence[str] = (),
) -> Path:
    """Write a run; `good` are the scores that set the threshold, four of them those of val.

    Maps are higher by `lift` on the mask of each defect.
    """
    number, label = images
    set_by = {"rule": "conformal", "defect_images": 0, "target_fpr": RATE, "enough": True,
              "required_images": 9, **threshold}  # fmt: skip
    cut = set_by["value"]
    names = np.array(classes)[label]
    metrics = anomaly_metrics(label > 0, score > cut, score, class_names=names, target_fpr=rate)
    mask = np.zeros((len(label), 10, 30 + padding), np.uint8)
    mask[label > 0, 3:6, 10:20] = 1
    high = (chance.random(mask.shape) + lift * mask).astype(np.float16)
    if maps and masks:
        metrics |= localization_metrics(count_pixels(high, mask))
    stages = (
        ("val", 5000 + np.arange(4), np.full(4, classes[0]), np.resize(good, 4)),
        ("calibration", 6000 + np.arange(len(good)), np.full(len(good), classes[0]), good),
        ("test", number, names, score),
    )
    rows = [
        prediction_row(n, stage, fold, name, "defect" if of > cut else classes[0], of, cut)
        for stage, *arrays in stages
        for n, name, of in zip(*(array.tolist() for array in arrays), strict=True)
    ]
    counts = {"train": 40, "val": 4, "calibration": len(good), "test": len(label)}
    changed = {
        "task": "anomaly_detection",
        "corruption": "synthetic_defects",
        "threshold": set_by,
        **record,
    }
    written = write_run(
        folder,
        record=run_record(model, seed, classes, counts, changed),
        config=config,
        predictions=[[*HEADER, "threshold"], *rows],
        metrics=with_stage(metrics, "test"),
        epochs=[
            ["epoch", "seconds", "train/loss", "train/reconstruction", "val/loss"],
            *([e, 5.0, 3 / (e + 1), 2 / (e + 1), 1 + 2 / (e + 1)] for e in range(12)),
        ],
        thumbnails={name: 100 + row % 150 for row, name in enumerate(thumbnails)},
    )
    if maps:
        box = np.array([padding, 0, 30 + padding, 10], np.int32)
        content_box = np.tile(box, (len(label), 1))
        classes_of_pixels = mask * label[:, np.newaxis, np.newaxis].astype(np.uint8) * masks
        np.savez(folder / "maps.npz", index=number, anomaly_map=high, masks=classes_of_pixels,
                 content_box=content_box)  # fmt: skip
    return written
