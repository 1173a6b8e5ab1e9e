"""Cells and tables: text, with a value to sort by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from capsule_inspection.metrics.registry import LOWER_IS_BETTER, short_metric_label
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics, Spread
from capsule_inspection.reports.formatting import format_estimate
from capsule_inspection.types import Estimate


@dataclass(frozen=True)
class Cell:
    """Text, and the number to sort by; None sorts by the text."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows with a cell for each column; the first column is the model.

    Tables with `is_leading` stand before the pairwise comparisons.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    is_leading: bool = False


def metric_cell(estimate: Estimate | None) -> Cell:
    """A metric with its interval; a dash where there is none."""
    return Cell(format_estimate(estimate), None if estimate is None else estimate.value)


def metric_heading(name: str) -> str:
    """The label of a metric; an arrow where lower is better."""
    return f"{short_metric_label(name)}{' ↓' if name in LOWER_IS_BETTER else ''}"


def name_cell(result: ModelMetrics) -> Cell:
    """The model and the number of its runs."""
    runs = len(result.model.runs)
    return Cell(result.name if runs == 1 else f"{result.name} ({runs} runs)")


def format_spread(spread: Spread, format_value: Callable[[float], str]) -> str:
    """A mean over runs, with the range where the runs differ."""
    text = format_value(spread.mean)
    least, most = format_value(spread.least), format_value(spread.most)
    return text if spread.count == 1 or least == most else f"{text} ({least} to {most})"


def recall_definition(result: ModelMetrics) -> str:
    """What the recall of a class counts: images classified correctly, or rejected."""
    return "named" if result.model.has_probabilities else "rejected"
