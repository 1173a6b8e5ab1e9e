"""Tables of the pages: cells of text, with a value to sort by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable


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

    def for_terminal(self) -> RichTable:
        """The same table for the terminal, without its note. rich is imported when called."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=self.title, title_justify="left")
        for place, column in enumerate(self.columns):
            options = {"justify": "right"} if place else {"no_wrap": True, "max_width": 30}
            table.add_column(Text(column), **options)
        for row in self.rows:
            table.add_row(*(Text(cell.text) for cell in row))  # as Text: "[red]" may be a class
        return table
