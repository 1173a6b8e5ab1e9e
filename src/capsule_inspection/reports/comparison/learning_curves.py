"""Learning curves of models: losses and a validation metric, over epochs or training time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import short_metric_label
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.training_costs import monitored_metric
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TRAIN, VAL

EPOCH, SECONDS = "epoch", "seconds"


@style.styled
def over_epochs(
    results: Sequence[ModelMetrics], *, colours: Sequence[str] = style.SERIES
) -> Figure:
    """A validation metric, training and validation loss over the epochs.

    A thin line for each run, a thick one for their mean over the epochs that all of them have; a
    colour for each model.
    """
    metric = _choose_metric(results)
    columns = {
        names.metric_key(VAL, metric): f"validation {short_metric_label(metric)}",
        names.metric_key(TRAIN, names.LOSS): "training loss",
        names.metric_key(VAL, names.LOSS): "validation loss",
    }
    return _plot_columns(results, columns, over=EPOCH, colours=colours)


@style.styled
def over_time(results: Sequence[ModelMetrics], *, colours: Sequence[str] = style.SERIES) -> Figure:
    """A validation metric over the training time."""
    metric = _choose_metric(results)
    columns = {names.metric_key(VAL, metric): f"validation {short_metric_label(metric)}"}
    return _plot_columns(results, columns, over=SECONDS, colours=colours)


def _choose_metric(results: Sequence[ModelMetrics]) -> str:
    """Accuracy where every run has it, else the monitored metric of the first model."""
    key = names.metric_key(VAL, names.ACCURACY)
    if all(key in run.epochs for result in results for run in result.model.runs):
        return names.ACCURACY
    return monitored_metric(results[0].model.runs[0]) or names.AUROC


def _plot_columns(
    results: Sequence[ModelMetrics], columns: dict[str, str], *, over: str, colours: Sequence[str]
) -> Figure:
    figure = style.new_figure(9.0, 0.7 + 2.9 * len(columns) + 0.22 * len(results))
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (column, title) in zip(panels, columns.items(), strict=True):
        for result, colour in zip(results, colours, strict=False):
            _plot_model(axes, result, column, over=over, colour=colour)
        axes.set_title(title)
        is_loss = column.endswith(names.LOSS)
        axes.set_ylim(bottom=0, top=None if is_loss else 1.02)
    if over == SECONDS:
        panels[-1].set_xlabel("seconds of training")
        panels[-1].set_xlim(left=0)
    else:
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=1)
    return figure


def _plot_model(axes: Axes, result: ModelMetrics, column: str, *, over: str, colour: str) -> None:
    runs = [run for run in result.model.runs if column in run.epochs]
    curves = [_read_curve(run, column, over) for run in runs]
    has_several = len(curves) > 1
    width, opacity = (0.7, 0.4) if has_several else (1.6, 1)
    for x, y in curves:
        axes.plot(x, y, color=colour, linewidth=width, alpha=opacity)
    if not curves:
        return
    label = style.shorten(result.name, 60)
    if not has_several:
        axes.lines[-1].set_label(label)
        return
    shortest = min(len(x) for x, _ in curves)
    mean_x, mean_y = (
        np.mean([values[:shortest] for values in coordinates], axis=0)
        for coordinates in zip(*curves, strict=True)
    )
    axes.plot(mean_x, mean_y, color=colour, linewidth=2.2, label=f"{label} (mean of {len(runs)})")


def _read_curve(run: RunFolder, column: str, over: str) -> tuple[np.ndarray, np.ndarray]:
    values = run.epochs[column].to_numpy(np.float64)
    is_measured = np.isfinite(values)
    x = run.epochs[over].to_numpy(np.float64)
    return (np.cumsum(x) if over == SECONDS else x)[is_measured], values[is_measured]
