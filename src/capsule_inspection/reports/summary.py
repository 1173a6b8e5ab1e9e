"""The final figures as a table for the terminal.

Takes figures that are handed over; prints nothing itself. rich is imported when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capsule_inspection.metrics import names
from capsule_inspection.reports import figure_words
from capsule_inspection.types import Figure, Figures

if TYPE_CHECKING:
    from rich.table import Table


def summary_table(figures: Figures, *, stage: str) -> Table:
    """Every figure of one stage with its interval, then the recall of each class.

    `figures` have their stage in the keys, as in metrics.json. A stage without figures gives a
    table that says so.
    """
    from rich.table import Table
    from rich.text import Text

    of_stage = names.of_stage(figures, stage)
    table = Table(title=f"{stage}: figures with their 95% intervals", title_justify="left")
    table.add_column("figure")
    table.add_column("value")
    if not of_stage:
        table.add_row("none", "nothing was measured here")
    whole = [name for name in of_stage if not names.is_of_class(name)]
    for name in whole:
        table.add_row(figure_words.name_of(name), as_text(of_stage[name], name))
    if whole:
        table.add_section()
    # As Text, since a class called "[red]" is no colour. Precisions stay in metrics.json.
    for class_name, figure in names.of_classes(of_stage, names.RECALL).items():
        table.add_row(Text(f"recall, {class_name}"), as_text(figure))
    return table


def as_text(figure: Figure, metric: str = "") -> str:
    """A figure as `0.909 (0.816 to 0.958), n=66`; without the brackets where it has no interval."""
    value, low, high = (
        "" if number is None else figure_words.value_text(metric, number)
        for number in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low} to {high}), n={figure.n}" if low and high else f"{value}, n={figure.n}"
