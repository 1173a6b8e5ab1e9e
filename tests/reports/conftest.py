"""A small finished run folder, made of drawn numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("good", "007", "膠囊 $x$")
LABELS = (0, 0, 0, 1, 1, 2)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a run, 1"
    (folder / "images").mkdir(parents=True)
    record = {"format_version": 1, "status": "finished", "best_epoch": 2}
    (folder / "run.json").write_text(json.dumps(record))
    figures = {
        "test/accuracy": {"value": 0.5, "low": 0.2, "high": 0.8, "n": 6},
        "test/recall/good": {"value": 1.0, "low": 0.44, "high": 1.0, "n": 3},
        "test/recall/007": {"value": 0.0, "low": None, "high": None, "n": 2},
        "val/accuracy": {"value": 0.25, "low": 0.1, "high": 0.5, "n": 6},
    }
    (folder / "metrics.json").write_text(json.dumps(figures))
    _write(
        folder / "metrics.csv",
        ["epoch", "step", "seconds", "lr", "train/loss", "val/loss", "val/balanced_accuracy"],
        [[e, 3 * e, 0.5, 0.001, 2.0 / (e + 1), "" if e % 2 else 1.5, "" if e % 2 else 0.4]
         for e in range(4)],
    )  # fmt: skip
    write_predictions(folder)
    return folder


def write_predictions(folder: Path, *, prediction: Sequence[int] = (0, 0, 2, 0, 1, 2)) -> None:
    """Six images each of val and test, with thumbnails of all but the third."""
    rows = []
    for stage, first in (("val", 10), ("test", 20)):
        for i, (label, called) in enumerate(zip(LABELS, prediction, strict=True)):
            probabilities = np.full(3, 0.1) + 0.7 * np.eye(3)[called]
            rows.append(
                [first + i, f"x/{i}.png", "ab" * 32, stage, 0, CLASSES[label], CLASSES[called]],
            )
            rows[-1] += [0.5, "", *probabilities]
            if i != 2:
                image = Image.fromarray(np.full((20, 60, 3), 40 * i, np.uint8))
                image.save(folder / "images" / f"{first + i}.jpg")
    header = ["index", "path", "sha256", "split", "fold", "label", "prediction", "score", "dice"]
    _write(folder / "predictions.csv", [*header, *(f"p_{name}" for name in CLASSES)], rows)


def _write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
