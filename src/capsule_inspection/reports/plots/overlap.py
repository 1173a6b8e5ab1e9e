"""Plot of IoU and Dice of each defect class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.metrics import names
from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimates

MEAN, ANY_DEFECT = "mean of the classes", "any defect, whatever its class"

_MEAN_METRICS = {
    names.IOU_GLOBAL: names.MEAN_IOU_GLOBAL,
    names.DICE_GLOBAL: names.MEAN_DICE_GLOBAL,
    names.IOU_SAMPLEWISE: names.MEAN_IOU_SAMPLEWISE,
    names.DICE_SAMPLEWISE: names.MEAN_DICE_SAMPLEWISE,
}
_BINARY_METRICS = {
    names.IOU_GLOBAL: names.BINARY_IOU_GLOBAL,
    names.DICE_GLOBAL: names.BINARY_DICE_GLOBAL,
    names.IOU_SAMPLEWISE: names.BINARY_IOU_SAMPLEWISE,
    names.DICE_SAMPLEWISE: names.BINARY_DICE_SAMPLEWISE,
}
_AGGREGATES = {MEAN: _MEAN_METRICS, ANY_DEFECT: _BINARY_METRICS}
_PANELS = {
    "Pooled over pixels": (names.IOU_GLOBAL, names.DICE_GLOBAL),
    "Mean over images": (names.IOU_SAMPLEWISE, names.DICE_SAMPLEWISE),
}


@dataclass(frozen=True)
class _Series:
    """The style of one of the two metrics; `offset` is from the height of its row."""

    label: str
    colour: str
    bar: str
    marker: str
    offset: float


_SERIES = (
    _Series("IoU", style.BLUE, style.SKY, "o", -0.16),
    _Series("Dice", style.VERMILION, "#F2C49B", "D", 0.16),
)


@style.styled
def overlap_by_class(metrics: Estimates) -> Figure:
    """IoU and Dice of each defect class with 95% intervals, global and samplewise.

    `metrics` have no stage in their keys. With several classes, their mean and the binary metrics
    stand below.
    """
    rows = _rows(metrics)
    if not rows:
        return style.text_figure("There are no target masks, so there is no overlap.")
    figure = style.new_figure(11.0, 1.7 + 0.55 * len(rows))
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (title, class_metrics) in zip(panels, _PANELS.items(), strict=True):
        _panel(axes, metrics, rows, class_metrics)
        axes.set(title=title, xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.set_xlabel("overlap, 1 is a perfect match (bar: 95% interval)")
    panels[0].set_yticks(range(len(rows)), [_label(metrics, *row) for row in rows.items()])
    handles = [
        Line2D([], [], color=series.bar, linewidth=7, marker=series.marker, markersize=7,
               markerfacecolor=series.colour, markeredgecolor=series.colour, label=series.label)
        for series in _SERIES
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def has_overlap(metrics: Estimates) -> bool:
    """Whether any class has overlap metrics; `metrics` have no stage in their keys."""
    return bool(_rows(metrics))


def _rows(metrics: Estimates) -> dict[str, Mapping[str, str]]:
    """The label of each row, and the keys of its metrics by the metric of a class."""
    classes = names.class_metrics(metrics, names.DICE_SAMPLEWISE)
    rows: dict[str, Mapping[str, str]] = {
        name: {metric: names.class_metric(metric, name) for metric in _BINARY_METRICS}
        for name in classes
    }
    return rows if len(rows) < 2 else {**rows, **_AGGREGATES}


def _label(metrics: Estimates, name: str, keys: Mapping[str, str]) -> str:
    """The label of a row with its number of images."""
    known = metrics.get(keys[names.DICE_SAMPLEWISE])
    images = "" if known is None else f"  ({known.n})"
    return style.shorten(name, 32) + images


def _panel(
    axes: Axes,
    metrics: Estimates,
    rows: Mapping[str, Mapping[str, str]],
    class_metrics: Sequence[str],
) -> None:
    for row, keys in enumerate(rows.values()):
        notes = []
        for series, metric in zip(_SERIES, class_metrics, strict=True):
            estimate = metrics.get(keys[metric])
            if estimate is not None:
                look = {"bar": series.bar, "colour": series.colour, "marker": series.marker}
                style.interval_bar(axes, row + series.offset, estimate, **look)
                notes.append(f"{series.label} {estimate.value:.2f}")
        style.annotate_row(axes, row, "\n".join(notes))
    if MEAN in rows:
        axes.axhline(len(rows) - len(_AGGREGATES) - 0.5, color=style.GREY, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
