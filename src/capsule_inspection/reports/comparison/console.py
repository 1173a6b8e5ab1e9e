"""Summary and main tables of a comparison, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.cost_tables import TRAINING_TITLE
from capsule_inspection.reports.comparison.localization import CLASS_MEANS_TITLE, LOCALIZATION_TITLE
from capsule_inspection.reports.comparison.page import Comparison
from capsule_inspection.reports.comparison.pairwise_summary import headline
from capsule_inspection.reports.comparison.tables import IMAGE_METRICS_TITLE

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MAIN_TABLES = (IMAGE_METRICS_TITLE, LOCALIZATION_TITLE, CLASS_MEANS_TITLE, TRAINING_TITLE)
MODELS_PER_TABLE = 3


def print_comparison(comparison: Comparison) -> None:
    """Print metrics and training of each model, pairwise comparisons and recommendation."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    main = [table for table in comparison.tables if table.title in MAIN_TABLES]
    for first in range(0, len(comparison.results), MODELS_PER_TABLE):
        console.print(_transpose(main, first))
    for pair in comparison.pairs:
        console.print(f"• {escape(headline(pair))}", soft_wrap=True)
    for sentence in comparison.summary.caveats:
        console.print(f"[yellow]{escape(sentence)}[/]", soft_wrap=True)
    console.print(f"[bold]{escape(comparison.summary.recommendation)}[/]", soft_wrap=True)


def _transpose(tables: Sequence[Table], first: int) -> RichTable:
    """Tables with a column for each of a few models, and a row for each metric."""
    from rich.table import Table as RichTable
    from rich.text import Text

    last = first + MODELS_PER_TABLE
    transposed = RichTable(title="Test images, then training", title_justify="left")
    transposed.add_column("")
    models = [row[0].text for row in tables[0].rows[first:last]]
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
