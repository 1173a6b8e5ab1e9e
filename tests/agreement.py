"""What predict.py says of a run's test images, against what evaluate.py says of them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from quick import record_of, rows_of
from small import Answer, Door

DEVICE = ("trainer=cpu", "trainer.threads=1", "trainer.precision=32-true")
Rows = list[dict[str, str]]


def evaluate(door: Door, run: Path, output: Path) -> Answer:
    """The test images of a run, by evaluate.py."""
    answer = door("evaluate", f"run={run}", f"output={output}", *DEVICE)
    assert answer.status == 0, answer.err
    return answer


def predict_test_images(door: Door, run: Path, output: Path) -> Answer:
    """The same by predict.py, as photographs that it knows nothing of."""
    root = Path(record_of(run)["data"]["root"])
    tested = [row for row in rows_of(run) if row["split"] == "test"]
    table = output.with_name(f"{output.name} images.csv")
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path"], *([str(root / row["path"])] for row in tested)])
    settings = ("batch_size=2", "workers=1", *DEVICE)
    answer = door("predict", f"run={run}", f"input={table}", f"output={output}", *settings)
    assert answer.status == 0, answer.err
    return answer


def check_agreement(predicted: Path, evaluated: Path, *, tolerance: float = 1e-6) -> None:
    """The same images in the same order, called the same, and every number within a tolerance."""
    found, expected = rows_of(predicted), rows_of(evaluated)
    assert [Path(row["path"]).name for row in found] == [Path(r["path"]).name for r in expected]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    for column in ("score", "threshold", *(name for name in expected[0] if name[:2] == "p_")):
        assert _numbers(found, column) == pytest.approx(_numbers(expected, column), abs=tolerance)


def _numbers(rows: Rows, column: str) -> list[float | None]:
    return [float(row[column]) if row[column] else None for row in rows]
