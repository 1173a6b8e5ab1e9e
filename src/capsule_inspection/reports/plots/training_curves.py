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
RATE = "lr"
_DASHES = {TRAIN: (0, (4, 2)), VAL: "solid", TEST: (0, (1, 1))}
_NOT_CURVES = {EPOCH, "step", "seconds"}
_ABBREVIATIONS = {"iou": "IoU", "dice": "Dice"}
_LOSS_TERMS = {"reconstruction", "segmentation"}

Columns = Mapping[str, Sequence[float] | np.ndarray]


@style.styled
def training_curves(columns: Columns, best_epoch: int | None = None) -> Figure:
    """Losses, metrics and learning rate over the epochs in panels, with the best epoch.

    `columns` are those of metrics.csv, of one length; NaN where nothing was measured. There is a
    panel for losses and their terms, one for metrics between 0 and 1, one for other values, and
    one for the learning rate. Raises KeyError without the column `epoch`.
    """
    epoch = np.asarray(columns[EPOCH], dtype=float)
    panels = {title: names for title, names in _panels(columns).items() if names}
    if not panels:
        return style.text_figure("Nothing has been measured in this training.")
    figure = style.new_figure(9.0, 1.2 + 2.4 * len(panels))
    axes_of = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, names) in zip(axes_of, panels.items(), strict=True):
        _panel(axes, title, epoch, {name: columns[name] for name in names})
        if best_epoch is not None:
            axes.axvline(best_epoch, color=style.GREY, linewidth=1.0, linestyle=(0, (1, 2)))
    if best_epoch is not None:
        _annotate_best_epoch(axes_of[0], best_epoch)
    axes_of[-1].set_xlabel("epoch")
    axes_of[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes_of[-1].set_xlim(epoch.min() - 0.5, epoch.max() + 0.5)
    return figure


def _panels(columns: Columns) -> dict[str, list[str]]:
    panels: dict[str, list[str]] = {
        "Loss": [],
        "Metrics": [],
        "Other values": [],
        "Learning rate": [],
    }
    for name in columns:
        if name in _NOT_CURVES or not np.isfinite(np.asarray(columns[name], dtype=float)).any():
            continue
        if name.startswith((RATE, "optimizer/")):
            panels["Learning rate"].append(name)
        elif "loss" in name or name.rpartition("/")[2] in _LOSS_TERMS:
            panels["Loss"].append(name)
        else:
            panels["Metrics" if _is_fraction(columns[name]) else "Other values"].append(name)
    return panels


def _is_fraction(column: Sequence[float] | np.ndarray) -> bool:
    values = np.asarray(column, dtype=float)
    return bool(np.nanmin(values) >= 0 and np.nanmax(values) <= 1)


def _panel(axes: Axes, title: str, epoch: np.ndarray, columns: Columns) -> None:
    metrics = list(dict.fromkeys(name.partition("/")[2] for name in columns))
    for name, column in columns.items():
        stage, _, metric = name.partition("/")
        values = np.asarray(column, dtype=float)
        measured = np.isfinite(values)
        axes.plot(
            epoch[measured],
            values[measured],
            color=style.SERIES[metrics.index(metric) % len(style.SERIES)],
            linestyle=_DASHES.get(stage, "solid"),
            marker="o" if measured.sum() < 2 else None,
            markersize=4,
            label=_label(name),
        )
    axes.set_title(title)
    low, high = axes.dataLim.intervaly
    around_zero = (1.08 * min(low, 0.0), 1.08 * max(high, 0.0) or 1.0)
    axes.set_ylim((-0.02, 1.02) if title == "Metrics" else around_zero)
    if title != "Learning rate" or len(columns) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _label(name: str) -> str:
    """`val/mean IoU` from `val/mean_iou`."""
    stage, slash, metric = name.rpartition("/")
    return stage + slash + " ".join(_ABBREVIATIONS.get(word, word) for word in metric.split("_"))


def _annotate_best_epoch(axes: Axes, best_epoch: int) -> None:
    axes.annotate(
        f"best epoch: {best_epoch}",
        (best_epoch, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=style.GREY,
        fontsize=10,
    )
