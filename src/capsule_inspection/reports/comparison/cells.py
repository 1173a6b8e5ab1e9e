"""What tables are made of: cells with text and a value to sort by."""

from __future__ import annotations

from dataclasses import dataclass

from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.measured import Measured
from capsule_inspection.types import Figure


@dataclass(frozen=True)
class Cell:
    """What is read, and what is sorted by: a number, or the text where there is none."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns; the first column names the model."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    leads: bool = False
    """Whether it stands before the verdicts."""


def figure_cell(figure: Figure | None) -> Cell:
    """A figure with its interval; a dash where there is none."""
    return Cell(words.figure(figure), None if figure is None else figure.value)


def name_cell(one: Measured) -> Cell:
    """The model, and how many runs it stands on."""
    runs = len(one.contestant.runs)
    return Cell(one.name if runs == 1 else f"{one.name} ({runs} runs)")
