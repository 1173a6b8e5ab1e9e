"""Plots of a comparison: its conclusion, metrics, training curves and classes.

`list_plots` says which ones a comparison has; those of images stand in `image_plots`. A model has
the same colour in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER, metric_heading, metric_label
from capsule_inspection.reports.comparison import image_plots
from capsule_inspection.reports.comparison.costs import monitored_metric
from capsule_inspection.reports.comparison.decision import Recommendation
from capsule_inspection.reports.comparison.metrics import ERROR_RATES, ModelMetrics
from capsule_inspection.reports.comparison.pairs import PairwiseComparison, Verdict
from capsule_inspection.reports.comparison.table import ModelRuns
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.confusion import plot_confusion
from capsule_inspection.reports.plots.intervals import draw_intervals
from capsule_inspection.types import TRAIN, VAL, Estimate

MAX_PLOTTED_MODELS = 7
"""More lines or panels are not readable."""

OVERVIEW_METRICS = (
    names.BALANCED_ACCURACY,
    names.ACCURACY,
    names.AUROC,
    *ERROR_RATES,
    names.BINARY_DICE_GLOBAL,
    names.MEAN_IOU_GLOBAL,
    names.PIXEL_AUROC,
    names.AUPRO,
)
EPOCH, SECONDS = "epoch", "seconds"
_STAGES = {TRAIN: "Training", VAL: "Validation"}
_VERDICTS = {
    Verdict.NOT_DISTINGUISHABLE: "not distinguishable",
    Verdict.TRADE_OFF: "trade-off",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.REFUSED: "not compared",
}
Colours = Mapping[str, str]
"""The colour of each model, by its name."""


def list_plots(
    results: Sequence[ModelMetrics], pairs: Sequence[PairwiseComparison], found: Recommendation
) -> dict[str, Callable[[], Figure]]:
    """What draws each plot of these models, by the name of its file, in the order of the page.

    At most `MAX_PLOTTED_MODELS` models; titles and captions stand in `comparison_text.j2`.
    """
    colours = {result.name: colour for result, colour in zip(results, style.SERIES, strict=False)}
    models = [result.model for result in results]
    plots: dict[str, Callable[[], Figure]] = {
        "forest": partial(forest, results, pairs, found, colours),
    }
    if rated := [of for of in results if all(rate in of.metrics for rate in ERROR_RATES)]:
        plots["trade_off"] = partial(trade_off, rated, colours)
    plots["overview"] = partial(overview, results, colours)
    tasks: dict[str, list[ModelMetrics]] = {}
    for result in results:
        if all(len(run.epochs) for run in result.model.runs):
            tasks.setdefault(result.model.runs[0].task, []).append(result)
    for task, group in tasks.items():  # losses of different tasks have different scales
        suffix = f"_{task}" if len(tasks) > 1 else ""
        metric = names.metric_key(VAL, _curve_metric(group))
        losses = [(names.metric_key(stage, names.LOSS), EPOCH) for stage in (TRAIN, VAL)]
        both = [(metric, EPOCH), (metric, SECONDS)]
        plots[f"learning_curves{suffix}"] = partial(curves, group, colours, both)
        plots[f"losses{suffix}"] = partial(curves, group, colours, losses)
    if any(names.class_metrics(result.metrics, names.RECALL) for result in results):
        plots["recall"] = partial(recalls, results, colours)
    with_overlap = [of for of in results if names.class_metrics(of.metrics, names.IOU_GLOBAL)]
    if with_overlap := [of for of in with_overlap if of.model.names_defects]:
        plots["overlap"] = partial(overlaps, with_overlap, colours)
    if classifiers := [model for model in models if model.names_defects]:
        plots["confusion"] = partial(confusion_matrices, classifiers)
    return plots | image_plots.list_plots(models)


@style.styled
def forest(
    results: Sequence[ModelMetrics],
    pairs: Sequence[PairwiseComparison],
    found: Recommendation,
    colours: Colours,
) -> Figure:
    """The primary metric of each model; below, the differences to the best of them.

    With a reference, the differences are to it.
    """
    metric, lower_is_better = found.primary, found.primary in LOWER_IS_BETTER
    known = [result for result in results if metric in result.metrics]
    known.sort(key=lambda of: of.metrics[metric].value, reverse=not lower_is_better)
    involved = {of.name: [pair for pair in pairs if of.name in (pair.first, pair.second)]
                for of in known}  # fmt: skip
    reference = max(involved, key=lambda name: len(involved[name]), default="")
    rivals = {pair.other(reference): pair for pair in involved.get(reference, ())}
    rivals = {of.name: rivals[of.name] for of in known if of.name in rivals}
    heights = [len(known) + 0.9, *([len(rivals) + 0.9] if rivals else [])]
    figure = style.new_figure(style.HALF_WIDTH, 0.9 + 0.34 * sum(heights))
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for row, result in enumerate(known):
        estimate = result.metrics[metric]
        _plot_interval(panels[0], row, estimate, colours[result.name])
        style.annotate_row(panels[0], row, f"{estimate.value:.3f}")
    _label_rows(panels[0], [result.name for result in known])
    panels[0].set_title(metric_heading(metric))
    if rivals:
        _plot_differences(panels[1], rivals, found, colours)
        panels[1].set_title(f"Difference: model less {style.shorten(reference, 24)}")
        directions = ("better", "worse") if lower_is_better else ("worse", "better")
        panels[1].set_xlabel(f"← {directions[0]}      grey: margin      {directions[1]} →")
    return figure


def _plot_differences(
    axes: Axes, rivals: Mapping[str, PairwiseComparison], found: Recommendation, colours: Colours
) -> None:
    """Other models less the reference, in points: both intervals, zero line and margin."""
    unit = 1 if found.primary == names.EXPECTED_COST else 100
    axes.axvline(0, color=style.BLACK, linewidth=1)
    for row, (name, pair) in enumerate(rivals.items()):
        text = _VERDICTS.get(pair.verdict, "better" if pair.better == name else "worse")
        style.annotate_row(axes, row, text)
        if found.primary not in pair.differences:
            continue
        sign = unit if pair.first == name else -unit
        together = [sign * limit for limit in pair.simultaneous.get(found.primary, ())]
        axes.plot(together, [row] * len(together), color=style.GREY, linewidth=1)
        own = pair.difference_of(name, found.primary).scaled(unit)
        estimate = Estimate(own.value, own.ci_low, own.ci_high, own.n)
        _plot_interval(axes, row, estimate, colours[name])
        if not axes.patches:
            margin = found.margin * own.scale
            axes.axvspan(-margin, margin, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)
    _label_rows(axes, list(rivals))


def _plot_interval(axes: Axes, row: float, estimate: Estimate, colour: str) -> None:
    style.interval_bar(axes, row, estimate, bar=f"{colour}66", colour=colour)


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [style.shorten(label, 30) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


@style.styled
def trade_off(results: Sequence[ModelMetrics], colours: Colours) -> Figure:
    """Each model by its rates of good parts rejected and of missed defects."""
    figure = style.new_figure(style.HALF_WIDTH, 3.2 + 0.2 * len(results))
    axes = figure.subplots()
    for i, result in enumerate(results):
        missed, rejected = (result.metrics[name] for name in ERROR_RATES)
        size = len(results) - i  # models on the same point stay visible
        axes.errorbar(rejected.value, missed.value, xerr=_error_bars(rejected),
                      yerr=_error_bars(missed), fmt="o", color=colours[result.name], clip_on=False,
                      markersize=6 + 2 * size, elinewidth=1 + size,
                      label=style.shorten(result.name, 60))  # fmt: skip
    axes.plot(0, 0, "*", color=style.GREY, markersize=16, clip_on=False, zorder=0)
    axes.annotate("ideal", (0, 0), xytext=(10, 8), textcoords="offset points", color=style.GREY)
    axes.set(xlabel=metric_label(ERROR_RATES[1]), ylabel=metric_label(ERROR_RATES[0]))
    axes.set(xlim=(0, min(1, axes.get_xlim()[1])), ylim=(0, min(1, axes.get_ylim()[1])))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower left", ncols=1)
    return figure


def _error_bars(rate: Estimate) -> list[list[float]]:
    low = rate.value if rate.ci_low is None else rate.ci_low
    high = rate.value if rate.ci_high is None else rate.ci_high
    return [[max(rate.value - low, 0)], [max(high - rate.value, 0)]]


def overview(results: Sequence[ModelMetrics], colours: Colours) -> Figure:
    """The main metrics of each model."""
    shown = [name for name in OVERVIEW_METRICS if any(name in of.metrics for of in results)]
    rows = {metric_heading(name): [of.metrics.get(name) for of in results] for name in shown}
    return _draw_rows(rows, results, colours, "value")


def recalls(results: Sequence[ModelMetrics], colours: Colours) -> Figure:
    """Recall of each class of each model.

    A model that names no defects has rejected them, which is easier: the legend says so.
    """
    rows = _class_rows(results, names.RECALL, names.RECALL)
    is_mixed = len({of.model.names_defects for of in results}) > 1
    return _draw_rows(rows, results, colours, "recall", says_what_counts=is_mixed)


def overlaps(results: Sequence[ModelMetrics], colours: Colours) -> Figure:
    """Global IoU of each defect class of each model."""
    rows = _class_rows(results, names.IOU_GLOBAL, names.IOU_SAMPLEWISE)
    return _draw_rows(rows, results, colours, "IoU")


def _class_rows(
    results: Sequence[ModelMetrics], metric: str, counted: str
) -> dict[str, list[Estimate | None]]:
    """A row for each class, with the number of observations of metric `counted`."""
    found = [names.class_metrics(of.metrics, metric) for of in results]
    counts = [names.class_metrics(of.metrics, counted) for of in results]
    rows = {}
    for name in dict.fromkeys(name for of_model in found for name in of_model):
        sizes = sorted({of_model[name].n for of_model in counts if name in of_model})
        label = f"{style.shorten(name)} ({'–'.join(map(str, sizes))})"
        rows[label] = [of_model.get(name) for of_model in found]
    return rows


def _draw_rows(
    rows: Mapping[str, Sequence[Estimate | None]],
    results: Sequence[ModelMetrics],
    colours: Colours,
    label: str,
    *,
    says_what_counts: bool = False,
) -> Figure:
    counted = [" (named)" if of.model.names_defects else " (rejected)" for of in results]
    series = [
        style.shorten(of.name, 34) + what * says_what_counts
        for of, what in zip(results, counted, strict=True)
    ]
    own = [colours[of.name] for of in results]
    return draw_intervals(rows, label=label, series=series, colours=own)


def _curve_metric(results: Sequence[ModelMetrics]) -> str:
    """Balanced accuracy where every run has it, else the monitored metric of the first model."""
    key = names.metric_key(VAL, names.BALANCED_ACCURACY)
    if all(key in run.epochs for result in results for run in result.model.runs):
        return names.BALANCED_ACCURACY
    return monitored_metric(results[0].model.runs[0]) or names.AUROC


@style.styled
def curves(
    results: Sequence[ModelMetrics], colours: Colours, panels: Sequence[tuple[str, str]]
) -> Figure:
    """A panel for each column of metrics.csv, over `EPOCH` or `SECONDS`.

    A thin line for each training, a thick one for their mean over the epochs that all have.
    """
    figure = style.new_figure(style.HALF_WIDTH, 2.8 + 0.2 * len(results))
    for axes, (column, over) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for result in results:
            _plot_trainings(axes, result, column, over, colours[result.name])
        stage, _, metric = column.partition("/")
        axes.set_title(f"{_STAGES[stage]} {metric_label(metric)}")
        top = 1.06 * axes.dataLim.y1 if metric == names.LOSS and axes.lines else 1.02
        axes.set(xlabel="epoch" if over == EPOCH else "seconds of training", ylim=(0, top))
        if over == EPOCH:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        else:
            axes.set_xlim(left=0)
    handles = [
        Line2D([], [], color=colours[of.name], label=style.shorten(of.name, 60)) for of in results
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=1)
    return figure


def _plot_trainings(axes: Axes, result: ModelMetrics, column: str, over: str, colour: str) -> None:
    lines = []
    for run in result.model.runs:
        if column in run.epochs:
            x = run.epochs[EPOCH] + 1 if over == EPOCH else run.epochs[SECONDS].cumsum()
            is_measured = run.epochs[column].notna()
            lines.append(np.array([x[is_measured], run.epochs.loc[is_measured, column]]))
    looks = [(0.7, 0.4) if len(lines) > 1 else (1.6, 1.0)] * len(lines)
    if len(lines) > 1:
        shortest = min(line.shape[1] for line in lines)
        lines.append(np.mean([line[:, :shortest] for line in lines], axis=0))
        looks.append((2.2, 1.0))
    for (x, y), (width, alpha) in zip(lines, looks, strict=True):
        marker = "o" if len(x) == 1 else ""
        axes.plot(x, y, color=colour, linewidth=width, alpha=alpha, marker=marker)


@style.styled
def confusion_matrices(models: Sequence[ModelRuns]) -> Figure:
    """Confusion matrices side by side: images, as means over the seeds."""
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    width = style.HALF_WIDTH if columns == 1 else style.FULL_WIDTH
    height = 2.0 + 0.48 * max(len(model.classes) for model in models)
    figure = style.new_figure(width, rows * height)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    for axes, model in zip(panels.flat, models, strict=False):
        classes = list(model.classes)
        counts = pd.crosstab(model.rows["label"], model.rows["predicted_label"])
        counts = counts.reindex(index=classes, columns=classes, fill_value=0) / len(model.seeds)
        plot_confusion(axes, counts.to_numpy(np.float64), classes)
        axes.set_title(f"{style.shorten(model.name, 40)}\n{axes.get_title(loc='left')}", size=10)
    return figure
