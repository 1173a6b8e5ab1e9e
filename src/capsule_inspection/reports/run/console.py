"""The final metrics as a table for the terminal. rich is imported when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import metric_label
from capsule_inspection.reports.formatting import format_metric
from capsule_inspection.types import Estimate, Estimates

if TYPE_CHECKING:
    from rich.table import Table


def metrics_table(metrics: Estimates, *, stage: str) -> Table:
    """Every metric of one stage with its interval, then the recall of each class.

    `metrics` have their stage in the keys, as in metrics.json.
    """
    from rich.table import Table
    from rich.text import Text

    of_stage = names.metrics_of_stage(metrics, stage)
    table = Table(title=f"{stage}: metrics with their 95% intervals", title_justify="left")
    table.add_column("metric")
    table.add_column("value")
    if not of_stage:
        table.add_row("none", "nothing was measured here")
    whole = [name for name in of_stage if not names.is_class_metric(name)]
    for name in whole:
        table.add_row(metric_label(name), _format_estimate(of_stage[name], name))
    if whole:
        table.add_section()
    # As Text: "[red]" may be a class. Precisions are in metrics.json only.
    for class_name, estimate in names.class_metrics(of_stage, names.RECALL).items():
        table.add_row(Text(f"recall, {class_name}"), _format_estimate(estimate))
    return table


def _format_estimate(estimate: Estimate, metric: str = "") -> str:
    """`0.909 (0.816 to 0.958), n=66`; without brackets where there is no interval."""
    value, low, high = (
        "" if number is None else format_metric(metric, number)
        for number in (estimate.value, estimate.ci_low, estimate.ci_high)
    )
    interval = f" ({low} to {high})" if low and high else ""
    return f"{value}{interval}, n={estimate.n}"
