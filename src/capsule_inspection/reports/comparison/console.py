"""Summary and main tables of a comparison, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from capsule_inspection.config import terminal
from capsule_inspection.reports.comparison.page import (
    Comparison,
    headline,
    recommendation_text,
)
from capsule_inspection.reports.comparison.tables import TRAINING_TITLE
from capsule_inspection.reports.tables import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MODELS_PER_TABLE = 3


def print_comparison(comparison: Comparison) -> None:
    """Print metrics and training of each model, pairs, caveats and the recommendation."""
    from rich.markup import escape

    console = terminal.console()
    main = [of for of in comparison.tables if of.is_leading or of.title == TRAINING_TITLE]
    for first in range(0, len(comparison.results), MODELS_PER_TABLE):
        console.print(_transpose(main, first))
    for pair in comparison.pairs:
        reason = f" {pair.not_comparable}" if pair.not_comparable else ""
        console.print(f"• {escape(headline(comparison, pair) + reason)}", soft_wrap=True)
    for failure in comparison.failures:
        console.print(f"[yellow]Left out: {escape(failure)}[/]", soft_wrap=True)
    for sentence in comparison.caveats:
        console.print(f"[yellow]{escape(sentence)}[/]", soft_wrap=True)
    conclusion, *reasons = recommendation_text(comparison)
    console.print(f"[bold]{escape(conclusion)}[/]", soft_wrap=True)
    for sentence in reasons:
        console.print(escape(sentence), soft_wrap=True)


def _transpose(tables: Sequence[Table], first: int) -> RichTable:
    """Tables with a column for each of a few models, and a row for each metric."""
    from rich.table import Table as RichTable
    from rich.text import Text

    transposed = RichTable(title="Test images, then training", title_justify="left")
    transposed.add_column("")
    models = [row[0].text for row in tables[0].rows[first : first + MODELS_PER_TABLE]]
    for model in models:
        transposed.add_column(Text(model), overflow="fold")
    for table in tables:
        row_of = {row[0].text: row for row in table.rows}
        if not any(model in row_of for model in models):
            continue
        for number, column in enumerate(table.columns[1:], start=1):
            cells = [row_of[model][number].text if model in row_of else "–" for model in models]
            transposed.add_row(column, *map(Text, cells))
        transposed.add_section()
    return transposed
