"""Tables of the pages: cells of text, with a value to sort by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """Text, and the number to sort by; None sorts by the text."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows with a cell for each column; the first column names the row.

    In a comparison, tables with `is_leading` stand before the pairwise comparisons.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    is_leading: bool = False
