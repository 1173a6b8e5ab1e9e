"""Finished one-class runs to order, a fold each, for tests of comparisons; nothing is trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from capsule_inspection.metrics.detection import anomaly_figures
from capsule_inspection.metrics.localisation import localisation_figures
from capsule_inspection.metrics.names import with_stage
from capsule_inspection.metrics.pixel_counts import count_pixels
from capsule_inspection.reports.run_folder import RunFolder, read_run

CLASSES = ("good", "crack", "poke")
RATE = 0.1
FIRST_DEFECT = 1000
"""Number of the first defect photograph; the defects are the same in every fold."""

Images = tuple[np.ndarray, np.ndarray]
"""Number of each photograph, and its class index: (N,) both."""


def one_class_images(fold: int, *, good: int = 12, defects: int = 14) -> Images:
    """Good photographs of the fold's own, and all defects."""
    number = np.concatenate([fold * good + np.arange(good), FIRST_DEFECT + np.arange(defects)])
    return number, np.array([0] * good + [1 + i % 2 for i in range(defects)])


def draw_one_class_run(
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
    record: Mapping[str, Any] | None = None,
    maps: bool = True,
    val_loss: float = 0.3,
) -> RunFolder:
    """A run whose scores part by `skill` deviations, all of them raised by `offset`.

    Runs of equal seed and fold have the same chance in their scores, so that skill alone differs.
    """
    number, label = one_class_images(fold or 0) if images is None else images
    folder.mkdir(parents=True)
    chance = np.random.default_rng([seed, fold or 0, 7]).normal(size=len(label))
    score = chance.round(3) + skill * (label > 0) + offset
    cut = 1.2 + offset
    set_by = {
        "value": cut,
        "rule": "conformal",
        "good_images": 20,
        "defect_images": 0,
        "false_alarm_rate": RATE,
        "enough": True,
        "needed": 9,
        **(threshold or {}),
    }
    _write_json(folder / "run.json", _record(model, seed, set_by, val_loss, record or {}))
    split = {"name": "one_class", "fold": fold, "folds": 5}
    asked = {"name": set_by["rule"], "false_alarm_rate": RATE}
    config = {"seed": seed, "model": {"name": model}, "threshold": asked,
              **({} if fold is None else {"split": split}), **(settings or {})}  # fmt: skip
    _write_json(folder / "config.yaml", config)
    _write_predictions(folder, fold, number, label, score, cut)
    figures = with_stage(
        anomaly_figures(
            label > 0,
            score > cut,
            score,
            class_names_of_images=np.array(CLASSES)[label],
            false_alarm_rate=RATE,
        ),
        "test",
    )
    if maps:
        figures |= with_stage(
            localisation_figures(_write_maps(folder, number, label, seed)), "test"
        )
    _write_json(folder / "metrics.json", {key: vars(value) for key, value in figures.items()})
    rows = [[e, 5.0, 3 / (e + 1), 1 + 2 / (e + 1)] for e in range(12)]
    _write_csv(folder / "metrics.csv", ["epoch", "seconds", "train/loss", "val/loss"], rows)
    return read_run(folder)


def draw_folds(
    folder: Path, *, model: str = "autoencoder", folds: int = 5, **changed: Any
) -> list[RunFolder]:
    """Runs of all folds of one model."""
    return [
        draw_one_class_run(folder / f"{model}{fold}", model=model, fold=fold, **changed)
        for fold in range(folds)
    ]


def _record(
    model: str,
    seed: int,
    threshold: Mapping[str, Any],
    val_loss: float,
    changed: Mapping[str, Any],
) -> dict[str, Any]:
    counts = {"train": 40, "val": 4, "calibration": threshold["good_images"], "test": 26}
    return {
        "format_version": 1,
        "status": "finished",
        "seed": seed,
        "task": "reconstruction",
        "model": model,
        "optimistic": False,
        "data": {"name": "drawn", "classes": list(CLASSES), "images": counts, "fingerprint": "f"},
        "weights": {"source": "random"},
        "threshold": dict(threshold),
        "corruption": "painted",
        "epochs": 12,
        "best_epoch": 8,
        "monitor": {"key": "val/loss_smoothed", "value": val_loss},
        "training_time_s": 60.0,
        "network": {"parameters": 1_000_000, "flops": 2_000_000_000},
        **changed,
    }


def _write_predictions(
    folder: Path,
    fold: int | None,
    number: np.ndarray,
    label: np.ndarray,
    score: np.ndarray,
    cut: float,
) -> None:
    header = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score"]
    stages = (
        ("val", 5000 + np.arange(4), np.zeros(4, int), np.full(4, cut - 1)),
        ("calibration", 6000 + np.arange(4), np.zeros(4, int), np.full(4, cut - 1)),
        ("test", number, label, score),
    )
    rows = [
        [
            *(n, f"x/{n}.png", f"{n:064x}", stage, "" if fold is None else fold, CLASSES[of_class]),
            *("defect" if value > cut else "good", value, cut),
        ]
        for stage, *arrays in stages
        for n, of_class, value in zip(*(array.tolist() for array in arrays), strict=True)
    ]
    _write_csv(folder / "predictions.csv", [*header, "threshold"], rows)


def _write_maps(folder: Path, number: np.ndarray, label: np.ndarray, seed: int) -> Any:
    """Maps without padding that are high on the mask of each defect; returns their counts."""
    mask = np.zeros((len(label), 10, 30), np.uint8)
    mask[label > 0, 3:6, 10:20] = 1
    chance = np.random.default_rng([seed, int(number[0])]).random(mask.shape)
    maps = (chance + 0.6 * mask).astype(np.float16)
    inside = np.tile(np.array([0, 0, 30, 10], np.int32), (len(label), 1))
    np.savez(folder / "maps.npz", index=number, maps=maps, masks=mask, inside=inside)
    return count_pixels(maps, mask)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_csv(path: Path, header: list[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
