"""Comparisons of drawn runs, and what their tables hold."""

from __future__ import annotations

from collections.abc import Sequence

from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.reports.comparison.writing import compare
from capsule_inspection.reports.run_folder import RunFolder


def measured(runs: Sequence[RunFolder]) -> list[Measured]:
    return [measure(contestant) for contestant in gather(runs)]


def verdict_of(runs: Sequence[RunFolder]) -> Verdict:
    (verdict,) = compare(runs).verdicts
    return verdict


def cells(table: Table | None, row: int) -> dict[str, str]:
    """The texts of a row by the names of their columns."""
    assert table is not None
    return {column: cell.text for column, cell in zip(table.columns, table.rows[row], strict=True)}


def mentions(lines: Sequence[str], text: str) -> bool:
    return any(text in line for line in lines)
