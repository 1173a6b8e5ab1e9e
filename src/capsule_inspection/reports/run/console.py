"""The final metrics as a table for the terminal. rich is imported when called."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import metric_label
from capsule_inspection.reports.formatting import format_estimate, format_metric
from capsule_inspection.types import Estimate, Estimates

if TYPE_CHECKING:
    from rich.table import Table


def metrics_table(metrics: Estimates, *, stage: str) -> Table:
    """Every metric of one stage with its interval, then the recall of each class.

    `metrics` have their stage in the keys, as in metrics.json, which has more of single classes.
    """
    from rich.table import Table
    from rich.text import Text

    of_stage = names.metrics_of_stage(metrics, stage)
    title = f"{stage}: metrics with their 95% intervals"
    table = Table("metric", "value", title=title, title_justify="left")
    if not of_stage:
        table.add_row("none", "nothing was measured here")
    for name in filter(lambda name: not names.is_class_metric(name), of_stage):
        table.add_row(metric_label(name), _format_estimate(name, of_stage[name]))
    table.add_section()
    for class_name, recall in names.class_metrics(of_stage, names.RECALL).items():
        # As Text: "[red]" may be a class.
        table.add_row(Text(f"recall, {class_name}"), _format_estimate(names.RECALL, recall))
    return table


def _format_estimate(name: str, estimate: Estimate) -> str:
    """`0.909 (0.816 to 0.958), n=66`; without brackets where there is no interval."""
    return f"{format_estimate(estimate, partial(format_metric, name))}, n={estimate.n}"
