"""Rows of predictions for the gallery, with overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from capsule_inspection.reports.plots.overlays import encode_png

CLASSES = ("good", "crack", "<b>膠囊</b>")
HOSTILE = (
    "</script><img src=x onerror=alert(1)>.png",
    "quo\"te & 'amp' <!--.png",
    "膠囊 #1 100%25?.png",
)


def row(
    path: str, predicted_label: str | None = None, score: float | None = None, **changed: Any
) -> Any:
    """A row of a classifier, `score` the probability of a defect; without a score an error."""
    values: dict[str, Any] = {
        "path": path,
        "status": "error" if score is None else "ok",
        "error": "it is damaged" if score is None else None,
        "width": None if score is None else 1000,
        "height": None if score is None else 800,
        "predicted_label": predicted_label,
        "is_defect": None if score is None else predicted_label != CLASSES[0],
        "probabilities": None if score is None else _probabilities(predicted_label, score),
        "score": score,
        "threshold": None,
        "regions": [],
        "ood_warnings": [],
        "overlay": None,
    }
    return values | changed


def segmented(
    path: str, predicted_label: str, score: float, *, regions: int = 1, **changed: Any
) -> Any:
    """A row of a segmentation model, with threshold 0.5."""
    region = {
        "class": predicted_label,
        "area_px": 1200,
        "box": [10, 20, 50, 60],
        "probability": 0.9,
    }
    return row(path, predicted_label, score, threshold=0.5, regions=[region] * regions, **changed)


def about(rows: Sequence[Any], task: str = "classification", **changed: Any) -> dict[str, Any]:
    """The facts of a page with these rows."""
    counts = {
        "images": len(rows),
        "defects": sum(one["is_defect"] is True for one in rows),
        "good": sum(one["is_defect"] is False for one in rows),
        "near": 0,
        "unlike": sum(bool(one["ood_warnings"]) for one in rows),
        "errors": sum(one["status"] == "error" for one in rows),
    }
    values: dict[str, Any] = {
        "title": "Predictions for photos",
        "task": task,
        "model": "resnet18",
        "run": "outputs/a run",
        "classes": list(CLASSES),
        "command": "python predict.py run='outputs/a run' input=photos",
        "date": "2025-01-03 14:05",
        "counts": counts,
        "tested": "In its test it missed 2 of 21 defects.",
        "is_usable": True,
        "legend": True,
    }
    return values | changed


def with_overlay(folder: Path, of: dict[str, Any]) -> dict[str, Any]:
    """The row with a small overlay beside the page, named like its image."""
    overlay = f"overlays/{Path(of['path']).name.replace('/', '_')}"
    (folder / overlay).parent.mkdir(exist_ok=True)
    (folder / overlay).write_bytes(encode_png(np.full((8, 24, 3), 90, np.uint8)))
    return of | {"overlay": overlay}


def _probabilities(predicted_label: str | None, score: float) -> dict[str, float]:
    defects = CLASSES[1:]
    rest = 0.0 if predicted_label == CLASSES[0] else 0.1 * score
    of_defects = {name: score - rest if name == predicted_label else rest for name in defects}
    if predicted_label == CLASSES[0]:
        of_defects = dict.fromkeys(defects, score / len(defects))
    return {CLASSES[0]: 1 - score, **of_defects}
