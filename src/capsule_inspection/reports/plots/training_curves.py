"""Learning curves of one training, from the columns of metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from capsule_inspection.reports.plots import style
from capsule_inspection.types import TEST, TRAIN, VAL

EPOCH = "epoch"
LOSS, METRICS, OTHER, RATE = "Loss", "Metrics", "Other values", "Learning rate"
_DASHES = {TRAIN: (0, (4, 2)), VAL: "solid", TEST: (0, (1, 1))}
_NOT_CURVES = {EPOCH, "step", "seconds"}
_ABBREVIATIONS = {"iou": "IoU", "dice": "Dice"}
_LOSS_TERMS = {"reconstruction", "segmentation"}


@style.styled
def training_curves(
    columns: Mapping[str, Sequence[float] | np.ndarray], best_epoch: int | None = None
) -> Figure:
    """Losses, metrics and learning rate over the epochs in panels, with the best epoch.

    `columns` are those of metrics.csv, of one length; NaN where nothing was measured. There is a
    panel for losses and their terms, one for metrics between 0 and 1, one for other values, and
    one for the learning rate. Raises KeyError without the column `epoch`.
    """
    values = {name: np.asarray(column, dtype=float) for name, column in columns.items()}
    epoch = values[EPOCH] + 1  # people count from 1
    panels: dict[str, dict[str, np.ndarray]] = {LOSS: {}, METRICS: {}, OTHER: {}, RATE: {}}
    for name, column in values.items():
        if name not in _NOT_CURVES and np.isfinite(column).any():
            panels[_panel_of(name, column)][name] = column
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        return style.text_figure("Nothing has been measured in this training.")
    columns_of_page = min(2, len(panels))
    rows = -(-len(panels) // columns_of_page)
    width = style.HALF_WIDTH if len(panels) == 1 else style.FULL_WIDTH
    figure = style.new_figure(width, 0.4 + 2.5 * rows)
    all_axes = figure.subplots(rows, columns_of_page, squeeze=False).flat
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, curves) in zip(all_axes, panels.items(), strict=False):
        _draw_panel(axes, title, epoch, curves)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set(xlabel="epoch", xlim=(epoch.min() - 0.5, epoch.max() + 0.5))
        if best_epoch is not None:
            axes.axvline(best_epoch + 1, color=style.GREY, lw=1.0, ls=(0, (1, 2)))
    if best_epoch is not None:
        text = f"best epoch: {best_epoch + 1}"
        all_axes[0].set_title(text, loc="right", size=9.5, color=style.GREY, weight="normal")
    return figure


def _panel_of(name: str, column: np.ndarray) -> str:
    if name.startswith(("lr", "optimizer/")):
        return RATE
    if "loss" in name or name.rpartition("/")[2] in _LOSS_TERMS:
        return LOSS
    return METRICS if np.nanmin(column) >= 0 and np.nanmax(column) <= 1 else OTHER


def _draw_panel(
    axes: Axes, title: str, epoch: np.ndarray, curves: Mapping[str, np.ndarray]
) -> None:
    metrics = list(dict.fromkeys(name.partition("/")[2] for name in curves))
    for name, column in curves.items():
        stage, slash, metric = name.partition("/")
        words = (metric or stage).split("_")
        text = " ".join(_ABBREVIATIONS.get(word, word) for word in words)
        measured = np.isfinite(column)
        axes.plot(
            epoch[measured],
            column[measured],
            color=style.SERIES[metrics.index(metric) % len(style.SERIES)],
            linestyle=_DASHES.get(stage, "solid"),
            marker="o" if measured.sum() < 2 else None,
            markersize=4,
            label=f"{stage}{slash}{text}" if slash else text,
        )
    axes.set_title(title)
    low, high = axes.dataLim.intervaly
    around_zero = (1.08 * min(low, 0.0), 1.08 * max(high, 0.0) or 1.0)
    axes.set_ylim((-0.02, 1.02) if title == METRICS else around_zero)
    if title != RATE or len(curves) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
