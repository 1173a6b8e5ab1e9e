"""A small finished run folder, made of drawn numbers, and what there is to see in pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn_marking_runs import draw_marking_run
from drawn_runs import draw_anomaly_run
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from capsule_inspection.reports import style

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


@pytest.fixture
def anomaly_run(tmp_path: Path) -> Path:
    return draw_anomaly_run(tmp_path / "one class")


@pytest.fixture
def marking_run(tmp_path: Path) -> Path:
    return draw_marking_run(tmp_path / "marks")


@pytest.fixture
def words() -> Callable[[Figure], str]:
    """Everything that is written in a figure; drawing it fails on any warning."""

    def written_in(figure: Figure) -> str:
        style.figure_to_array(figure)
        return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())

    return written_in


@pytest.fixture
def inside() -> Callable[[Figure], bool]:
    """Whether nothing that is drawn sticks out of the page, by more than a hair."""

    def is_inside(figure: Figure) -> bool:
        style.figure_to_array(figure)
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        low, high = min(box.x0, box.y0), max(box.x1 - width, box.y1 - height)
        return low > -0.05 and high < 0.05

    return is_inside
