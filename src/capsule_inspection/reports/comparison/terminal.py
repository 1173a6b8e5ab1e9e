"""The answer and the main table of a comparison, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.cost_tables import TRAINING_ROWS
from capsule_inspection.reports.comparison.page import Comparison
from capsule_inspection.reports.comparison.tables import QUALITY
from capsule_inspection.reports.comparison.where import NAMED, WHERE

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MAIN = (QUALITY, WHERE, NAMED, TRAINING_ROWS)
MODELS_ABREAST = 3


def print_comparison(comparison: Comparison) -> None:
    """Print figures and training of each model, the verdicts and the recommendation."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    main = [table for table in comparison.tables if table.title in MAIN]
    for first in range(0, len(comparison.measured), MODELS_ABREAST):
        console.print(_upright(main, first))
    for verdict in comparison.verdicts:
        console.print(f"• {escape(words.headline(verdict))}", soft_wrap=True)
    for sentence in comparison.answer.caveats:
        console.print(f"[yellow]{escape(sentence)}[/]", soft_wrap=True)
    console.print(f"[bold]{escape(comparison.answer.recommendation)}[/]", soft_wrap=True)


def _upright(tables: Sequence[Table], first: int) -> RichTable:
    """Tables, turned: a column for each model of the first, which a terminal has room for."""
    from rich.table import Table as RichTable
    from rich.text import Text

    last = first + MODELS_ABREAST
    drawn = RichTable(title="Test images, then training", title_justify="left")
    drawn.add_column("")
    models = [row[0].text for row in tables[0].rows[first:last]]
    for model in models:
        drawn.add_column(Text(model), overflow="fold")
    for table in tables:
        row_of = {row[0].text: row for row in table.rows}
        if not any(model in row_of for model in models):
            continue
        for number, column in enumerate(table.columns[1:], start=1):
            cells = [row_of[model][number].text if model in row_of else "–" for model in models]
            drawn.add_row(column, *map(Text, cells))
        drawn.add_section()
    return drawn
