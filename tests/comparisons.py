"""Comparisons of sample runs, and the contents of their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from capsule_inspection.reports.comparison.metrics import ModelMetrics, measure
from capsule_inspection.reports.comparison.pairs import DecisionSettings, PairwiseComparison
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.comparison.table import read_models
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.reports.tables import Table


def measure_runs(runs: Sequence[RunFolder]) -> list[ModelMetrics]:
    return [measure(model) for model in read_models(runs)]


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
