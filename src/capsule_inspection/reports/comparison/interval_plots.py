"""Metrics of several models with their 95% intervals, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER, short_metric_label
from capsule_inspection.reports.comparison import localization
from capsule_inspection.reports.comparison.cells import recall_definition
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairwise import SUMMARY_METRICS
from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimate

_RECALL_TITLES = {"named": "Recall of each class", "rejected": "Defects rejected, good accepted"}


@style.styled
def recalls(results: Sequence[ModelMetrics]) -> Figure:
    """Recall of each class of each model.

    Where only some models have class probabilities, the legend says what each recall counts.
    """
    by_model = {
        result.name: names.class_metrics(result.metrics, names.RECALL) for result in results
    }
    classes = list(dict.fromkeys(name for found in by_model.values() for name in found))
    rows = {name: [found.get(name) for found in by_model.values()] for name in classes}
    labels = [f"{style.shorten(name)}  ({_format_counts(found)})" for name, found in rows.items()]
    definitions = [recall_definition(result) for result in results]
    models, title = list(by_model), _RECALL_TITLES[definitions[0]]
    if len(set(definitions)) > 1:
        models = [
            f"{result.name}: {definition}"
            for result, definition in zip(results, definitions, strict=True)
        ]
        title = "Recall of each class: named, or rejected"
    return _plot_intervals(
        list(rows.values()), labels, models, title=f"{title} (bar: 95% interval)"
    )


@style.styled
def overlaps(results: Sequence[ModelMetrics]) -> Figure:
    """Global IoU of each defect class of each model."""
    by_model = {
        result.name: names.class_metrics(result.metrics, names.IOU_GLOBAL) for result in results
    }
    counts = [names.class_metrics(result.metrics, names.IOU_SAMPLEWISE) for result in results]
    classes = list(dict.fromkeys(name for found in by_model.values() for name in found))
    labels = [
        f"{style.shorten(name)}  ({_format_counts([found.get(name) for found in counts])})"
        for name in classes
    ]
    rows = [[found.get(name) for found in by_model.values()] for name in classes]
    title = "IoU of each defect, over pixels (bar: 95% interval)"
    return _plot_intervals(rows, labels, list(by_model), title=title)


@style.styled
def overview(results: Sequence[ModelMetrics]) -> Figure:
    """The main metrics of each model."""
    wanted = (*SUMMARY_METRICS, names.PIXEL_AUROC, names.AUPRO)
    found = {
        name: [localization.comparable_metric(result, name) for result in results]
        for name in wanted
    }
    shown = [name for name in wanted if any(found[name])]
    rows = [found[name] for name in shown]
    lower = dict.fromkeys(LOWER_IS_BETTER, " (lower is better)")
    labels = [f"{short_metric_label(name)}{lower.get(name, '')}" for name in shown]
    return _plot_intervals(
        rows, labels, [result.name for result in results], title="Metrics with their 95% intervals"
    )


def _format_counts(found: Sequence[Estimate | None]) -> str:
    counts = sorted({value.n for value in found if value is not None})
    return "–".join(map(str, counts))


def _plot_intervals(
    rows: Sequence[Sequence[Estimate | None]],
    labels: Sequence[str],
    models: Sequence[str],
    *,
    title: str,
) -> Figure:
    step = 0.8 / max(1, len(models))
    height = len(rows) * (0.35 + 0.16 * len(models))
    figure = style.new_figure(9.0, 1.3 + height + 0.22 * len(models))
    axes = figure.subplots()
    for i, name in enumerate(models):
        colour = style.SERIES[i]
        positions = np.arange(len(rows)) + (i - (len(models) - 1) / 2) * step
        known = [(y, row[i]) for y, row in zip(positions, rows, strict=True)]
        for y, value in known:
            if value is not None and value.ci_low is not None and value.ci_high is not None:
                interval = [value.ci_low, value.ci_high]
                axes.plot(interval, [y, y], color=colour, linewidth=4, alpha=0.35,
                          solid_capstyle="butt")  # fmt: skip
        points = [(value.value, y) for y, value in known if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=5.5,
                      label=style.shorten(name, 60))  # fmt: skip
    axes.set_yticks(range(len(rows)), labels)
    axes.set(xlim=(-0.01, 1.01), ylim=(len(rows) - 0.4, -0.6))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
    figure.legend(loc="outside lower left", ncols=1)
    return figure
