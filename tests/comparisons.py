"""Comparisons of sample runs, and the contents of their tables."""

from __future__ import annotations

from collections.abc import Sequence

from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics, measure
from capsule_inspection.reports.comparison.pairwise import PairwiseComparison
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.comparison.run_groups import group_runs
from capsule_inspection.reports.run.run_folder import RunFolder


def measure_runs(runs: Sequence[RunFolder]) -> list[ModelMetrics]:
    return [measure(model) for model in group_runs(runs)]


def compare_pair(runs: Sequence[RunFolder]) -> PairwiseComparison:
    (pair,) = compare(runs).pairs
    return pair


def cells(table: Table | None, row: int) -> dict[str, str]:
    """The texts of a row by the names of their columns."""
    assert table is not None
    return {column: cell.text for column, cell in zip(table.columns, table.rows[row], strict=True)}


def mentions(lines: Sequence[str], text: str) -> bool:
    return any(text in line for line in lines)
