"""Comparisons of sample runs, and the contents of their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sample_anomaly_runs import write_one_class_run
from sample_runs import write_classification_run
from sample_segmentation_runs import images_of_fold, write_offset_segmentation_run

from capsule_inspection.reports.comparison.metrics import ModelMetrics, measure
from capsule_inspection.reports.comparison.pairs import DecisionSettings, PairwiseComparison
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.comparison.table import read_models
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.reports.tables import Table
from capsule_inspection.types import Costs


def write(folder: Path, model: str, **changed: Any) -> RunFolder:
    """A classifier of this name in a folder of its own."""
    return read_run(write_classification_run(folder / model, model=model, **changed))


def one_class(folder: Path, model: str, **changed: Any) -> RunFolder:
    return write_one_class_run(folder / model, model=model, **changed)


def segmentation(folder: Path, model: str, **changed: Any) -> RunFolder:
    return write_offset_segmentation_run(folder / model, model=model, **changed)


def mixed(folder: Path) -> list[RunFolder]:
    """Two segmentation models (one binary), a classifier and one with maps, on 20 images."""
    images = images_of_fold(0)
    return [
        segmentation(folder, "near", thumbnails=True),
        segmentation(folder, "binary", offset=4, binary=True),
        write(folder, "named", wrong=(9, 11), label=images[1]),
        write_one_class_run(folder / "map", fold=None, images=images, skill=1.0, maps=True),
    ]


def measure_runs(runs: Sequence[RunFolder], costs: Costs | None = None) -> list[ModelMetrics]:
    return [measure(model, costs) for model in read_models(runs)]


def compare_pair(
    runs: Sequence[RunFolder], settings: DecisionSettings | None = None
) -> PairwiseComparison:
    (pair,) = compare(runs, settings=settings).pairs
    return pair


def with_groups(folder: Path, group_of: Callable[[int], str]) -> RunFolder:
    """The run with the group of each image, by its index, in predictions.csv."""
    path = folder / "predictions.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["group"] = [group_of(int(index)) for index in table["index"]]
    table.to_csv(path, index=False)
    return read_run(folder)


def cells(table: Table | None, row: int) -> dict[str, str]:
    """The texts of a row by the names of their columns."""
    assert table is not None
    return {column: cell.text for column, cell in zip(table.columns, table.rows[row], strict=True)}


def mentions(lines: Sequence[str], text: str) -> bool:
    return any(text in line for line in lines)
