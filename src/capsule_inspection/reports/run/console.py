"""The final metrics for the terminal, as a table. rich is imported when called."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import headline_metrics, metric_label
from capsule_inspection.reports.formatting import format_limits, format_metric, format_rate_of
from capsule_inspection.reports.run.usability import verdict_of
from capsule_inspection.types import TEST, Estimate, Estimates

if TYPE_CHECKING:
    from rich.table import Table

_COUNTED = names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE, names.DEFECT_HIT_RATE


def reported_stage(metrics: Estimates) -> str:
    """The stage that the terminal shows: test where it was measured. Keys as in metrics.json."""
    present = {key.partition("/")[0] for key in metrics}
    return TEST if TEST in present else min(present, default=TEST)


def verdict(metrics: Estimates) -> str:
    """The sentence of the run's page about the usability, from the stage that is shown."""
    return f"Verdict: {verdict_of(names.metrics_of_stage(metrics, reported_stage(metrics)))}."


def headline(metrics: Estimates, task: str) -> dict[str, Estimate]:
    """The six metrics of a task to look at first, without their stage."""
    of_stage = names.metrics_of_stage(metrics, reported_stage(metrics))
    return {name: of_stage[name] for name in headline_metrics(task, of_stage)}


def metrics_table(metrics: Estimates, *, task: str, grouped: bool) -> Table:
    """Six metrics of a task with their intervals; `grouped` where n counts parts, not images.

    `metrics` have their stage in the keys, as in metrics.json. report.html has all of them.
    """
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, estimate in headline(metrics, task).items():
        table.add_row(metric_label(name), *_describe(name, estimate, grouped=grouped))
    if not table.row_count:
        table.add_row("none", "nothing was measured here")
    return table


def _describe(name: str, estimate: Estimate, *, grouped: bool) -> tuple[str, str]:
    """`14% (3 of 21)` and `5% to 35%`; `.909, n=66` and `.816 to .958` of what counts no images."""
    write = partial(format_metric, name)
    if name in _COUNTED:
        value = format_rate_of(estimate, grouped=grouped)
    else:
        value = f"{write(estimate.value)}, n={estimate.n}"
    limits = format_limits(estimate.ci_low, estimate.ci_high, write)
    return value, "" if limits == "–" else limits
